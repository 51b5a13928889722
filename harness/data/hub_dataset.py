"""The description and the content of `hf:...` and `wds:...`."""

import hashlib
import os
from functools import partial
from pathlib import Path

from harness.data.description import DataSet
from harness.data.hub_download import Snapshot, fetch
from harness.data.hub_folder import open_folder, read_hub_folder
from harness.data.hub_known import KnownSet, known_set, with_known
from harness.data.image_folder import DEFAULT_TEMPLATE, read_template
from harness.data.own_names import SHARDS, HubName, parse_hub_name
from harness.data.picture_files import in_archive
from harness.data.readers import SPLITS, Splits
from harness.errors import UserError
from harness.machine.digests import file_digest

SMALL = 64 << 20
"""Bytes up to which the files of a data set are read to know whether they changed; of larger ones, both ends."""
END = 1 << 20
"""Bytes of each end of such a file that are read. At its end a parquet file says where all its parts are."""


def hub_dataset(text: str) -> DataSet:
    """The description of `hf:OWNER/NAME`, `hf:/PATH` or `wds:/PATH`. What is not on this machine yet is downloaded.

    Raises:
        UserError: the name has another form, the folder does not exist, or the hub does not give the data set.
    """
    name = parse_hub_name(text)
    path = name.path
    if path is not None:
        if not os.path.isdir(path):
            hint = f" (of the hub, names are {name.prefix}OWNER/NAME)" if name.prefix != SHARDS else ""
            raise UserError(f"folder '{path}' does not exist: name one with parquet, arrow or tar files{hint}")
        read = partial(read_named, name=name)
        return DataSet(text, str(path), read, read_template(path), about="your own images")
    known = known_set(name.place)
    name = with_known(name, known)
    found = fetch(name)
    read = partial(read_named, name=name, known=known, snapshot=found)
    if known is None:
        return DataSet(text, str(found.folder), read, DEFAULT_TEMPLATE, about="a data set of the hub")
    of = known.row
    return DataSet(text, str(found.folder), read, of.template, of.finetune_template, about=f"{of.name} of the hub")


def read_named(
    folder: Path,
    name: HubName,
    known: KnownSet | None = None,
    snapshot: Snapshot | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> Splits:
    """Read a data set from its folder.

    Raises:
        UserError: as `open_folder` and `read_hub_folder`.
    """
    source = open_folder(folder, name, known.rename if known else dict)
    if name.prefix == SHARDS and source.layout.kind != "tar":
        raise UserError(f"'{folder}' has .{source.layout.kind} files: write hf:{name.place}; wds: reads .tar files")
    facts: tuple[str, ...] = (f"{name.place} of the hub at commit {snapshot.commit}",) if snapshot else ()
    facts += (known.fact,) if known else ()
    return read_hub_folder(source, splits, facts)


def hub_content(dataset: DataSet) -> list[list[str]]:
    """What decides the results on such a data set: its template, its classes, every picture, and its files.

    Args:
        dataset: as `hub_dataset` describes it.

    Returns:
        Rows of text: the template; the class names; split, path and class of each picture; name, size and digest of
        each file.

    Raises:
        UserError: it cannot be read.
    """
    splits = dataset.read(Path(dataset.folder))
    rows = [[split, *map(str, picture)] for split in SPLITS for picture in getattr(splits, split)]
    archives = {path: in_archive(splits.folder, path)[0] for _, path, _ in rows}
    files = sorted({archive or path for path, archive in archives.items()})
    try:
        sizes = [os.stat(splits.folder / file).st_size for file in files]
        # Pictures that are files of their own are known by their sizes, as those of a folder are.
        digest = file_digest if sum(sizes) <= SMALL else ends_digest
        unread = archives.keys() if digest is ends_digest else ()
        marks = ["" if file in unread else digest(splits.folder / file) for file in files]
    except OSError as error:
        raise UserError(f"'{error.filename or splits.folder}' cannot be read: {error.strerror}") from None
    known = [[file, str(size), mark] for file, size, mark in zip(files, sizes, marks, strict=True)]
    return [[dataset.template], list(splits.class_names), *rows, *known]


def ends_digest(path: Path) -> str:
    """SHA-256 of the beginning and the end of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(END))
        file.seek(max(0, os.fstat(file.fileno()).st_size - END))
        digest.update(file.read(END))
    return digest.hexdigest()
