"""Which towers an open_clip model has: the one place that decides it."""

from typing import TYPE_CHECKING

from harness.clip.resnet import ResNetTower
from harness.clip.speedups import Speedups
from harness.clip.stages import Tower
from harness.clip.towers import ImageTower, TextTower

if TYPE_CHECKING:
    import open_clip


def towers_of(network: "open_clip.model.CLIP") -> tuple[Tower, TextTower]:
    """The towers of a model whose configuration is not `unsupported`; both have the same speed-ups.

    Args:
        network: an open_clip `CLIP`.
    """
    speedups = Speedups()
    image = ResNetTower if hasattr(network.visual, "layer4") else ImageTower
    return image(network.visual, speedups), TextTower(network, speedups)
