"""Which images form a training batch. All randomness comes from the given generator."""

import random
from collections import defaultdict
from collections.abc import Sequence

from harness.errors import UserError


def random_batches(
    labels: Sequence[int], batch_size: int, rng: random.Random, keep_remainder: bool = False
) -> list[list[int]]:
    """Batches of positions, drawn uniformly without replacement.

    Args:
        labels: (N,) of the images at positions 0..N-1.
        batch_size: images per batch.
        rng: source of randomness.
        keep_remainder: whether a remainder smaller than a batch is a batch too; else it is dropped.
    """
    remaining = list(range(len(labels)))
    batches = []
    while len(remaining) >= batch_size:
        batch = rng.sample(remaining, batch_size)
        batches.append(batch)
        remaining = without(remaining, batch)
    if keep_remainder and remaining:
        batches.append(rng.sample(remaining, len(remaining)))
    return batches


def same_class_batches(
    labels: Sequence[int], batch_size: int, rng: random.Random, keep_remainder: bool = False
) -> list[list[int]]:
    """Batches of positions of one class each, as the authors of Skip Tuning draw them.

    For each batch a class is drawn from those that still have enough images, and then the batch from its remaining
    images.

    Args:
        labels: (N,) of the images at positions 0..N-1.
        batch_size: images per batch.
        rng: source of randomness.
        keep_remainder: whether what remains of a class is a batch too; else it is dropped.

    Raises:
        UserError: no class has enough images for a batch.
    """
    remaining: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        remaining[label].append(position)
    batches = []
    least = 1 if keep_remainder else batch_size
    while classes := sorted(label for label, positions in remaining.items() if len(positions) >= least):
        label = rng.choice(classes)
        batch = rng.sample(remaining[label], min(batch_size, len(remaining[label])))
        batches.append(batch)
        remaining[label] = without(remaining[label], batch)
    if labels and not batches:
        largest = max(map(len, remaining.values()))
        raise UserError(
            f"same-class batches of {batch_size} need {batch_size} training images of a class, and no class has more "
            f"than {largest}: set train.batch_size={largest} or less, or train.batches=random"
        )
    return batches


def all_view_batches(
    labels: Sequence[int], batch_size: int, rng: random.Random, keep_remainder: bool = False, views: int = 1
) -> list[list[int]]:
    """Batches of rows, drawn uniformly without replacement from all views of all images together.

    An epoch has as many batches as if there were one view, so it sees 1/V of the rows.

    Args:
        labels: (N,) of the images.
        batch_size: images per batch.
        rng: source of randomness.
        keep_remainder: whether a remainder smaller than a batch is a batch too; else it is dropped.
        views: V; row `view * N + position` is a view of the image at a position.
    """
    rows = rng.sample(range(views * len(labels)), len(labels))
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return batches if keep_remainder or not batches or len(batches[-1]) == batch_size else batches[:-1]


def without(positions: list[int], drawn: list[int]) -> list[int]:
    """The positions that were not drawn, in the same order."""
    gone = set(drawn)
    return [position for position in positions if position not in gone]


BATCHES = {"random": random_batches, "same_class": same_class_batches}
