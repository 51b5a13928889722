"""Downloads the files of a data set: resumed where it stopped, checked, and unpacked without overwriting anything."""

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.data.downloads import DOWNLOADS, Download
from harness.errors import NoSpaceError, UserError, first_line

BLOCK = 1 << 20
TIMEOUT = 60.0
"""Seconds without an answer after which a connection is given up."""
ATTEMPTS = 5
"""How often in a row a download may break off without having got anything further."""
PAUSE = 1.0
"""Seconds before a download that broke off goes on; they double with every attempt that got nothing."""
STORE = ".downloads"
"""The folder in the data root where files are until they are unpacked; what is in it is taken up again."""
Progress = Callable[[str, int, int | None], None]
"""Called with what is done in words, and bytes done of all; None if their number is unknown."""


class BrokenOffError(Exception):
    """A connection ended before the file did."""


class Plan(NamedTuple):
    """What is to be downloaded.

    Attributes:
        downloads: the files of a data set.
        sizes: the bytes of each, as its server says; None if it does not.
    """

    downloads: tuple[Download, ...]
    sizes: tuple[int | None, ...]

    @property
    def size(self) -> int | None:
        """The bytes of all files; None if one is unknown."""
        known = [size for size in self.sizes if size is not None]
        return sum(known) if len(known) == len(self.sizes) else None


def plan_of(name: str, source: str) -> Plan:
    """Ask the servers of a data set how large its files are.

    Args:
        name: of the data set.
        source: where people get it, for the message.

    Raises:
        UserError: it cannot be downloaded, or a server cannot be reached.
    """
    downloads = DOWNLOADS.get(name)
    if downloads is None:
        get_it = f"; get it: {source}" if source else ""
        raise UserError(f"'{name}' cannot be downloaded in this way{get_it}. Those that can: {', '.join(DOWNLOADS)}")
    return Plan(downloads, tuple(size_of(download.url) for download in downloads))


def size_of(url: str) -> int | None:
    """The bytes of a file on the web, as its server says; None if it does not say.

    Raises:
        UserError: the server cannot be reached, or has no such file.
    """
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT) as answer:
            length = answer.headers.get("Content-Length")
    except (OSError, HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code in (403, 405, 501):  # sizes are not told to all
            return None
        raise UserError(f"'{url}' cannot be reached ({why(error)}): try again later, or get it by hand") from None
    return int(length) if length and length.isdigit() else None


def why(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    reason = getattr(error, "reason", None)
    return first_line(reason if isinstance(reason, BaseException) else error)


def fetch(plan: Plan, root: Path, on_progress: Progress) -> None:
    """Download and unpack the files of a data set. What an earlier attempt got is not downloaded again.

    Args:
        plan: what to download.
        root: the data root.
        on_progress: called again and again.

    Raises:
        UserError: a server cannot be reached, a file is not what it should be, or there is no space.
    """
    store = root / STORE
    try:
        check_space(plan, root)
        store.mkdir(exist_ok=True)
        for download, size in zip(plan.downloads, plan.sizes, strict=True):
            place = root / download.into
            place.mkdir(parents=True, exist_ok=True)
            if not download.unpack and (place / download.name).exists():
                continue
            file = store / download.name
            if not file.exists():
                get_file(download, file, size, on_progress)
            if download.unpack:
                unpack(file, place, store, on_progress)
                if download.inner:
                    inner = place / download.inner
                    unpack(inner, inner.parent, store, on_progress)
                    inner.unlink()
                file.unlink()
            else:
                os.replace(file, place / download.name)
        if not any(store.iterdir()):
            store.rmdir()
    except OSError as error:
        raise UserError(f"'{error.filename or root}' cannot be written: {error.strerror or error}") from None


def check_space(plan: Plan, root: Path) -> None:
    """Raise a NoSpaceError if archives and what is in them do not fit on the disk, as far as sizes are known."""
    needed = 2 * sum(size or 0 for size in plan.sizes)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise NoSpaceError(
            f"'{root}' has {free / 1e9:.1f} GB free, and archives with their content need about {needed / 1e9:.1f} GB"
        )


def get_file(download: Download, file: Path, size: int | None, on_progress: Progress) -> None:
    """Download one file: into `NAME.part`, from where an earlier attempt stopped, and renamed once it is checked.

    Args:
        download: what.
        file: where it is to be.
        size: its bytes, if they are known.
        on_progress: called again and again.

    Raises:
        UserError: the server cannot be reached, or the file is another than expected.
    """
    part = file.with_name(f"{file.name}.part")
    failures = 0
    while True:
        begin = part.stat().st_size if part.exists() else 0
        if size is not None and begin == size:
            break
        try:
            get_rest(download, part, size, on_progress)
            break
        except (OSError, HTTPException, BrokenOffError) as error:
            if isinstance(error, OSError) and error.filename is not None and not hasattr(error, "code"):
                raise  # of the disk, not of the network
            failures = failures + 1 if (part.stat().st_size if part.exists() else 0) <= begin else 0
            if isinstance(error, urllib.error.HTTPError) and error.code == 416 and size is None:
                break  # there is nothing beyond what is there; the checksum tells whether that is right
            if failures >= ATTEMPTS or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                raise UserError(
                    f"'{download.url}' broke off ({why(error)}): the same command goes on where it stopped"
                ) from None
            time.sleep(PAUSE * 2**failures)
    if size is not None and part.stat().st_size != size:
        part.unlink()
        raise UserError(f"'{download.url}' is not the {size:,} bytes that its server announced: try again")
    check_md5(download, part, on_progress)
    os.replace(part, file)


def get_rest(download: Download, part: Path, size: int | None, on_progress: Progress) -> None:
    """Append what a partly downloaded file lacks; if its server gives whole files only, begin anew.

    Raises:
        BrokenOffError: the connection ended before the file did.
        OSError, HTTPException: of the network or the disk.
    """
    begin = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(download.url, headers={"Range": f"bytes={begin}-"} if begin else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = begin > 0 and answer.status == 206
        done = begin if goes_on else 0
        length = answer.headers.get("Content-Length")
        end = size if size is not None else done + int(length) if length and length.isdigit() else None
        with part.open("ab" if goes_on else "wb") as target:
            while block := answer.read(BLOCK):
                target.write(block)
                done += len(block)
                on_progress(f"downloading {download.name}", done, end)
    if end is not None and done < end:
        raise BrokenOffError(f"after {done:,} of {end:,} bytes")


def check_md5(download: Download, part: Path, on_progress: Progress) -> None:
    """Delete a downloaded file and raise a UserError if it has not the published checksum."""
    if download.md5 is None:
        return
    digest, size, done = hashlib.md5(usedforsecurity=False), part.stat().st_size, 0
    with part.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            on_progress(f"checking {download.name}", done, size)
    if digest.hexdigest() != download.md5:
        part.unlink()
        raise UserError(
            f"'{download.url}' has the checksum {digest.hexdigest()}, {download.md5} is published: it is another file, "
            "and was deleted"
        )


def unpack(archive: Path, place: Path, store: Path, on_progress: Progress) -> None:
    """Unpack an archive into a folder of its own, then move what is new to its place; nothing is overwritten.

    Args:
        archive: zip, or tar with any compression.
        place: the folder that its content belongs in.
        store: a folder on the same disk, for what is not complete yet.
        on_progress: called again and again.

    Raises:
        UserError: it is none, or has a member that leads out of its folder.
    """
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=store) as folder:
        try:
            if zipfile.is_zipfile(archive):
                unpack_zip(archive, Path(folder), on_progress)
            else:
                unpack_tar(archive, Path(folder), on_progress)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, RuntimeError) as error:
            raise UserError(f"'{archive}' cannot be unpacked ({first_line(error)}): delete it and try again") from None
        move_new(Path(folder), place)


def unpack_zip(archive: Path, folder: Path, on_progress: Progress) -> None:
    """Unpack a zip file; paths that lead upwards lose what leads there."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        total = sum(member.file_size for member in members)
        done = 0
        for member in members:
            opened.extract(member, folder)
            done += member.file_size
            on_progress(f"unpacking {archive.name}", done, total)


def unpack_tar(archive: Path, folder: Path, on_progress: Progress) -> None:
    """Unpack a tar file; links and paths that lead out of it, devices and the like are refused."""
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"this Python cannot unpack '{archive}' safely: use a newer patch version of it")
    with archive.open("rb") as file, tarfile.open(fileobj=file) as opened:
        size = archive.stat().st_size
        for member in opened:
            opened.extract(member, folder, filter="data")
            on_progress(f"unpacking {archive.name}", position(file, size), size)


def position(file: BinaryIO, size: int) -> int:
    """How far a file has been read."""
    return min(file.tell(), size)


def move_new(source: Path, target: Path) -> None:
    """Move what a folder contains into another one, file by file where both have a folder; existing files stay."""
    with os.scandir(source) as entries:
        found: Sequence[os.DirEntry[str]] = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        place = target / entry.name
        if not os.path.lexists(place):
            os.rename(entry.path, place)
        elif entry.is_dir(follow_symlinks=False) and place.is_dir():
            move_new(Path(entry.path), place)
