"""What a file is that is not what its name says: told from its first bytes, for messages."""

import os
import stat
from pathlib import Path

SIGNS = (
    (b"version https://git-lfs", "it is a pointer of Git LFS: `git lfs pull` gets the file itself"),
    (b"<!doctype html", "it is a web page, which a server sent in place of the file: get it again"),
    (b"<html", "it is a web page, which a server sent in place of the file: get it again"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it"),
    (b"bzh", "it is compressed with bzip2: unpack it"),
    (b"\xfd7zxz\0", "it is compressed with xz: unpack it"),
)
"""How files begin, in lower case, and what that means."""


def kind_of(beginning: bytes) -> str:
    """What a file is that begins so, and what to do; empty if it is nothing of this kind."""
    start = beginning[:64].lower().lstrip()
    return next((meaning for sign, meaning in SIGNS if start.startswith(sign)), "")


def kind_of_file(path: Path) -> str:
    """The same of a regular file; empty for what cannot be read."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return ""
    try:
        return kind_of(os.read(number, 64)) if stat.S_ISREG(os.fstat(number).st_mode) else ""
    except OSError:
        return ""
    finally:
        os.close(number)
