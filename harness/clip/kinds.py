"""Which towers an open_clip model has: the one place that decides it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.clip.resnet import ResNetTower
from harness.clip.siglip import BidirectionalTextTower, PooledImageTower
from harness.clip.speedups import Speedups
from harness.clip.stages import Tower
from harness.clip.towers import ImageTower, TextTower

if TYPE_CHECKING:
    import open_clip


def towers_of(network: "open_clip.model.CLIP") -> tuple[Tower, TextTower]:
    """The towers of a model whose configuration is not `unsupported`; both have the same speed-ups.

    Args:
        network: an open_clip `CLIP`, or a `CustomTextCLIP` whose text tower is a module of its own.
    """
    speedups, visual = Speedups(), network.visual
    kinds: dict[str, Callable[..., Tower]] = {"layer4": ResNetTower, "trunk": PooledImageTower}
    kind = next((kind for part, kind in kinds.items() if hasattr(visual, part)), ImageTower)
    image = kind(visual, speedups)
    text = BidirectionalTextTower(network.text, speedups) if hasattr(network, "text") else TextTower(network, speedups)
    return image, text
