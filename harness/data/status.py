"""What there is of a data set on this machine, as plain data: for `skipbench data`."""

from dataclasses import dataclass

from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.description import Counts
from harness.data.pictures import missing_pictures
from harness.data.readers import Splits
from harness.errors import UserError

FEW = 5


@dataclass(frozen=True)
class Status:
    """State of one data set under a data root.

    Attributes:
        name: of the data set.
        folder: where it was found; None if it is not there.
        problem: why it cannot be read, in one line; None if it can.
        layout: what was found other than usual (folder name, place of pictures, ...), a few words each.
        counts: what it holds; None if it cannot be read.
        expected: what it should hold; None if that is not known.
        differing: which of the counts are not as expected.
        missing: how many listed pictures are not there.
        first_missing: paths of the first few.
        source: where to get it.
    """

    name: str
    folder: str | None
    problem: str | None
    layout: tuple[str, ...]
    counts: Counts | None
    expected: Counts | None
    differing: tuple[str, ...]
    missing: int
    first_missing: tuple[str, ...]
    source: str

    @property
    def state(self) -> str:
        """'absent', 'unreadable', 'incomplete' (pictures are missing, or counts differ) or 'ready'."""
        if self.folder is None:
            return "absent"
        if self.problem:
            return "unreadable"
        return "incomplete" if self.missing or self.differing else "ready"


def dataset_status(name: str, data_root: str | None = None) -> Status:
    """What there is of a data set. Folders are listed, no picture is opened.

    Args:
        name: of a data set, or folder:PATH.
        data_root: the folder that holds the data sets.

    Raises:
        UserError: there is no such data set. What is wrong with one is told in the status.
    """
    dataset = find_dataset(name)
    folder, problem, splits = None, None, None
    try:
        folder = str(find_folder(dataset, data_root))
        splits = read_dataset(name, data_root)
    except UserError as error:
        problem = str(error)
    counts = count(splits) if splits else None
    missing = missing_pictures(splits.folder, [*splits.train, *splits.val, *splits.test]) if splits else []
    return Status(
        name=name,
        folder=folder,
        problem=problem,
        layout=splits.layout if splits else (),
        counts=counts,
        expected=dataset.expected,
        differing=differing(counts, dataset.expected),
        missing=len(missing),
        first_missing=tuple(missing[:FEW]),
        source=dataset.source,
    )


def count(splits: Splits) -> Counts:
    """How many classes and pictures were read."""
    return Counts(len(splits.class_names), len(splits.train), len(splits.val), len(splits.test))


def differing(counts: Counts | None, expected: Counts | None) -> tuple[str, ...]:
    """Names of the counts that are not as expected, as far as both are known."""
    if counts is None or expected is None:
        return ()
    pairs = zip(Counts._fields, counts, expected, strict=True)
    return tuple(name for name, found, wanted in pairs if found != wanted)
