"""What classes and how many pictures a run would see, whether the data set is on this machine or not."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice

from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.fewshot import class_subset
from harness.data.sample_file import VALIDATION_SHOTS
from harness.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ClassCounts:
    """Some classes of a data set.

    Attributes:
        class_names: C names.
        counts: split -> pictures of each class; those of train and val are of the few-shot sample.
        is_here: False: the data set is not on this machine, and the names are stand-ins.
    """

    class_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    is_here: bool

    def num_images(self, splits: Iterable[str]) -> int:
        """Pictures of all classes in some splits."""
        # Shots that are held out are some of those to train on.
        return sum(sum(self.counts.get(split, self.counts["train"])) for split in splits)


def is_here(dataset: str, data_root: str | None) -> bool:
    """Whether a data set is on this machine."""
    try:
        find_folder(find_dataset(dataset), data_root)
    except UserError:
        return False
    return True


def class_counts(
    dataset: str, subset: str, shots: int, data_root: str | None, number: int | None = None
) -> ClassCounts:
    """Classes that a run would see, and their pictures.

    Args:
        dataset: name of a data set.
        subset: all, base, new, ...
        shots: training pictures a class.
        data_root: the folder that holds the data sets.
        number: so many classes instead of those of the subset; None: as many as there are.

    Raises:
        UserError: unknown data set or subset, or nobody knows how many classes it has.
    """
    here = is_here(dataset, data_root)
    names, counts = read_counts(dataset, data_root) if here else known_counts(dataset)
    labels = list(class_subset(len(names), subset))
    if number is not None:
        # Every so manyth, not the first in the alphabet; again from the start where there are too few.
        labels = list(islice(cycle(range(0, len(names), max(1, len(names) // number))), number))
    limits = {"train": shots, "val": min(shots, VALIDATION_SHOTS)}
    chosen = {
        split: tuple(min(counts[split][label], limits.get(split, counts[split][label])) for label in labels)
        for split in SPLITS
    }
    return ClassCounts(tuple(names[label] for label in labels), chosen, here)


def read_counts(dataset: str, data_root: str | None) -> tuple[list[str], dict[str, list[int]]]:
    """Class names, and pictures of each class by split, of a data set that is here."""
    splits = read_dataset(dataset, data_root)
    names = list(splits.class_names)
    counts = {split: Counter(label for _, label in getattr(splits, split)) for split in SPLITS}
    return names, {split: [counts[split][label] for label in range(len(names))] for split in SPLITS}


def known_counts(dataset: str) -> tuple[list[str], dict[str, list[int]]]:
    """The same of a data set that is not here: stand-in names, and an equal share of its pictures for each class.

    Raises:
        UserError: nobody knows how many classes it has.
    """
    expected = find_dataset(dataset).expected
    if expected is None:
        raise UserError(f"data set '{dataset}' is not on this machine, and its number of classes is not known")
    shares = {split: -(-getattr(expected, split) // expected.classes) for split in SPLITS}
    names = list(islice(cycle(stand_in_names()), expected.classes))
    return names, {split: [share] * len(names) for split, share in shares.items()}


def stand_in_names() -> list[str]:
    """ImageNet's 1000 class names as open_clip lists them: prompts of typical lengths."""
    # Not at the top: open_clip takes seconds.
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)
