"""Which towers an open_clip model has: the one place that decides it."""

from typing import TYPE_CHECKING

from harness.clip.siglip import BidirectionalTextTower, PooledImageTower
from harness.clip.speedups import Speedups
from harness.clip.towers import ImageTower, TextTower

if TYPE_CHECKING:
    import open_clip


def towers_of(network: "open_clip.model.CLIP") -> tuple[ImageTower, TextTower]:
    """The towers of a model whose configuration is not `unsupported`; both have the same speed-ups.

    Args:
        network: an open_clip `CLIP`, or a `CustomTextCLIP` whose text tower is a module of its own.
    """
    speedups = Speedups()
    image = PooledImageTower if hasattr(network.visual, "trunk") else ImageTower
    if hasattr(network, "text"):
        return image(network.visual, speedups), BidirectionalTextTower(network.text, speedups)
    return image(network.visual, speedups), TextTower(network, speedups)
