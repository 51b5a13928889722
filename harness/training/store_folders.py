"""What is kept outside of results for all runs: where it is, which files of these folders are its own, removing them.

All of it may be removed at any moment: a run reads each file at once and whole, writes it under another name first, and
makes anew what is not there.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError
from harness.experiment.place import RuntimeSpec
from harness.machine.digests import cache_folder

FEATURES, PICTURES, BATCHES, INTACT = "features", "pictures", "batches", "intact"
FEATURE_SUFFIX, PICTURE_SUFFIX = ".safetensors", ".pixels"
COUNTER = "bytes"
"""The file of a store of pictures that says how much is kept; it is counted anew where there is none."""
OF_A_STORE = {
    FEATURES: re.compile(rf"[0-9a-f]{{32}}{re.escape(FEATURE_SUFFIX)}"),
    PICTURES: re.compile(rf"[0-9a-f]{{2}}/[0-9a-f]{{30}}{re.escape(PICTURE_SUFFIX)}"),
    BATCHES: re.compile(r"[0-9a-f]{32}\.json"),
    INTACT: re.compile(r"[0-9a-f]{32}\.json"),
}
"""Paths of the files of each store, in its folder. No other file is counted or removed."""
PART = re.compile(r"[0-9a-f]{2}")


def features_folder(runtime: RuntimeSpec) -> Path:
    """Where image features are kept.

    Raises:
        RuntimeError: for a user without a home folder.
    """
    named = runtime.find_feature_store()
    return Path(named).expanduser() if named else cache_folder() / FEATURES


def pictures_folder(runtime: RuntimeSpec) -> Path:
    """Where decoded pictures are kept; errors as `features_folder`."""
    named = runtime.find_picture_store()
    return Path(named).expanduser() if named else cache_folder() / PICTURES


def batches_folder(features: Path) -> Path:
    """Where it is kept what rehearsals found, beside image features."""
    return features / BATCHES


def intact_folder(features: Path) -> Path:
    """Where it is kept which pictures were found intact, beside image features."""
    return features / INTACT


FOLDERS: dict[str, Callable[[], Path]] = {
    FEATURES: lambda: features_folder(RuntimeSpec()),
    PICTURES: lambda: pictures_folder(RuntimeSpec()),
    BATCHES: lambda: batches_folder(features_folder(RuntimeSpec())),
    INTACT: lambda: intact_folder(features_folder(RuntimeSpec())),
}
"""Name of a store -> its folder, where no run names another."""


class KeptFile(NamedTuple):
    """A file of a store: its path, its bytes, and when it was used last, in seconds since 1970."""

    path: Path
    size: int
    used: float


@dataclass(frozen=True)
class Contents:
    """What a store holds.

    Attributes:
        name: features, pictures, batches or intact.
        folder: of the store; it need not exist.
        files: in any order.
    """

    name: str
    folder: Path
    files: tuple[KeptFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def used(self) -> float | None:
        """When any file was used last, in seconds since 1970; None if there is none."""
        return max((file.used for file in self.files), default=None)


def contents_of(name: str) -> Contents:
    """What is in a store.

    Raises:
        UserError: its folder cannot be told or read.
    """
    try:
        folder = FOLDERS[name]().absolute()
    except RuntimeError as error:
        raise UserError(f"where {name} are kept cannot be told: {error}") from None
    try:
        return Contents(name, folder, tuple(_files_in(name, folder)))
    except FileNotFoundError:
        return Contents(name, folder, ())
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read: {error.strerror or error}") from None


def _files_in(name: str, folder: Path) -> Iterator[KeptFile]:
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if name != PICTURES:
            yield from _kept(name, entry.name, Path(entry.path))
        elif PART.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            with suppress(FileNotFoundError):
                for path in os.listdir(entry.path):
                    yield from _kept(name, f"{entry.name}/{path}", Path(entry.path) / path)


def _kept(name: str, path: str, whole: Path) -> Iterator[KeptFile]:
    """The file at a path in the folder of a store, if it is one of its own; links are none."""
    if OF_A_STORE[name].fullmatch(path):
        with suppress(FileNotFoundError):
            found = whole.lstat()
            if stat.S_ISREG(found.st_mode):
                yield KeptFile(whole, found.st_size, found.st_mtime)


def clear(contents: Contents) -> list[str]:
    """Remove the files of a store, its counter and the folders that this leaves empty; nothing else.

    Returns:
        Why files are still there, one line each.
    """
    problems = []
    for file in contents.files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            problems.append(f"'{file.path}' cannot be removed: {error.strerror or error}")
    if contents.name == PICTURES:
        with suppress(OSError):
            (contents.folder / COUNTER).unlink(missing_ok=True)
    for folder in {file.path.parent for file in contents.files} - {contents.folder}:
        with suppress(OSError):
            folder.rmdir()
    return problems
