"""Small versions of pictures for pages and tables that go to others."""

from pathlib import Path, PurePosixPath

from PIL import Image

from harness.data.pictures import read_picture
from harness.errors import UserError


def is_inside(folder: Path, path: str) -> bool:
    """Whether the path of a picture leads to a file below a folder, or in an archive below it, links followed.

    The path comes with the results, and the picture may go to others: no other picture of this machine belongs there.
    """
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts:
        return False
    try:
        places = (folder.joinpath(*parts[: number + 1]) for number in range(len(parts)))
        file = next((place for place in places if place.is_file()), None)
        return file is not None and file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def small_picture(folder: Path, path: str, size: int) -> Image.Image | None:
    """A picture below a folder, at most `size` pixels wide and high; None if it lies elsewhere or cannot be read."""
    if not is_inside(folder, path):
        return None
    try:
        image = read_picture(folder, path)
    except UserError:
        return None
    image.thumbnail((size, size))
    return image
