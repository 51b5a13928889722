"""Text files of data sets: as lines or JSON, whatever somebody may have put there instead."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.picture_files import is_outside, open_regular
from harness.errors import UserError

MOST_TEXT = 1 << 30
"""Bytes of the largest text file that is read."""
MOST_NAME = 1000
"""Characters of the longest class name or template."""
MOST_SHOWN = 300
"""Characters that a message shows of a value."""
UNREADABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters and half characters (surrogates): no name or path has them on purpose."""
OTHER_SYSTEM = re.compile(r"\\|[A-Za-z]:")
"""What only paths of Windows have: a backslash, or a drive at the beginning."""


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        most: bytes of the largest file that is read.

    Raises:
        OSError: it does not exist, cannot be read, or is no regular file.
        ValueError: it is too large.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"it has {size >> 20:,} MiB, at most {most >> 20:,} are read")
        return file.read(size)


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Args:
        path: of the file.
        most: bytes of the largest file that is read.

    Raises:
        OSError: it does not exist, cannot be read, or is no regular file.
        ValueError: it is too large, or no UTF-8.
    """
    data = read_bytes(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8: {error.reason} at byte {error.start}") from None


def why_unreadable(error: OSError | ValueError) -> str:
    """Why `read_text` failed, for messages."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_lines(path: Path, advice: str) -> list[str]:
    """Lines of a text file, stripped and without blank ones; Windows line ends and a byte order mark are accepted.

    Args:
        path: of the file.
        advice: what to do if it is missing, for the message.

    Raises:
        UserError: the file is missing, or is no text.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist: {advice}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as text ({why_unreadable(error)}): save it as UTF-8") from None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if any(len(line) > 2 * MOST_NAME for line in lines):
        raise UserError(f"'{path}' has a line of more than {2 * MOST_NAME:,} characters: it is no list of names")
    return lines


def parse_json(text: str) -> Any:
    """The content of a text in JSON.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or an object in it has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these keys and values, of which Python would keep the last value without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice[:100]}' is there twice")
    return found


def check_paths(paths: Sequence[str]) -> None:
    """Raise a ValueError if one of some listed paths is none: all at once, because there may be a million."""
    together = "".join(paths)
    fine = together.isprintable() and "\\" not in together and ".." not in together
    if not fine or any(not path or path[0] == "/" or path[1:2] == ":" for path in paths):
        for path in paths:
            check_path(path)


def parse_row(row: Any) -> tuple[str, int, str]:
    """Path, label and class name of a row of three.

    Raises:
        ValueError: it has another form.
    """
    if isinstance(row, list) and len(row) == 3:
        path, label, name = row
        if isinstance(path, str) and isinstance(name, str):
            if type(label) is int:
                return path, label, name
            if isinstance(label, str):
                return path, int(label), name
    raise ValueError(f"{short(row)} is none of these rows")


def short(value: Any) -> str:
    """A value for a message, not longer than its line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested deeply, or a number of thousands of digits
        return "what stands there"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def check_path(path: str) -> None:
    """Raise a ValueError if a listed path leads out of its folder, or is none on this system."""
    if not path or UNREADABLE.search(path):
        raise ValueError(f"{short(path)} is no path of a picture")
    if is_outside(path):
        raise ValueError(f"{short(path)} leads out of the data set's folder, in which all pictures must be")
    if OTHER_SYSTEM.match(path) or "\\" in path:
        raise ValueError(f"{short(path)} is a path of Windows: write it relative to the images, with /")


def check_name(name: str) -> None:
    """Raise a ValueError if a class cannot be called so in a prompt."""
    if not name.replace("_", " ").strip() or UNREADABLE.search(name):
        raise ValueError(f"{short(name)} is no name for a class: use letters, without line breaks")
    if len(name) > MOST_NAME:
        raise ValueError(
            f"the class name {short(name)} has {len(name):,} characters, at most {MOST_NAME:,} are possible"
        )


def check_class_name(source: Path, name: str) -> None:
    """Raise a UserError that names the file if a class cannot be called so in a prompt."""
    try:
        check_name(name)
    except ValueError as error:
        raise UserError(f"'{source}': {error}") from None
