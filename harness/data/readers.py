"""The layouts of data sets on disk, and how each is read into classes and pictures."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.data.picture_files import read_member
from harness.data.split_checks import refuse_links_outside, refuse_two_labels, repetitions
from harness.data.text_files import (
    check_class_name,
    check_name,
    check_path,
    check_paths,
    parse_json,
    parse_row,
    read_lines,
    read_text,
    short,
    why_unreadable,
)
from harness.errors import UserError, first_line, nearest

INSTRUCTIONS = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
SPLITS = ("train", "val", "test")
UNTESTED = ("train", "val")
"""The splits of a run that is not tested, which sees no test label."""
COLUMNS = ("file", "name", "category", "split", "group")
"""Of the `index.csv` in an archive of images."""


class Picture(NamedTuple):
    """One labelled picture.

    Attributes:
        path: relative to the folder of its data set's images, with `/`; `archive.zip/member` for one in a zip file.
            Samples are drawn by it, so it does not depend on the place and the name of that folder.
        label: index of its class.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Splits:
    """What a reader returns.

    Attributes:
        folder: the folder that the pictures' paths are relative to.
        class_names: in label order, as the data set spells them.
        train: pictures from which few-shot samples are drawn; empty for data sets that are for testing only.
        val: pictures on which hyper-parameters are selected.
        test: pictures on which accuracy is reported.
        layout: where the data set differs from the usual layout, a few words each.
        sources: the files that say which pictures and classes there are.
        remarks: what is left out or odd, a few words each: a user is told before a run, and the result says it.
        official_order: whether the pictures stand in the order in which the official code lists them; False where that
            is the order of a file system.
    """

    folder: Path
    class_names: tuple[str, ...]
    train: tuple[Picture, ...]
    val: tuple[Picture, ...]
    test: tuple[Picture, ...]
    layout: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
    official_order: bool = True

    @property
    def facts(self) -> tuple[str, ...]:
        """Layout and remarks: how the data set was found on disk, in words."""
        return (*self.layout, *self.remarks)


def find_images(folder: Path, images: Sequence[str], samples: Iterable[str]) -> tuple[Path, tuple[str, ...]]:
    """Find the folder of a data set's images.

    Args:
        folder: of the data set.
        images: folders in it that may contain the images, the usual one first; '' is the folder itself.
        samples: paths of a few pictures; the first folder that contains one of them is taken.

    Returns:
        The folder (the usual one if no picture is found), and a note if it is not the usual one.
    """
    samples = list(samples)
    for place in images:
        if any(os.path.exists(folder / place / path) for path in samples):
            return folder / place, unusual_place(place, images[0])
    return folder / images[0], ()


def unusual_place(place: str, usual: str) -> tuple[str, ...]:
    """A note on the folder of the images, if it is not the usual one."""
    # Results contain this text, so its wording stays.
    return () if place == usual else (f"pictures in {place or '.'}/ (usually {usual or '.'}/)",)


def read_split_file(folder: Path, split_file: str, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read a `split_zhou_*.json`: {"train": [[path, label, class name], ...], "val": ..., "test": ...}.

    Args:
        folder: the data set's folder.
        split_file: name of the JSON file in it.
        images: folders in it that the file's paths may be relative to, as for `find_images`.
        splits: which to read; the labels of the others are not read.

    Raises:
        UserError: the file is missing or has another format, a picture has two labels or lies outside the folder.
    """
    path = folder / split_file
    try:
        names, pictures = parse_splits(parse_json(read_text(path)), splits)
    except FileNotFoundError:
        raise UserError(
            f"split file '{path}' does not exist: it is part of the CoOp layout, get it as {INSTRUCTIONS} says"
        ) from None
    except OSError as error:
        raise UserError(f"split file '{path}' cannot be read: {why_unreadable(error)}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"'{path}' is no split file: expected lists of [path, label, class name] under train, val and test "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error
    gap = next((label for label in range(len(names)) if label not in names), None)
    if gap is not None or not names:
        what = f"{len(names)} different labels, but not {gap or 0}"
        raise UserError(f"'{path}' has {what}: expected every number from 0 to classes - 1")
    class_names = tuple(names[label] for label in range(len(names)))
    return checked_splits(folder, images, class_names, pictures, (path,))


def parse_splits(
    content: Mapping[str, object], splits: Sequence[str]
) -> tuple[dict[int, str], dict[str, tuple[Picture, ...]]]:
    """Class names by label, and the pictures by split, of the content of a split file.

    Raises:
        KeyError, TypeError, ValueError: it has another form; the message says where.
    """
    names: dict[int, str] = {}
    pictures: dict[str, tuple[Picture, ...]] = dict.fromkeys(SPLITS, ())
    for split in splits:
        rows = content[split]
        if not isinstance(rows, list):
            raise TypeError(f"{split} is no list")
        listed = []
        for row in rows:
            file, label, name = row
            if not (type(label) is int and type(file) is str and type(name) is str):  # a million rows: no call for most
                file, label, name = parse_row(row)
            if names.get(label) != name:
                check_name(name)
                if label in names:
                    raise ValueError(
                        f"{short(file)}: class {label} is called both {short(names[label])} and {short(name)}"
                    )
                names[label] = name
            listed.append(Picture(file, label))
        check_paths([picture.path for picture in listed])
        pictures[split] = tuple(listed)
    return names, pictures


def checked_splits(
    folder: Path,
    images: Sequence[str],
    class_names: tuple[str, ...],
    pictures: Mapping[str, tuple[Picture, ...]],
    sources: tuple[Path, ...],
) -> Splits:
    """The splits of a data set that lists its pictures in files, with remarks on what is odd in these lists.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain the images, as for `find_images`.
        class_names: in label order.
        pictures: by split.
        sources: the files that say which pictures and classes there are, the one to name in messages first.

    Raises:
        UserError: a picture has two labels, or is reached by a link that leads out of the folder.
    """
    refuse_two_labels(pictures, class_names, sources[0])
    place, layout = find_images(folder, images, (part[0].path for part in pictures.values() if part))
    every = [picture for part in pictures.values() for picture in part]
    refuse_links_outside(folder, place, every, sources[0])
    train, val, test = (pictures[split] for split in SPLITS)
    remarks = repetitions(pictures)
    return Splits(place, class_names, train, val, test, layout=layout, sources=sources, remarks=remarks)


def read_aircraft(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read FGVC Aircraft's own files.

    `variants.txt` has one class per line, in label order. For every split, `images_variant_<split>.txt` has lines such
    as `0034309 Boeing 707-320`.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain the images, as for `find_images`.
        splits: which to read; the files of the others are not opened.

    Raises:
        UserError: a file is missing, names a variant that `variants.txt` does not have, or a picture twice differently.
    """
    advice = f"it comes with the data set's archive, see {INSTRUCTIONS}"
    variants = read_lines(folder / "variants.txt", advice)
    labels = {variant: label for label, variant in enumerate(variants)}
    for variant in variants:
        check_class_name(folder / "variants.txt", variant)
    if len(labels) < len(variants) or not variants:
        raise UserError(f"'{folder / 'variants.txt'}' must name every class once: it has {len(variants)} lines")
    pictures: dict[str, tuple[Picture, ...]] = dict.fromkeys(SPLITS, ())
    for split in splits:
        path = folder / f"images_variant_{split}.txt"
        rows = []
        for line in read_lines(path, advice):
            number, _, variant = line.partition(" ")
            if variant not in labels:
                raise UserError(f"'{path}': '{line}' names no class of variants.txt.{nearest(variant, variants)}")
            try:
                check_path(number)
            except ValueError as error:
                raise UserError(f"'{path}': {error}") from None
            rows.append(Picture(f"{number}.jpg", labels[variant]))
        pictures[split] = tuple(rows)
    sources = (folder / "variants.txt", *(folder / f"images_variant_{split}.txt" for split in splits))
    return checked_splits(folder, images, tuple(variants), pictures, sources)


def read_categories(folder: Path, archive: str, categories: str, splits: Sequence[str] = SPLITS) -> Splits:
    """Read a zip file of images with an `index.csv`, labelled by its column `category` and split by `split`.

    Args:
        folder: the folder that contains the archive.
        archive: name of the zip file of images and `index.csv` (file, name, category, split, group).
        categories: name of a text file in the same folder with one class name per line, in label order; other
            categories are left out.
        splits: which to read.

    Raises:
        UserError: the archive or the text file cannot be read.
    """
    class_names = tuple(read_lines(folder / categories, "it comes with the project"))
    labels = {name: label for label, name in enumerate(class_names)}
    pictures: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    for row in archive_index(folder / archive):
        if row["split"] in pictures and row["split"] in splits and row["category"] in labels:
            pictures[row["split"]].append(Picture(f"{archive}/{row['file']}", labels[row["category"]]))
    train, val, test = (tuple(pictures[split]) for split in SPLITS)
    return Splits(folder, class_names, train, val, test, sources=(folder / categories, folder / archive))


def read_names(folder: Path, archive: str, group: str, splits: Sequence[str] = SPLITS) -> Splits:
    """Read the images of one `group` of such an archive, all for testing, labelled by their `name`."""
    rows = [row for row in archive_index(folder / archive) if row["group"] == group]
    class_names = tuple(sorted({row["name"] for row in rows}))
    labels = {name: label for label, name in enumerate(class_names)}
    test = tuple(Picture(f"{archive}/{row['file']}", labels[row["name"]]) for row in rows)
    return Splits(folder, class_names, (), (), test if "test" in splits else (), sources=(folder / archive,))


def archive_index(archive: Path) -> Iterable[dict[str, str]]:
    """The rows of the `index.csv` in a zip file, as column -> value."""
    try:
        text = io.StringIO(read_member(archive, "index.csv").decode("utf-8"), newline="")
        rows = list(csv.DictReader(text))
        if any(not isinstance(row.get(column), str) for row in rows for column in COLUMNS):
            raise ValueError(f"index.csv must have the columns {', '.join(COLUMNS)}")
    except Exception as error:  # what a damaged archive raises is of any kind
        raise UserError(f"image archive '{archive}' cannot be read: {first_line(error)}") from error
    return rows
