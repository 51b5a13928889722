"""Parts of CLIP's towers that not every backbone has, and that some methods read or change."""

from collections.abc import Iterable
from typing import Literal, get_args

from harness.errors import UserError

TowerPart = Literal["class token", "image projection", "text projection without bias"]
ALL_PARTS: frozenset[TowerPart] = frozenset(get_args(TowerPart))


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
