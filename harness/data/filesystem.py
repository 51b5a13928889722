"""Folders: those whose names are spelled differently, and the images in a folder."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import UserError

SUFFIXES = frozenset({"jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "jp2", "jfif"})

NO_FOLDERS = frozenset(
    {"@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found"}
)
"""Folders that systems leave behind, in lower case: they are no classes. Hidden ones are left out anyway."""
NO_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
"""Files that systems leave behind, in lower case: they are not worth telling."""


def is_wanted(name: str) -> bool:
    """Whether an entry of a folder was put there by a person: it is not hidden, and no system left it behind."""
    return not name.startswith(".") and name.lower() not in NO_FOLDERS and name.lower() not in NO_FILES


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
    """Names of the folders in a folder, sorted, without hidden ones and those that systems leave behind.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        # The listing contains the kind of each entry, so that no file is looked up.
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_wanted(entry.name) and entry.is_dir())
    except OSError as error:
        raise UserError(f"folder '{folder}' cannot be read: {error.strerror}") from None


def images_in(folder: Path, left_out: Counter[str] | None = None) -> list[str]:
    """Names of the images in a folder, sorted. Their suffix identifies them, so that no file is opened.

    Args:
        folder: to list.
        left_out: counts what else is there, by its kind: `.avif files`, `folders`.

    Raises:
        UserError: it cannot be listed, or a name cannot be written as text.
    """
    names = visible_names(folder)
    found = [name for name in names if name.rpartition(".")[2].lower() in SUFFIXES]
    if not "".join(found).isascii():
        for name in found:
            refuse_illegible(folder, name)
    if left_out is not None and len(found) < len(names):
        images = set(found)
        left_out.update(kind_of(folder, name) for name in names if name not in images and is_wanted(name))
    return found


def kind_of(folder: Path, name: str) -> str:
    """What an entry of a folder is that is no image, in words that follow a number."""
    if os.path.isdir(folder / name):
        return "folders"
    suffix = os.path.splitext(name)[1].lower()
    return f"{suffix} files" if suffix else "files without an ending"


def refuse_illegible(folder: Path, name: str) -> None:
    """Raise a UserError if a name on disk is no text in UTF-8, so that no result could name it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"'{folder}' has the name {name!a}, which is no text in UTF-8: rename it") from None


def left_out_in_words(left_out: Counter[str]) -> tuple[str, ...]:
    """A remark on what is no image in class folders: how many of what kind; none if there is nothing."""
    if not left_out:
        return ()
    kinds = listed(
        [f"{count} {kind if count > 1 else of_one(kind)}" for kind, count in left_out.most_common()], limit=5
    )
    return (f"left out of the class folders: {kinds} (images are {', '.join(sorted(SUFFIXES))})",)


def of_one(kind: str) -> str:
    """The name of a kind, where there is one thing of it: `.txt file` of `.txt files`."""
    return kind.replace("files", "file", 1).replace("folders", "folder", 1)


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
