"""Data sets by name: what a name means, where its folder is on this machine, and what it contains."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from harness.data.catalog import DATASETS
from harness.data.description import DataSet
from harness.data.filesystem import locate
from harness.data.hub_dataset import hub_content, hub_dataset
from harness.data.image_folder import read_own_folder, read_template
from harness.data.own_names import HUB, OWN, is_own, own_path
from harness.data.readers import SPLITS, Splits
from harness.errors import UserError, nearest
from harness.machine.digests import file_digest

SMALL = 64 << 20
"""Bytes up to which the pictures of such a folder are read to know whether it changed; of larger ones, only sizes."""


def own_dataset(name: str) -> DataSet:
    """The description of `folder:PATH`, the user's own images.

    Raises:
        UserError: the folder does not exist, or its `template.txt` contains no template.
    """
    path = name.removeprefix(OWN)
    if not path:
        raise UserError(f"'{name}' names no folder: give folder:PATH, a folder with one folder of images per class")
    folder = own_path(name)
    return DataSet(name, str(folder), read_own_folder, read_template(folder), about="your own images")


def find_dataset(name: str) -> DataSet:
    """The description of a data set, by its name in the catalog, as `folder:PATH`, `hf:NAME`, `hf:PATH` or `wds:PATH`.

    Raises:
        UserError: there is none of that name; the message suggests the nearest.
    """
    if is_own(name):
        return own_dataset(name) if name.startswith(OWN) else hub_dataset(name)
    if name not in DATASETS:
        known = [*DATASETS, *([OWN + name] if os.path.isdir(name) else [])]
        raise UserError(
            f"unknown data set '{name}'.{nearest(name, known, titles())} `skipbench list` names all; "
            f"{OWN}PATH takes your own images, {HUB}NAME those of the hub."
        )
    return DATASETS[name]


def titles() -> dict[str, tuple[str, ...]]:
    """Data set -> other names of it: those of its folder, and the one in its split file."""
    found = {}
    for dataset in DATASETS.values():
        split_file = getattr(dataset.read, "keywords", {}).get("split_file", "")
        folder = () if Path(dataset.folder).is_absolute() else (dataset.folder,)
        split = split_file.removeprefix("split_zhou_").removesuffix(".json")
        found[dataset.name] = (*folder, *dataset.aliases, *([split] if split else []))
    return found


def names_of(dataset: str) -> tuple[str, ...]:
    """The names under which files of others know a data set, its own first; of one by its place, the last folder."""
    if ":" in dataset:
        return (Path(dataset.partition(":")[2]).name,)
    return tuple(dict.fromkeys((dataset, *titles().get(dataset, ()))))


def find_folder(dataset: DataSet, data_root: str | None) -> Path:
    """The data set's folder on this machine, under its usual name or an alias.

    Raises:
        UserError: no data root is set, it does not exist, or it does not contain the folder under any of its names.
    """
    root, name = locate_folder(dataset, data_root)
    return root / name


def locate_folder(dataset: DataSet, data_root: str | None) -> tuple[Path, str]:
    """The data root, and the name of the data set's folder in it: `find_folder` in two parts.

    Raises:
        UserError: as `find_folder`.
    """
    if Path(dataset.folder).is_absolute():
        return Path("/"), dataset.folder
    if not data_root:
        raise UserError(
            f"data set '{dataset.name}' needs a data root: set DATA=/path/to/data, the folder that contains "
            f"{dataset.folder}/ in the CoOp layout"
        )
    root = Path(data_root).expanduser()
    if not os.path.isdir(root):
        raise UserError(
            f"data root '{data_root}' does not exist: set DATA to the folder that contains {dataset.folder}/"
        )
    names = (dataset.folder, *dataset.aliases)
    name = locate(root, names)
    if name is None:
        raise UserError(
            f"data set '{dataset.name}' is not in data root '{data_root}': looked for {', '.join(names)}, "
            "in any case and with or without - and _; `skipbench data` says where to get it"
        )
    return root, name


def read_dataset(name: str, data_root: str | None = None, splits: tuple[str, ...] = SPLITS) -> Splits:
    """Read the classes of a data set and the list of its images. No image is opened; the result is cached.

    Args:
        name: of the data set.
        data_root: folder that contains the data sets.
        splits: which to read; the others are returned empty. Leave out `test` to see no test labels.

    Raises:
        UserError: the data set is unknown, missing or malformed.
    """
    return read_folder(name, *locate_folder(find_dataset(name), data_root), splits)


@cache
def read_folder(name: str, root: Path, folder: str, wanted: tuple[str, ...] = SPLITS) -> Splits:
    """Read a data set from the folder that was found for it; its layout says if the folder has not its usual name."""
    dataset = find_dataset(name)
    splits = dataset.read(root / folder, splits=wanted)
    found = () if folder == dataset.folder else (f"folder {folder}/ (usually {dataset.folder}/)",)
    return replace(splits, layout=(*found, *splits.layout))


def own_content(name: str) -> list[list[str]]:
    """What data of the user's own hold, read anew: the template, the classes, and every picture.

    Args:
        name: folder:PATH, or one with another of the prefixes of the user's own data.

    Returns:
        Rows of text: the template; the class names; for each picture its split, path, class and size, and its digest if
        all pictures together are small.

    Raises:
        UserError: the folder cannot be read.
    """
    if not name.startswith(OWN):
        return hub_content(find_dataset(name))
    dataset = own_dataset(name)
    splits = dataset.read(Path(dataset.folder))
    pictures = [(split, picture) for split in SPLITS for picture in getattr(splits, split)]
    try:
        sizes = [os.stat(splits.folder / picture.path).st_size for _, picture in pictures]
        small = sum(sizes) <= SMALL
        digests = [file_digest(splits.folder / picture.path) if small else "" for _, picture in pictures]
    except OSError as error:
        raise UserError(f"'{error.filename or splits.folder}' cannot be read: {error.strerror}") from None
    rows = [
        [split, picture.path, str(picture.label), str(size), digest]
        for (split, picture), size, digest in zip(pictures, sizes, digests, strict=True)
    ]
    return [[dataset.template], list(splits.class_names), *rows]
