"""What lies on disk: lines of text files, folders under this or that spelling, the pictures in a folder."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import UserError

SUFFIXES = frozenset({"jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "jp2", "jfif"})


def read_lines(path: Path, advice: str) -> list[str]:
    """Lines of a text file, stripped, without blank ones. Windows line ends and a byte order mark are fine.

    Args:
        path: of the file.
        advice: what to do where it is missing, for the message.

    Raises:
        UserError: it is missing, or no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist: {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read as text: {error}") from None
    return [line.strip() for line in text.split("\n") if line.strip()]


def visible_names(folder: Path) -> list[str]:
    """Names of everything in a folder but hidden files, sorted.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise UserError(f"folder '{folder}' cannot be read: {error.strerror}") from None


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; files and hidden folders are left out.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        # An entry knows its kind from the listing, so no file is asked for it.
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError as error:
        raise UserError(f"folder '{folder}' cannot be read: {error.strerror}") from None


def pictures_in(folder: Path) -> list[str]:
    """Names of the pictures in a folder, sorted. They are told by their suffix: no file is opened or looked up.

    Raises:
        UserError: it cannot be listed.
    """
    return [name for name in visible_names(folder) if name.rpartition(".")[2].lower() in SUFFIXES]


def spelling(name: str) -> str:
    """What all spellings of a name have in common: Oxford-Pets, OxfordPets and oxford_pets are oxfordpets."""
    return name.translate(str.maketrans("", "", "-_ ")).casefold()


def locate(root: Path, names: Sequence[str]) -> str | None:
    """Under which of some names a folder lies in another.

    Args:
        root: where to look.
        names: in order of preference. Each is tried as it is written, then all in any case and with or without
            hyphens, underscores and spaces.

    Returns:
        The name on disk, or None.
    """
    for name in names:
        if (root / name).is_dir():
            return name
    wanted = {spelling(name) for name in names}
    return next((name for name in folders_in(root) if spelling(name) in wanted), None)


def listed(names: Iterable[str], limit: int = 3) -> str:
    """The first few names and how many more there are, for messages: 'a, b, c and 4 more'."""
    names = list(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
