"""timm's vision transformers that pool tokens by attention, known by name: importing timm takes seconds."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PooledTrunk:
    """What the name of such a vision transformer says.

    Attributes:
        blocks: number of its blocks.
        image_size: side of its images in pixels.
    """

    blocks: int
    image_size: int


SIGLIP = re.compile(r"vit_(base|large|so400m|giantopt)_patch\d+_siglip_(\d+)")
BLOCKS = {"base": 12, "large": 24, "so400m": 27, "giantopt": 40}
# timm's own small model for tests, which can also pool by attention.
SMALL = {"test_vit": PooledTrunk(6, 160)}


def pooled_trunk(name: str) -> PooledTrunk | None:
    """The vision transformer of a name of timm; None if it is another one."""
    found = SIGLIP.fullmatch(name)
    return PooledTrunk(BLOCKS[found[1]], int(found[2])) if found else SMALL.get(name)
