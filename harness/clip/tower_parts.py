"""Parts of CLIP's towers that not every backbone has, and that some methods read or change."""

from collections.abc import Iterable
from typing import Literal, get_args

from harness.errors import UserError

TowerPart = Literal["transformer for images", "class token", "image projection", "text projection without bias"]
ALL_PARTS: frozenset[TowerPart] = frozenset(get_args(TowerPart))
OF_VIT: frozenset[TowerPart] = frozenset(("transformer for images", "class token", "image projection"))
OF_RESNET: frozenset[TowerPart] = frozenset(("image projection",))
"""Of an image tower that is a ResNet: its blocks compute feature maps, not tokens."""
OF_SIGLIP: frozenset[TowerPart] = frozenset(("transformer for images",))
"""Of both towers of a SigLIP: all tokens of an image are pooled by attention, without a projection."""
OF_TEXT: frozenset[TowerPart] = frozenset(("text projection without bias",))


def refuse_missing_parts(
    method: str, needed: Iterable[TowerPart], present: frozenset[TowerPart], backbone: str
) -> None:
    """Check that a backbone has what a method needs.

    Args:
        method: its name.
        needed: the parts that it reads or changes.
        present: the parts that the backbone has.
        backbone: its name.

    Raises:
        UserError: it lacks one.
    """
    missing = [part for part in needed if part not in present]
    if missing:
        needs = " and ".join(f"the {part}" for part in missing)
        raise UserError(
            f"{method} needs {needs} of a CLIP, and backbone '{backbone}' has none: "
            "use that of a ViT, such as ViT-B-16-quickgelu, or another method"
        )
