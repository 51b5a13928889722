"""Features of pictures on disk, for all runs that would compute the same: one file an entry, found by what it holds.

An entry is named by everything that decides its features (`feature_identity`), and a row by the path and the state of
its picture. What a file says is believed only if its digest is right. A file is replaced as a whole, so that a reader
sees the old or the new one, whatever happens to the writer. Rows that are lost are computed again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from harness.experiment.place import RuntimeSpec
from harness.machine.units import MIB
from harness.results.files import read_regular, remove_leftovers, temporary_path
from harness.training.store_folders import FEATURE_SUFFIX, features_folder

NAME_BYTES = 32
"""Bytes that name a row: a digest of the picture's path, and one of the state of its file."""
PATIENCE = 2.0
"""Seconds that a writer waits for another. Then it writes: at worst rows of the other are lost."""
POLL = 0.01
UNCHECKED = 64
"""A writer looks at all files again when it has written this part of the limit: there may be many thousand."""
NAMES, FEATURES, SECONDS = "names", "features", "seconds"


@dataclass(frozen=True)
class Rows:
    """Features of N pictures.

    Attributes:
        names: uint8 (N, 32), of each picture and its state.
        features: (N, D).
        seconds: float32 (N,), what computing each row took: decoding, transforming and its share of the image tower.
    """

    names: Tensor
    features: Tensor
    seconds: Tensor

    @property
    def are_whole(self) -> bool:
        """Whether each row has a name, features and a time that is possible."""
        count = len(self.seconds)
        shapes = self.names.shape == (count, NAME_BYTES) and self.features.shape[:1] == (count,)
        return shapes and self.features.dim() == 2 and bool((self.seconds.isfinite() & (self.seconds >= 0)).all())

    def index(self) -> dict[bytes, int]:
        """Name -> row."""
        return {name: row for row, name in enumerate(split_names(self.names))}

    def fits(self, other: "Rows") -> bool:
        """Whether the rows of another have the same form."""
        return self.features.shape[1:] == other.features.shape[1:] and self.features.dtype == other.features.dtype

    def updated(self, later: "Rows") -> "Rows":
        """These rows and later ones, which replace rows of the same pictures, whatever the state of their files."""
        replaced = {name[: NAME_BYTES // 2] for name in split_names(later.names)}
        kept = [row for row, name in enumerate(split_names(self.names)) if name[: NAME_BYTES // 2] not in replaced]
        return Rows(
            torch.cat([self.names[kept], later.names]),
            torch.cat([self.features[kept], later.features]),
            torch.cat([self.seconds[kept], later.seconds]),
        )


def split_names(names: Tensor) -> list[bytes]:
    """The names (N, 32) of rows, one by one."""
    whole = names.contiguous().numpy().tobytes()
    return [whole[start : start + NAME_BYTES] for start in range(0, len(whole), NAME_BYTES)]


def open_store(runtime: RuntimeSpec, tell: Callable[[str], None] = lambda line: None) -> "FeatureStore | None":
    """The store that a run uses; None if it is switched off.

    Args:
        runtime: where the run is executed.
        tell: as for `FeatureStore`.
    """
    if not runtime.feature_store_mib:
        return None
    try:
        folder = features_folder(runtime)
    except RuntimeError:  # a user without a home folder
        return None
    return FeatureStore(folder, runtime.feature_store_mib * MIB, tell)


class FeatureStore:
    """The features that are kept in a folder.

    Args:
        folder: created when something is kept.
        limit: bytes of all files together; the files that were not used for longest are removed.
        tell: takes one line, once, if nothing can be written.
    """

    def __init__(self, folder: Path, limit: int, tell: Callable[[str], None] = lambda line: None) -> None:
        self.folder = folder
        self.limit = limit
        self.tell = tell
        self._is_writable = True
        self._written = limit  # so that the folder is looked at when something is kept for the first time

    def load(self, entry: str) -> Rows | None:
        """The rows of an entry; None if there are none that can be believed."""
        path = self._path(entry)
        try:
            data = read_regular(path, self.limit)
        except OSError:
            return None
        rows = parse(data, entry)
        if rows is not None:
            with suppress(OSError):
                os.utime(path)
        return rows

    def add(self, entry: str, rows: Rows) -> None:
        """Keep rows of an entry beside those that are there, unless they take more than the limit."""
        if not self._is_writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "lock"):
                known = self.load(entry)
                data = serialise(entry, known.updated(rows) if known is not None and known.fits(rows) else rows)
                if len(data) <= self.limit:
                    self._write(self._path(entry), data)
                self._written += len(data)
                if self._written > self.limit / UNCHECKED:
                    self._make_room()
                    self._written = 0
        except OSError as error:
            self._is_writable = False
            self.tell(
                f"image features cannot be kept in '{self.folder}' ({error.strerror or error}): they are computed in "
                "every run; choose another folder with runtime.feature_store, or runtime.feature_store_mib=0"
            )

    def _path(self, entry: str) -> Path:
        return self.folder / f"{hashlib.sha256(entry.encode()).hexdigest()[:32]}{FEATURE_SUFFIX}"

    def _write(self, path: Path, data: bytes) -> None:
        # Not forced onto the disk, which takes long: after a crash of the machine the digest tells.
        temporary = temporary_path(path)
        try:
            with temporary.open("xb") as file:
                file.write(data)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove what dead writers left, and the files that were not used for longest while there is too much."""
        remove_leftovers(self.folder)
        files = []
        for path in self.folder.glob(f"*{FEATURE_SUFFIX}"):
            with suppress(OSError):
                found = path.stat()
                files.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size


def serialise(entry: str, rows: Rows) -> bytes:
    """The content of a file of an entry."""
    tensors = {name: value.contiguous() for name, value in vars(rows).items()}
    return save(tensors, {"entry": entry, "digest": digest(tensors)})


def parse(data: bytes, entry: str) -> Rows | None:
    """What `serialise` made; None if it is damaged or of another entry."""
    try:
        length = int.from_bytes(data[:8], "little")
        about: dict[str, Any] = json.loads(data[8 : 8 + length])["__metadata__"]
        if about["entry"] != entry:
            return None
        tensors = load(data)
        if about["digest"] != digest(tensors):
            return None
        rows = Rows(tensors[NAMES], tensors[FEATURES], tensors[SECONDS])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, RecursionError):
        return None
    return rows if rows.are_whole else None


def digest(tensors: dict[str, Tensor]) -> str:
    """A digest of names, types, shapes and values of tensors on the CPU."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among the processes of this machine, if it can be had in time; a process that ends gives it up.

    Raises:
        OSError: nothing can be written there.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _try_to_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _try_to_lock(descriptor: int) -> None:
    end = time.monotonic() + PATIENCE
    try:
        import fcntl
    except ImportError:  # on Windows
        return
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(POLL)
        except OSError:  # a file system without locks
            return
