"""Folders: those whose names are spelled differently, and the images in a folder."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import UserError

SUFFIXES = frozenset({"jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "jp2", "jfif"})


def visible_names(folder: Path) -> list[str]:
    """Names of all entries of a folder that are not hidden, sorted.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise UserError(f"folder '{folder}' cannot be read: {error.strerror}") from None


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        # The listing contains the kind of each entry, so that no file is looked up.
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError as error:
        raise UserError(f"folder '{folder}' cannot be read: {error.strerror}") from None


def images_in(folder: Path) -> list[str]:
    """Names of the images in a folder, sorted. Their suffix identifies them, so that no file is opened.

    Raises:
        UserError: it cannot be listed.
    """
    return [name for name in visible_names(folder) if name.rpartition(".")[2].lower() in SUFFIXES]


def spelling(name: str) -> str:
    """A form that is the same for all spellings of a name: Oxford-Pets, OxfordPets and oxford_pets are oxfordpets."""
    return name.translate(str.maketrans("", "", "-_ ")).casefold()


def locate(root: Path, names: Sequence[str]) -> str | None:
    """Find a folder that may have one of several names.

    Args:
        root: the folder that may contain it.
        names: in order of preference. First each is tried as it is written, then all of them in any case and with or
            without hyphens, underscores and spaces.

    Returns:
        Its name on disk, or None.
    """
    for name in names:
        if os.path.isdir(root / name):
            return name
    wanted = {spelling(name) for name in names}
    return next((name for name in folders_in(root) if spelling(name) in wanted), None)


def listed(names: Iterable[str], limit: int = 3) -> str:
    """The first few names and the number of the others, for messages: 'a, b, c and 4 more'."""
    names = list(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
