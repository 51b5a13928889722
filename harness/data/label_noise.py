"""Symmetric label noise: an exact share of the training labels, each replaced by one of the other classes."""

import hashlib
import math
from collections.abc import Sequence

from harness.data.readers import Picture
from harness.errors import UserError


def noisy_count(pictures: int, share: float) -> int:
    """How many of some labels are replaced: the nearest whole number to the share of them, halves up.

    Args:
        pictures: number of training pictures.
        share: of their labels, 0 to 1.
    """
    # Rounded before, so that 0.15 of 10, which is stored as 1.4999..., is the half that it is written as.
    return math.floor(round(share * pictures, 9) + 0.5)


def with_label_noise(pictures: Sequence[Picture], share: float, classes: int, seed: int) -> list[Picture]:
    """Replace a share of the labels, uniformly over the pictures and over the other classes.

    Which labels are replaced and by which class follows from a hash of seed and path: it depends on no library's random
    generator, and the labels that a smaller share replaces are among those of a larger one, with the same new classes.

    Args:
        pictures: with labels 0 to C - 1.
        share: of their labels to replace, 0 to 1.
        classes: C.
        seed: of the noise.

    Returns:
        The same pictures in the same order; `noisy_count` of them have another label.

    Raises:
        UserError: there is no other class.
    """
    count = noisy_count(len(pictures), share)
    if count and classes < 2:
        raise UserError(f"data.label_noise={share:g} needs another class to take labels from, and there is one class")

    def draw(purpose: str, picture: Picture) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{picture.path}".encode()).digest(), "big")

    order = sorted(range(len(pictures)), key=lambda place: draw("label noise", pictures[place]))
    replaced = set(order[:count])
    found = []
    for place, picture in enumerate(pictures):
        if place in replaced:
            # One of the C - 1 others: 256 bits leave no class more likely than another in any way that could be seen.
            step = 1 + draw("other class", picture) % (classes - 1)
            picture = picture._replace(label=(picture.label + step) % classes)
        found.append(picture)
    return found
