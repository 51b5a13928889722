"""The k-shot sample of the official code, drawn from its seed alone.

The official code (CoOp and what is built on Dassl) seeds Python's global generator, reads the data set and draws: of
each class, in the order in which classes first appear, `random.sample` takes k training images, and then in the same
way min(k, 4) validation images. So the same generator and the same order of the images give the same sample.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from harness.data.readers import Picture, Splits
from harness.data.sample_file import VALIDATION_SHOTS, Sample
from harness.errors import UserError
from harness.text import counted

HINT = "give its file as data.index, or use data.sampling=hash"


def dassl_sample(dataset: str, splits: Splits, shots: int, seed: int) -> Sample:
    """Draw the sample of the official code.

    Args:
        dataset: its name, for messages.
        splits: of the data set, in the order of its files.
        shots: k.
        seed: of the sample.

    Returns:
        The sample, ordered by label and then as it was drawn.

    Raises:
        UserError: the official order is unknown, or a class has fewer images than are to be drawn.
    """
    if not splits.official_order:
        raise UserError(
            f"data.sampling=dassl cannot draw from '{dataset}': the official code lists its images in the order of the "
            f"file system, so that its sample is another one on every machine: {HINT}"
        )
    rng = random.Random(seed)
    train = draw(dataset, splits.train, "training", splits.class_names, shots, rng)
    few = min(shots, VALIDATION_SHOTS)
    return Sample(train, draw(dataset, splits.val, "validation", splits.class_names, few, rng))


def draw(
    dataset: str, pictures: Sequence[Picture], purpose: str, class_names: Sequence[str], shots: int, rng: random.Random
) -> list[Picture]:
    """k pictures of every class, ordered by label; classes are drawn in the order in which they first appear."""
    by_class: dict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.label].append(picture)
    drawn: list[Picture] = []
    for label, several in by_class.items():
        if len(several) < shots:
            raise UserError(
                f"data.sampling=dassl cannot draw {shots} {purpose} images of class {label} '{class_names[label]}' of "
                f"'{dataset}', which has {counted(len(several), 'image')}: the official code then takes images more "
                "than once; use fewer shots, or data.sampling=hash"
            )
        drawn += rng.sample(several, shots)
    return sorted(drawn, key=lambda picture: picture.label)
