"""The layouts of data sets on disk, and how each is read into classes and pictures."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.data.filesystem import read_lines
from harness.errors import UserError, nearest

INSTRUCTIONS = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
SPLITS = ("train", "val", "test")


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
    """

    folder: Path
    class_names: tuple[str, ...]
    train: tuple[Picture, ...]
    val: tuple[Picture, ...]
    test: tuple[Picture, ...]
    layout: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()


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
        if any((folder / place / path).exists() for path in samples):
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
        UserError: the file is missing or has another format.
    """
    path = folder / split_file
    names: dict[int, str] = {}
    pictures: dict[str, tuple[Picture, ...]] = dict.fromkeys(SPLITS, ())
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        for split in splits:
            rows = [(str(file), int(label), str(name)) for file, label, name in entries[split]]
            for file, label, name in rows:
                if names.setdefault(label, name) != name:
                    raise ValueError(f"{file}: class {label} is called both '{names[label]}' and '{name}'")
            pictures[split] = tuple(Picture(file, label) for file, label, _ in rows)
    except FileNotFoundError:
        raise UserError(
            f"split file '{path}' does not exist: it is part of the CoOp layout, get it as {INSTRUCTIONS} says"
        ) from None
    except OSError as error:
        raise UserError(f"split file '{path}' cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"'{path}' is no split file: expected lists of [path, label, class name] under train, val and test "
            f"({type(error).__name__}: {error})"
        ) from error
    if not names or sorted(names) != list(range(len(names))):
        raise UserError(f"'{path}' has labels {sorted(names)[:3]}...: expected every number from 0 to classes - 1")
    place, layout = find_images(folder, images, (part[0].path for part in pictures.values() if part))
    class_names = tuple(names[label] for label in range(len(names)))
    return Splits(place, class_names, **pictures, layout=layout, sources=(path,))


def read_aircraft(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read FGVC Aircraft's own files.

    `variants.txt` has one class per line, in label order. For every split, `images_variant_<split>.txt` has lines such
    as `0034309 Boeing 707-320`.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain the images, as for `find_images`.
        splits: which to read; the files of the others are not opened.

    Raises:
        UserError: a file is missing, or names a variant that `variants.txt` does not have.
    """
    advice = f"it comes with the data set's archive, see {INSTRUCTIONS}"
    variants = read_lines(folder / "variants.txt", advice)
    labels = {variant: label for label, variant in enumerate(variants)}
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
            rows.append(Picture(f"{number}.jpg", labels[variant]))
        pictures[split] = tuple(rows)
    place, layout = find_images(folder, images, (part[0].path for part in pictures.values() if part))
    sources = (folder / "variants.txt", *(folder / f"images_variant_{split}.txt" for split in splits))
    return Splits(place, tuple(variants), **pictures, layout=layout, sources=sources)


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
        with zipfile.ZipFile(archive) as file:
            text = io.TextIOWrapper(file.open("index.csv"), encoding="utf-8", newline="")
            return list(csv.DictReader(text))
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"image archive '{archive}' cannot be read: {error}") from error
