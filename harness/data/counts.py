"""Which classes and how many images a run would see, whether or not the data set is on this machine."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice

from harness.clip.open_clip_files import open_clip_module
from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.fewshot import class_subset
from harness.data.readers import SPLITS, UNTESTED
from harness.data.sample_file import VALIDATION_SHOTS
from harness.data.shots import LongTail
from harness.errors import UserError


@dataclass(frozen=True)
class ClassCounts:
    """Some classes of a data set, and how many images each of them has.

    Attributes:
        class_names: C names.
        counts: split -> number of images of each class; for train and val, of those in the few-shot sample.
        choice: number of images of each class by which something is chosen: validation images or, where there are
            none, training images beside the sample.
        is_here: whether the data set is on this machine; if it is not, the names are stand-ins.
    """

    class_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    choice: tuple[int, ...]
    is_here: bool

    def num_images(self, splits: Iterable[str]) -> int:
        """Number of images of all classes in some splits."""
        # Held-out shots are a part of the training shots.
        return sum(sum(self.counts.get(split, self.counts["train"])) for split in splits)


def is_here(dataset: str, data_root: str | None) -> bool:
    """Whether a data set is on this machine."""
    try:
        find_folder(find_dataset(dataset), data_root)
    except UserError:
        return False
    return True


def class_counts(
    dataset: str,
    subset: str,
    shots: int | LongTail,
    data_root: str | None,
    number: int | None = None,
    choice_shots: int = VALIDATION_SHOTS,
    tests: bool = True,
) -> ClassCounts:
    """The classes that a run would see, and how many images they have.

    Args:
        dataset: name of a data set.
        subset: all, base, new, ...
        shots: training images per class; of a long tail the first class has the most.
        data_root: the folder that contains the data sets.
        number: assume this number of classes instead of those of the subset; None: those of the subset.
        choice_shots: most images a class by which something is chosen.
        tests: whether test images and their labels may be read; if not, there are none.

    Raises:
        UserError: unknown data set or subset, or a data set that is not here and whose size is unknown.
    """
    here = is_here(dataset, data_root)
    names, counts = read_counts(dataset, data_root, tests) if here else known_counts(dataset)
    labels = list(class_subset(len(names), subset))
    if number is not None:
        # Evenly spaced classes rather than the alphabetically first ones; if there are too few, they are repeated.
        labels = list(islice(cycle(range(0, len(names), max(1, len(names) // number))), number))
    asked = shots.counts(len(labels)) if isinstance(shots, LongTail) else (shots,) * len(labels)
    most = shots.most if isinstance(shots, LongTail) else shots
    limits = {"train": asked, "val": (min(most, VALIDATION_SHOTS),) * len(labels)}
    chosen = {
        split: tuple(
            min(counts[split][label], limits[split][place] if split in limits else counts[split][label])
            for place, label in enumerate(labels)
        )
        for split in SPLITS
    }
    of_val = any(counts["val"])
    pool = [
        counts["val"][label] if of_val else max(0, counts["train"][label] - taken)
        for label, taken in zip(labels, asked, strict=True)
    ]
    choice = tuple(min(images, choice_shots) for images in pool)
    return ClassCounts(tuple(names[label] for label in labels), chosen, choice, here)


def read_counts(dataset: str, data_root: str | None, tests: bool) -> tuple[list[str], dict[str, list[int]]]:
    """Class names of a data set that is on this machine, and split -> number of images of each class."""
    splits = read_dataset(dataset, data_root, SPLITS if tests else UNTESTED)
    names = list(splits.class_names)
    counts = {split: Counter(label for _, label in getattr(splits, split)) for split in SPLITS}
    return names, {split: [counts[split][label] for label in range(len(names))] for split in SPLITS}


def known_counts(dataset: str) -> tuple[list[str], dict[str, list[int]]]:
    """The same for a data set that is not here: stand-in names, and an equal number of images for each class.

    Raises:
        UserError: its size is unknown.
    """
    expected = find_dataset(dataset).expected
    if expected is None:
        raise UserError(f"data set '{dataset}' is not on this machine, and its number of classes is not known")
    shares = {split: -(-getattr(expected, split) // expected.classes) for split in SPLITS}
    names = list(islice(cycle(stand_in_names()), expected.classes))
    return names, {split: [share] * len(names) for split, share in shares.items()}


def stand_in_names() -> list[str]:
    """ImageNet's 1000 class names as open_clip lists them, whose prompts have typical lengths."""
    return list(open_clip_module("zero_shot_metadata").IMAGENET_CLASSNAMES)
