"""The state of a data set on this machine, for `skipbench data`."""

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
        folder: where it was found; None if it was not.
        problem: why it cannot be read, in one line; None if it can.
        layout: where it differs from the usual layout (name of the folder, place of the images, ...), a few words each.
        remarks: what is left out or odd, a few words each.
        counts: what it contains; None if it cannot be read.
        expected: what it should contain; None if that is unknown.
        differing: names of the counts that differ from the expected ones.
        missing: number of listed images that do not exist.
        first_missing: paths of the first few of them.
        source: where to get it.
    """

    name: str
    folder: str | None
    problem: str | None
    layout: tuple[str, ...]
    remarks: tuple[str, ...]
    counts: Counts | None
    expected: Counts | None
    differing: tuple[str, ...]
    missing: int
    first_missing: tuple[str, ...]
    source: str

    @property
    def state(self) -> str:
        """'absent', 'unreadable', 'incomplete' (images are missing, or counts differ) or 'ready'."""
        if self.folder is None:
            return "absent"
        if self.problem:
            return "unreadable"
        return "incomplete" if self.missing or self.differing else "ready"


def dataset_status(name: str, data_root: str | None = None) -> Status:
    """The state of a data set. Folders are listed, but no image is opened.

    Args:
        name: of a data set, or folder:PATH.
        data_root: the folder that contains the data sets.

    Raises:
        UserError: there is no data set of that name. Any problem of a data set that exists is part of its status.
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
        remarks=splits.remarks if splits else (),
        counts=counts,
        expected=dataset.expected,
        differing=differing(counts, dataset.expected),
        missing=len(missing),
        first_missing=tuple(missing[:FEW]),
        source=dataset.source,
    )


def count(splits: Splits) -> Counts:
    """How many classes and images were read."""
    return Counts(len(splits.class_names), len(splits.train), len(splits.val), len(splits.test))


def differing(counts: Counts | None, expected: Counts | None) -> tuple[str, ...]:
    """Names of the counts that differ from the expected ones; none if either is unknown."""
    if counts is None or expected is None:
        return ()
    pairs = zip(Counts._fields, counts, expected, strict=True)
    return tuple(name for name, found, wanted in pairs if found != wanted)
