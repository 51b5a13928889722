"""Data sets by name: what a name means, where its folder is on this machine, and what it contains."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from harness.data.catalog import DATASETS
from harness.data.description import DataSet
from harness.data.filesystem import locate
from harness.data.image_folder import read_own_folder, read_template
from harness.data.readers import SPLITS, Splits
from harness.errors import UserError, nearest

OWN = "folder:"
"""Names of data sets that are folders of the user's own begin with this: folder:PATH."""


def own_dataset(name: str) -> DataSet:
    """A row for `folder:PATH`, the user's own pictures.

    Raises:
        UserError: the folder does not exist, or its `template.txt` holds no template.
    """
    path = name.removeprefix(OWN)
    if not path:
        raise UserError(f"'{name}' names no folder: give folder:PATH, a folder that has one folder of pictures a class")
    folder = Path(os.path.abspath(Path(path).expanduser()))
    return DataSet(name, str(folder), read_own_folder, read_template(folder), about="your own pictures")


def find_dataset(name: str) -> DataSet:
    """The row of that name; `folder:PATH` makes one.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name.startswith(OWN):
        return own_dataset(name)
    if name not in DATASETS:
        known = [*DATASETS, *([OWN + name] if Path(name).is_dir() else [])]
        raise UserError(
            f"unknown data set '{name}'.{nearest(name, known)} `skipbench list` names all; "
            f"{OWN}PATH takes your own pictures."
        )
    return DATASETS[name]


def find_folder(dataset: DataSet, data_root: str | None) -> Path:
    """The data set's folder on this machine, under its usual name or another.

    Raises:
        UserError: no data root is set, it does not exist, or the folder is not in it under any of its names.
    """
    root, name = locate_folder(dataset, data_root)
    return root / name


def locate_folder(dataset: DataSet, data_root: str | None) -> tuple[Path, str]:
    """The data root, and the data set's folder in it as it is called there: `find_folder` in two parts.

    Raises:
        UserError: as `find_folder`.
    """
    if Path(dataset.folder).is_absolute():
        return Path("/"), dataset.folder
    if not data_root:
        raise UserError(
            f"data set '{dataset.name}' needs a data root: set DATA=/path/to/data, the folder that holds "
            f"{dataset.folder}/ in the CoOp layout"
        )
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise UserError(f"data root '{data_root}' does not exist: set DATA to the folder that holds {dataset.folder}/")
    names = (dataset.folder, *dataset.aliases)
    name = locate(root, names)
    if name is None:
        raise UserError(
            f"data set '{dataset.name}' is not in data root '{data_root}': looked for {', '.join(names)}, "
            "in any case and with or without - and _; `skipbench data` says where to get it"
        )
    return root, name


def read_dataset(name: str, data_root: str | None = None, splits: tuple[str, ...] = SPLITS) -> Splits:
    """Read a data set's classes and picture lists (no picture is opened), once a process.

    Args:
        name: of the data set.
        data_root: folder that holds the data sets.
        splits: which are wanted; the others come back empty. Who must not see test labels leaves `test` out.

    Raises:
        UserError: unknown, missing or malformed.
    """
    return read_folder(name, *locate_folder(find_dataset(name), data_root), splits)


@cache
def read_folder(name: str, root: Path, folder: str, wanted: tuple[str, ...] = SPLITS) -> Splits:
    """Read a data set in the folder that was found for it, and say so in its layout if it has not its usual name."""
    dataset = find_dataset(name)
    splits = dataset.read(root / folder, splits=wanted)
    found = () if folder == dataset.folder else (f"folder {folder}/ (usually {dataset.folder}/)",)
    return replace(splits, layout=(*found, *splits.layout))
