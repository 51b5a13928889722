"""How data sets lie on disk, and how each layout is read into classes and pictures."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError


class Picture(NamedTuple):
    """One labelled picture.

    Attributes:
        path: relative to the data set's folder, with `/`; `archive.zip/member` for one inside a zip file.
        label: index of its class.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Splits:
    """What a reader returns.

    Attributes:
        folder: what the pictures' paths are relative to.
        class_names: in label order, as the data set spells them.
        train: pictures to draw few-shot samples from; empty for data sets that are for testing only.
        val: pictures to select hyper-parameters on.
        test: pictures to report accuracy on.
    """

    folder: Path
    class_names: tuple[str, ...]
    train: tuple[Picture, ...]
    val: tuple[Picture, ...]
    test: tuple[Picture, ...]


def read_split_file(folder: Path, split_file: str, images: str) -> Splits:
    """Read a `split_zhou_*.json`: {"train": [[path, label, class name], ...], "val": ..., "test": ...}.

    Args:
        folder: the data set's folder.
        split_file: name of the JSON file in it.
        images: the folder in it that the file's paths are relative to; empty for the data set's folder itself.

    Raises:
        UserError: the file is missing or is not of this format.
    """
    path = folder / split_file
    try:
        entries = json.loads(path.read_text())
        prefix = f"{images}/" if images else ""
        names: dict[int, str] = {}
        pictures: dict[str, tuple[Picture, ...]] = {}
        for split in ("train", "val", "test"):
            rows = [(str(file), int(label), str(name)) for file, label, name in entries[split]]
            names.update({label: name for _, label, name in rows})
            pictures[split] = tuple(Picture(prefix + file, label) for file, label, _ in rows)
    except FileNotFoundError:
        raise UserError(f"split file '{path}' does not exist: it is part of the data set's CoOp layout") from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"'{path}' is no split file: expected lists of [path, label, class name] under train, val and test "
            f"({type(error).__name__}: {error})"
        ) from error
    if not names or sorted(names) != list(range(len(names))):
        raise UserError(f"'{path}' has labels {sorted(names)[:3]}...: expected every number from 0 to classes - 1")
    class_names = tuple(names[label] for label in range(len(names)))
    return Splits(folder, class_names, **pictures)


def read_categories(folder: Path, archive: str, categories: str) -> Splits:
    """Read a zip file with an `index.csv` of pictures, labelled by `category`, split by `split`.

    Args:
        folder: where the archive lies.
        archive: zip file with pictures and `index.csv` (file, name, category, split, group).
        categories: text file beside it, a class name a line in label order; other categories are left out.
    """
    class_names = tuple((folder / categories).read_text().splitlines())
    labels = {name: label for label, name in enumerate(class_names)}
    pictures: dict[str, list[Picture]] = {"train": [], "val": [], "test": []}
    for row in archive_index(folder / archive):
        if row["split"] in pictures and row["category"] in labels:
            pictures[row["split"]].append(Picture(f"{archive}/{row['file']}", labels[row["category"]]))
    return Splits(folder, class_names, *(tuple(pictures[split]) for split in ("train", "val", "test")))


def read_names(folder: Path, archive: str, group: str) -> Splits:
    """Read the pictures of one group of such an archive, each labelled by its own `name`, all for testing."""
    rows = [row for row in archive_index(folder / archive) if row["group"] == group]
    class_names = tuple(sorted({row["name"] for row in rows}))
    labels = {name: label for label, name in enumerate(class_names)}
    test = tuple(Picture(f"{archive}/{row['file']}", labels[row["name"]]) for row in rows)
    return Splits(folder, class_names, (), (), test)


def archive_index(archive: Path) -> Iterable[dict[str, str]]:
    """Rows of the `index.csv` in a zip file."""
    try:
        with zipfile.ZipFile(archive) as file:
            text = io.TextIOWrapper(file.open("index.csv"), encoding="utf-8", newline="")
            return list(csv.DictReader(text))
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"picture archive '{archive}' cannot be read: {error}") from error
