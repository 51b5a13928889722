"""From a picture's path to the bytes of its file: in a folder, a zip or tar file or a table, of sensible size only."""

import errno
import os
import re
import stat
import time
import zipfile
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.machine.digests import SETTLED

ARCHIVE = re.compile(r"\.(?:zip|tar|parquet|arrow)/")
"""What follows the name of a file in a path that holds many pictures."""
TABLES = (".parquet", ".arrow")
PACKED = re.compile(r"(.+)\.(cifar10|cifar100|stl10|idx|h5)/(\d+)")
"""A path of a picture that lies as bare pixels in a file with others: name of the file, form, number."""
ENDINGS = ("", ".bin", ".gz")
"""What the name of a packed file may end in beside what its path says."""
MOST_BYTES = 512 << 20
"""Size of the largest file that is read as a picture."""
SEPARATORS = re.compile("[/\\\\]" if os.sep == "\\" else "/")
"""What separates the parts of a path on this system."""


class FileChangingError(OSError):
    """The state of a file does not tell its content."""


class PackedPath(NamedTuple):
    """Where a picture is that lies as bare pixels in a file with others.

    Attributes:
        name: of the file, without its ending on disk.
        form: of its content.
        number: of the picture in it, from 0.
    """

    name: str
    form: str
    number: int


def in_packed(folder: Path, path: str) -> PackedPath | None:
    """The parts of a packed picture's path; None if the picture is a file of its own or in a zip file."""
    found = PACKED.fullmatch(path) if path[-1:].isdigit() else None
    if found is None or os.path.isdir(os.path.join(folder, path.rpartition("/")[0])):
        return None
    return PackedPath(found[1], found[2], int(found[3]))


def packed_file(folder: Path, name: str, form: str) -> Path | None:
    """The packed file of a name on disk, in whichever of its forms it is; None if it is in none.

    Args:
        folder: that contains it.
        name: as paths have it, without the form.
        form: of its content.
    """
    endings = (".h5",) if form == "h5" else ENDINGS
    paths = (folder / f"{name}{ending}" for ending in endings)
    return next((path for path in paths if path.is_file()), None)


def is_outside(path: str) -> bool:
    """Whether a path is absolute or goes upwards, so that it may lead out of the folder that it is relative to."""
    return os.path.isabs(path) or (".." in path and ".." in SEPARATORS.split(path))


def in_archive(folder: Path, path: str) -> tuple[str, str]:
    """Split a picture's path into archive and member; the first is empty if the picture is a file of its own.

    An archive is a zip or tar file or a table. A folder may also have a name that ends in `.zip`.
    """
    for found in ARCHIVE.finditer(path):
        archive = path[: found.end() - 1]
        if not os.path.isdir(os.path.join(folder, archive)):
            return archive, path[found.end() :]
    return "", path


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, unless it is a pipe, a device, a socket or a folder: those may block or never end.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    # Without O_NONBLOCK a pipe blocks until somebody writes to it; for regular files it changes nothing.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError("it is no regular file")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


@cache
def open_archive(path: Path, process: int) -> zipfile.ZipFile:
    """A zip file, opened once per process; forked processes must not share the position in the file."""
    return zipfile.ZipFile(open_regular(path))


def read_bytes(folder: Path, path: str) -> bytes:
    """The content of a picture's file.

    Args:
        folder: the folder that the path is relative to.
        path: of a `Picture`.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: whatever is raised for what cannot be read; among others by `zipfile`.
    """
    if is_outside(path):
        raise ValueError(f"it lies outside '{folder}'")
    packed = in_packed(folder, path)
    if packed:
        # Not at the top: it imports this module, and numpy.
        from harness.data.packed_files import packed_bytes

        return packed_bytes(folder, packed)
    archive, member = in_archive(folder, path)
    if archive:
        return read_member(folder / archive, member)
    with open_regular(folder / path) as file:
        size = os.fstat(file.fileno()).st_size
        check_size(size)
        return file.read(size)


def file_state(folder: Path, path: str) -> tuple[int, ...]:
    """Numbers that change when the content of a picture changes, without reading it.

    For a member of a zip file these are checksum and size of its content, otherwise the size of the file, or of the tar
    file or table that it is in, the times of its last changes and its inode.

    Args:
        folder: the folder that the path is relative to.
        path: of a `Picture`.

    Raises:
        OSError, ValueError, RuntimeError, zipfile.BadZipFile: there is no such file, or it cannot be read.
        FileChangingError: it was changed just now, so that another change might look the same.
    """
    if is_outside(path):
        raise ValueError(f"it lies outside '{folder}'")
    if in_packed(folder, path):
        path = os.path.relpath(file_of(folder, path), folder)
    archive, member = in_archive(folder, path)
    if archive.endswith(".zip"):
        try:
            info = open_archive(folder / archive, os.getpid()).getinfo(member)
        except KeyError:
            raise FileNotFoundError(member) from None
        return info.CRC, info.file_size
    found = os.stat(folder / (archive or path))
    if time.time() - found.st_ctime < SETTLED:
        raise FileChangingError(errno.EBUSY, "it was changed just now", path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def file_of(folder: Path, path: str) -> Path:
    """The file on disk that a picture is, or in which it is packed with others.

    Raises:
        FileNotFoundError: the file in which it is packed does not exist.
    """
    packed = in_packed(folder, path)
    if packed is None:
        return folder / path
    file = packed_file(folder, packed.name, packed.form)
    if file is None:
        raise FileNotFoundError(path)
    return file


def read_member(archive: Path, member: str) -> bytes:
    """The content of a member of an archive."""
    # Not at the top: these modules need this one, and most data sets need neither.
    if archive.suffix in TABLES:
        from harness.data.table_files import read_cell

        return read_cell(archive, member)
    if archive.suffix == ".tar":
        from harness.data.shards import read_shard_member

        return read_shard_member(archive, member)
    opened = open_archive(archive, os.getpid())
    try:
        info = opened.getinfo(member)
    except KeyError:
        raise FileNotFoundError(member) from None
    if len(opened.NameToInfo) < len(opened.filelist) and opened.namelist().count(member) > 1:
        raise ValueError("the zip file has several members of this name")
    check_size(info.file_size)
    # Never more than the header states, however much comes out.
    with opened.open(info) as file:
        return file.read(info.file_size)


def check_size(size: int) -> None:
    """Raise a ValueError if a file is empty or larger than any picture."""
    if size == 0:
        raise ValueError("it is empty")
    if size > MOST_BYTES:
        raise ValueError(f"it has {size >> 20:,} MiB, a picture at most {MOST_BYTES >> 20}")


def names_at(place: Path, is_archive: bool) -> Collection[str]:
    """Names in a folder or archive; none if it does not exist."""
    try:
        return members_of(place) if is_archive else frozenset(os.listdir(place))
    except Exception:  # what damaged archives raise is of any kind
        return frozenset()


def members_of(archive: Path) -> Collection[str]:
    """Names of the members of an archive.

    Raises:
        Exception: whatever is raised for what cannot be read.
    """
    if archive.suffix in TABLES:
        from harness.data.table_files import CellNames, open_table

        return CellNames(open_table(archive))
    if archive.suffix == ".tar":
        from harness.data.shards import shard_index

        return shard_index(archive).keys()
    return frozenset(open_archive(archive, os.getpid()).namelist())
