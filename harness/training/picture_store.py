"""Pixels of pictures on disk, for all processes and runs that would make the same: one file each.

A file is named by everything that decides its pixels: the picture's path and the state of its file, what was made of
it, and the code that makes it. It gets its name when it is complete, and what it says is believed only if its checksum
is right, so that writers may be killed and disks may be full at any moment. Nothing depends on what is there.

What is used is never removed for what is new: a pass over more pictures than there is room for would otherwise find
none of them the next time. It would write as much as it reads, and gain nothing.
"""

import hashlib
import json
import math
import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.picture_files import file_state
from harness.data.views import Kept, Pixels
from harness.experiment.place import RuntimeSpec
from harness.machine.environment import package_version
from harness.machine.units import MIB
from harness.results.files import remove_leftovers, temporary_path
from harness.training.feature_identity import code_digest
from harness.training.feature_store import locked
from harness.training.store_folders import COUNTER, PICTURE_SUFFIX, pictures_folder

MAGIC = b"pixels 2"
# Magic, name, seconds, three sizes; then a checksum of these and of the pixels, which begin at OFFSET.
HEADER = struct.Struct("<8s16sdIII")
CHECKSUM = struct.Struct("<I")
OFFSET = 64
LARGEST = 64 * MIB
"""Bytes of the largest picture that is kept."""
IN_USE = 3600.0
"""Seconds since its last use for which a file is not removed."""
TOUCHED = 600.0
"""Seconds after which another use is noted."""
FULL = 60.0
"""Seconds for which a process does not look for room again."""
RESERVED = 1 / 256
"""Part of the limit that a process counts as its own at once, so that it seldom waits for the others."""
FREED = 1 / 16
"""Part of the limit that is free after files were removed, as far as they are not in use."""
DECIDING = (
    "data/fast_views.py",
    "data/packed_files.py",
    "data/picture_files.py",
    "data/pictures.py",
    "data/shards.py",
    "data/table_files.py",
    "data/transforms.py",
    "data/views.py",
)
"""The code of SkipBench that makes pixels, in harness/."""
PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def open_picture_store(runtime: RuntimeSpec) -> "PicturesOnDisk | None":
    """The store that a run uses; None if it is switched off."""
    if not runtime.picture_store_mib:
        return None
    try:
        folder = pictures_folder(runtime)
    except RuntimeError:  # a user without a home folder
        return None
    versions = {name: package_version(name) for name in PACKAGES}
    context = json.dumps({"code": code_digest(DECIDING), "packages": versions}, sort_keys=True)
    store = shared_store(folder.absolute(), runtime.picture_store_mib * MIB, context)
    store.try_again()
    return store


@cache
def shared_store(folder: Path, limit: int, context: str) -> "PicturesOnDisk":
    """The one store of its kind in this process: it remembers which files it has checked."""
    return PicturesOnDisk(folder, limit, context)


@cache
def _resolved(folder: Path) -> str:
    return str(folder.resolve())


class PicturesOnDisk:
    """Pixels that are kept in a folder, a `harness.data.views.PictureStore`.

    Args:
        folder: created when something is kept.
        limit: bytes of all files together.
        context: what decides pixels beside pictures and transforms.
    """

    def __init__(self, folder: Path, limit: int, context: str) -> None:
        self.folder = folder
        self.limit = limit
        self.context = context
        self._problem = ""
        self._full_until = 0.0
        self._reserved = 0
        self._checked: set[str] = set()
        self._start = hashlib.blake2b(context.encode(), digest_size=16)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process has its own, however often it is told which."""
        return shared_store, (self.folder, self.limit, self.context)

    def try_again(self) -> None:
        """Forget that nothing could be written, or that there was no room."""
        self._problem, self._full_until = "", 0.0

    def problem(self) -> str:
        """Why nothing can be written, in words; empty if nothing is wrong."""
        return self._problem

    def name(self, folder: Path, path: str, *made: object) -> str:
        """The name of what is made of a picture in its present state; empty if the state tells no content."""
        try:
            state = file_state(folder, path)
        except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
            return ""
        found = self._start.copy()
        found.update(repr((_resolved(folder), path, state, made)).encode(errors="replace"))
        return found.hexdigest()

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self._path(name).exists()

    def load(self, name: str) -> Kept | None:
        """What is kept under a name; None if there is nothing that can be believed."""
        path = self._path(name)
        try:
            found, data = _read(path)
        except (OSError, ValueError):
            return None
        kept = parse(data, name, name not in self._checked)
        if kept is None:
            with suppress(OSError):
                path.unlink()
            return None
        self._checked.add(name)
        if time.time() - found.st_mtime > TOUCHED:
            with suppress(OSError):
                os.utime(path)
        return kept

    def keep(self, name: str, pixels: Pixels, seconds: float) -> None:
        """Keep pixels under a name, if there is room and they are not there."""
        path = self._path(name)
        if self._problem or pixels.nbytes > min(LARGEST, self.limit) or path.exists():
            return
        try:
            if self._reserve(OFFSET + pixels.nbytes):
                _write(path, header(name, pixels, seconds), np.ascontiguousarray(pixels))
        except OSError as error:
            self._problem = (
                f"decoded pictures cannot be kept in '{self.folder}' ({error.strerror or error}): they are decoded "
                "again and again; choose another folder with runtime.picture_store, or runtime.picture_store_mib=0"
            )

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name[2:]}{PICTURE_SUFFIX}"

    def _reserve(self, size: int) -> bool:
        """Count bytes as kept, before they are: a writer that is killed leaves too high a count, which is found out."""
        if size <= self._reserved:
            self._reserved -= size
            return True
        if time.monotonic() < self._full_until:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        counter = self.folder / COUNTER
        with locked(self.folder / "lock"):
            total = _read_count(counter)
            if total is None or total + size > self.limit:
                total = self._make_room(size)
            has_room = total + size <= self.limit
            taken = min(max(size, int(self.limit * RESERVED)), self.limit - total) if has_room else 0
            counter.write_text(str(total + taken))
        if has_room:
            self._reserved = taken - size
        else:
            self._full_until = time.monotonic() + FULL
        return has_room

    def _make_room(self, size: int) -> int:
        """Remove what dead writers left, and files that are not in use if there is too much; returns bytes of all."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total + size <= self.limit:
            return total
        now = time.time()
        for used, freed, path in files:
            if now - used < IN_USE or total + size <= self.limit * (1 - FREED):
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
                total -= freed
        return total

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Time of last use, size and path of each file."""
        for part in self.folder.iterdir():
            if len(part.name) == 2 and part.is_dir():
                remove_leftovers(part)
                for entry in os.scandir(part):
                    with suppress(OSError):
                        if entry.name.endswith(PICTURE_SUFFIX):
                            found = entry.stat(follow_symlinks=False)
                            yield found.st_mtime, found.st_size, Path(entry.path)


def header(name: str, pixels: Pixels, seconds: float) -> bytes:
    """What stands before pixels of three dimensions."""
    start = HEADER.pack(MAGIC, bytes.fromhex(name), seconds, *pixels.shape)
    checksum = zlib.crc32(np.ascontiguousarray(pixels).data, zlib.crc32(start))
    return (start + CHECKSUM.pack(checksum)).ljust(OFFSET, b"\0")


def parse(data: Pixels, name: str, whole: bool = True) -> Kept | None:
    """What a file says; None if it is damaged or of another name.

    Args:
        data: the file.
        name: of what is looked for.
        whole: also compare the checksum.
    """
    if len(data) < OFFSET:
        return None
    start = data[: HEADER.size].tobytes()
    magic, known, seconds, *sizes = HEADER.unpack(start)
    if magic != MAGIC or known.hex() != name or len(data) != OFFSET + math.prod(sizes):
        return None
    if not (math.isfinite(seconds) and seconds >= 0):
        return None
    if whole:
        (checksum,) = CHECKSUM.unpack(data[HEADER.size : HEADER.size + CHECKSUM.size].tobytes())
        if checksum != zlib.crc32(data[OFFSET:].data, zlib.crc32(start)):
            return None
    return Kept(data[OFFSET:].reshape(sizes), seconds)


def _read(path: Path) -> tuple[os.stat_result, Pixels]:
    """State and content of a regular file; nothing else is read, or waited for."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > OFFSET + LARGEST:
            raise ValueError("it is no file of a store")
        data = np.empty(found.st_size, np.uint8)
        if file.readinto(data.data) != len(data):
            raise ValueError("it became shorter")
        return found, data


def _write(path: Path, start: bytes, pixels: Pixels) -> None:
    # Not forced onto the disk, which takes long: after a crash of the machine the checksum tells.
    temporary = temporary_path(path)
    try:
        try:
            file = temporary.open("xb", buffering=0)
        except FileNotFoundError:  # the first of its folder
            path.parent.mkdir(exist_ok=True)
            file = temporary.open("xb", buffering=0)
        with file:
            for part in (memoryview(start), pixels.data.cast("B")):
                while part:
                    part = part[file.write(part) :]
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _read_count(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return max(0, int(path.read_text()))
    return None
