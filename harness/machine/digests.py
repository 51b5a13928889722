"""SHA-256 of files. The digest of a large file is remembered, so that it is read once and not at every command."""

import hashlib
import json
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

LARGE = 1 << 20
"""Bytes from which a digest is worth remembering; a smaller file is read each time."""
SETTLED = 2.0
"""Seconds for which a file must have been left alone: two changes within one tick of a clock look like one."""

Memory = dict[str, tuple[list[int], str]]
MEMORY = TypeAdapter(Memory)


def cache_folder() -> Path:
    """SkipBench's part of the user's cache folder: what is in it may be removed at any time."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "skipbench"


def memory_file() -> Path:
    """Where digests are remembered."""
    return cache_folder() / "digests.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    A remembered digest counts as long as size, times of change, inode and device of the file are the same. The time of
    the last change of the inode is among them, which no copying program can set.

    Raises:
        OSError: the file cannot be read, or is no regular file.
    """
    place = str(path.resolve())
    state = os.stat(place)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(None, "it is no regular file", place)
    if state.st_size < LARGE:
        return hashlib.sha256(Path(place).read_bytes()).hexdigest()
    marks = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]
    known = read_memory().get(place)
    if known and known[0] == marks:
        return known[1]
    digest = read_digest(place)
    if time.time() - state.st_ctime > SETTLED:
        remember(place, marks, digest)
    return digest


def read_digest(path: str) -> str:
    """SHA-256 of a file that may be larger than memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_memory() -> Memory:
    """Path -> marks of the file's state and its digest; empty if nothing legible is remembered."""
    try:
        return MEMORY.validate_json(memory_file().read_bytes())
    except (OSError, ValidationError):
        return {}


def remember(path: str, marks: list[int], digest: str) -> None:
    """Remember a digest. Where nothing can be written, files are read again next time."""
    memory = {**read_memory(), path: (marks, digest)}
    with suppress(OSError):
        replace_file(memory_file(), json.dumps(memory).encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file of the cache folder as a whole; processes that do so at once do not meet in one temporary file.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(number, "wb") as file:
        file.write(content)
    os.replace(name, path)
