"""What the splits of a hub's data set are used for here, and how their labels become classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.data.filesystem import listed
from harness.data.image_folder import split_order
from harness.data.readers import SPLITS, Picture
from harness.data.text_files import check_class_name, short
from harness.errors import UserError, nearest

GIVEN = "splits as the data set has them"
VALIDATION_IS_TEST = "no test split with labels: tested on validation, and none is left to validate on"
Row = tuple[str, int | str | None]
"""Path of a picture, and its label: a number, a name, or None for a picture without one."""


class Roles(NamedTuple):
    """Which split of the data set serves as train, val and test; None where none does.

    Attributes:
        train, val, test: names of splits, as the data set has them.
        note: a few words on what is unusual; empty where nothing is.
    """

    train: str | None
    val: str | None
    test: str | None
    note: str = ""

    def of(self, split: str) -> str | None:
        """The data set's split that serves as train, val or test."""
        found: str | None = getattr(self, split)
        return found


def choose_roles(known: Sequence[str], asked: Mapping[str, str], labelled_test: bool, place: str) -> Roles:
    """Which split serves as what.

    Args:
        known: the data set's splits, of which the usual ones are train, validation and test.
        asked: train, val or test -> the split that the user names.
        labelled_test: whether the split `test` has labels.
        place: the data set, for messages.

    Raises:
        UserError: a split that is named does not exist, two roles have one split, or there is nothing to test on.
    """
    wanted = {role: asked[role] for role in SPLITS if role in asked}
    for role, name in wanted.items():
        if usual(name) not in known and name not in known:
            raise UserError(f"'{place}' has no split '{name}' for {role}=.{nearest(name, known)}")
    chosen = {role: name if name in known else usual(name) for role, name in wanted.items()}
    taken = set(chosen.values())
    if len(taken) < len(chosen):
        twice = next(name for name, number in Counter(chosen.values()).items() if number > 1)
        raise UserError(f"'{place}' has split '{twice}' for two of train, val and test: name another")
    note = ""
    for role, name in (("test", "test"), ("test", "validation"), ("train", "train"), ("val", "validation")):
        fits = name in known and name not in taken and (name != "test" or labelled_test)
        if role not in chosen and fits:
            chosen[role] = name
            taken.add(name)
            note = VALIDATION_IS_TEST if (role, name) == ("test", "validation") else note
    if "test" not in chosen and ("train" not in chosen or "val" in chosen):
        raise UserError(f"'{place}' has the splits {listed(known, 8)}, none to test on: name one, as in ':test=NAME'")
    return Roles(chosen.get("train"), chosen.get("val"), chosen.get("test"), note)


def usual(name: str) -> str:
    """The name under which a split of that name is known here."""
    return "validation" if name in ("val", "valid", "dev") else name


class Classes(NamedTuple):
    """The classes of a data set.

    Attributes:
        names: in label order.
        labels: label in the tables -> label here; a label that is missing is of a class without pictures.
        remarks: what is odd, a few words each.
    """

    names: tuple[str, ...]
    labels: Mapping[int | str, int]
    remarks: tuple[str, ...] = ()


def classes_of(rows: Sequence[Row], names: Mapping[int | str, str], source: Path) -> Classes:
    """The classes that have pictures, in label order.

    Args:
        rows: of the training pictures or, where there are none, of the test pictures.
        names: label -> name, in label order, of all classes.
        source: for messages.

    Raises:
        UserError: a class cannot be called so, or two have the same name.
    """
    present = {label for _, label in rows}
    kept = [label for label in names if label in present]
    seen: dict[str, int | str] = {}
    for label in kept:
        check_class_name(source, names[label])
        other = seen.setdefault(names[label].replace("_", " "), label)
        if other != label:
            raise UserError(
                f"classes {short(other)} and {short(label)} in '{source}' are both called '{names[label]}': "
                "give them names of their own with :names=FILE"
            )
    gone = [names[label] for label in names if label not in present]
    remarks = (f"{len(gone)} classes without images left out, such as '{gone[0]}'",) if gone else ()
    return Classes(tuple(names[label] for label in kept), {label: new for new, label in enumerate(kept)}, remarks)


def to_pictures(
    rows: Sequence[Row], classes: Classes, names: Mapping[int | str, str], split: str, place: str
) -> tuple[Picture, ...]:
    """The pictures of a split with their labels here.

    Raises:
        UserError: a picture has no label, a label without a name, or one of a class that no training picture has.
    """
    found = []
    for path, label in rows:
        if label is None or label == -1:
            raise UserError(f"'{place}': split {split} has pictures without a label, the first is '{path}'")
        new = classes.labels.get(label)
        if new is None and label not in names:
            known = f"labels 0 to {len(names) - 1}" if isinstance(label, int) else listed([*map(str, names)], 8)
            raise UserError(f"'{place}': '{path}' has the label {short(label)}, and the classes are {known}")
        if new is None:
            raise UserError(f"class '{names[label]}' has images in split {split} of '{place}' but none to train on")
        found.append(Picture(path, new))
    return tuple(found)


def split_by_hash(pictures: Sequence[Picture], classes: Classes, place: str) -> dict[str, tuple[Picture, ...]]:
    """Training, validation and test pictures of a data set without a split, 50/20/30 of every class as of a folder.

    Raises:
        UserError: a class has one picture.
    """
    by_label: dict[int, list[Picture]] = {label: [] for label in range(len(classes.names))}
    for picture in pictures:
        by_label[picture.label].append(picture)
    found: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    for label, some in by_label.items():
        if len(some) < 2:
            raise UserError(
                f"class '{classes.names[label]}' in '{place}' has one image: it needs one to train and one to test on"
            )
        some.sort(key=lambda picture: split_order(picture.path))
        half, fifth = (len(some) + 1) // 2, len(some) // 5
        found["train"] += some[:half]
        found["val"] += some[half : half + fifth]
        found["test"] += some[half + fifth :]
    order = {picture.path: number for number, picture in enumerate(pictures)}
    return {split: tuple(sorted(some, key=lambda picture: order[picture.path])) for split, some in found.items()}
