"""Which pictures go together in a training batch. Order comes from the given generator alone."""

import random
from collections import defaultdict
from collections.abc import Sequence

from harness.errors import UserError


def random_batches(labels: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Batches of positions, drawn uniformly without replacement; a remainder smaller than a batch is dropped."""
    remaining = list(range(len(labels)))
    batches = []
    while len(remaining) >= batch_size:
        batch = rng.sample(remaining, batch_size)
        batches.append(batch)
        remaining = without(remaining, batch)
    return batches


def same_class_batches(labels: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Batches of one class each, as Skip Tuning's authors draw them.

    A class is chosen among those that still have a batch of pictures, then the batch among its remaining ones; a
    class's remainder is dropped.

    Raises:
        UserError: no class has enough pictures for a batch.
    """
    remaining: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        remaining[label].append(position)
    batches = []
    while classes := sorted(label for label, positions in remaining.items() if len(positions) >= batch_size):
        label = rng.choice(classes)
        batch = rng.sample(remaining[label], batch_size)
        batches.append(batch)
        remaining[label] = without(remaining[label], batch)
    if labels and not batches:
        largest = max(map(len, remaining.values()))
        raise UserError(
            f"same-class batches of {batch_size} need {batch_size} training pictures of a class, and no class has more "
            f"than {largest}: set train.batch_size={largest} or less, or train.batches=random"
        )
    return batches


def without(positions: list[int], drawn: list[int]) -> list[int]:
    """The positions that were not drawn, in their order."""
    gone = set(drawn)
    return [position for position in positions if position not in gone]


BATCHES = {"random": random_batches, "same_class": same_class_batches}
