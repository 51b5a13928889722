"""Data sets whose pictures lie as bare pixels in a few large files: CIFAR, MNIST, STL-10, PCam."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data.class_lists import named_classes
from harness.data.picture_files import packed_file
from harness.data.readers import SPLITS, Picture, Splits, unusual_place
from harness.errors import UserError

Files = Mapping[str, Sequence[tuple[str, str]]]
"""Split -> names of its files of pictures, and of their labels; '' where the labels are in the same file."""


def read_packed_dataset(
    folder: Path,
    dataset: str,
    form: str,
    files: Files,
    places: Sequence[str] = ("",),
    first_label: int = 0,
    label_form: str | None = None,
    splits: Sequence[str] = SPLITS,
) -> Splits:
    """Read which pictures packed files hold, and their labels; no picture is decoded.

    Args:
        folder: the data set's folder.
        dataset: its name, of which this project keeps the class names.
        form: of its files, as in `FORMS`.
        files: of each split that it has.
        places: folders in `folder` that may contain the files, the usual one first.
        first_label: the number that stands for the first class.
        label_form: of files of labels, if it is another.
        splits: which to read.

    Raises:
        UserError: a file is missing or damaged, or has a label that is none.
    """
    # Not at the top: naming data sets needs no numpy.
    from harness.data.packed_files import read_packed

    names = named_classes(dataset)
    place = place_of_files(folder, places, form, files)
    root = folder / place
    pictures: dict[str, tuple[Picture, ...]] = dict.fromkeys(SPLITS, ())
    sources = []
    for split in (split for split in files if split in splits):
        found: list[Picture] = []
        for name, own_labels in files[split]:
            packed = read_packed(root, name, form)
            labels = read_packed(root, own_labels, label_form or form).labels if own_labels else packed.labels
            if len(labels) != len(packed.pictures):
                raise UserError(f"'{root / name}' has {len(packed.pictures)} pictures, but {len(labels)} labels")
            wrong = next((label for label in labels if not 0 <= label - first_label < len(names)), None)
            if wrong is not None:
                raise UserError(
                    f"'{root / (own_labels or name)}' has the label {wrong}: there are {len(names)} classes"
                )
            found += [Picture(f"{name}.{form}/{number}", label - first_label) for number, label in enumerate(labels)]
            # Files of pictures may have gigabytes; where the labels are in a file of their own, that one is hashed.
            source = packed_file(root, own_labels or name, (own_labels and label_form) or form)
            sources.append(source or root / name)
        pictures[split] = tuple(found)
    train, val, test = (pictures[split] for split in SPLITS)
    return Splits(root, names, train, val, test, unusual_place(place, places[0]), tuple(sources))


def place_of_files(folder: Path, places: Sequence[str], form: str, files: Files) -> str:
    """Which of the folders contains a data set's packed files.

    Raises:
        UserError: none does.
    """
    some = [name for parts in files.values() for name, _ in parts]
    for place in places:
        if any(packed_file(folder / place, name, form) for name in some):
            return place
    looked = " nor ".join(f"'{folder / place}'" for place in places)
    raise UserError(f"no file '{some[0]}' in {looked}, in any of its forms: unpack the data set's archive there")
