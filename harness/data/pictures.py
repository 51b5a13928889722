"""Reads pictures from disk as RGB images, and finds missing and broken ones before anything depends on them."""

import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from PIL import Image

from harness.data.readers import Picture
from harness.errors import UserError, first_line

ARCHIVE = ".zip/"
# What Pillow and zipfile raise for missing, truncated and other broken files; UnidentifiedImageError is an OSError.
BROKEN = (
    OSError,
    EOFError,
    KeyError,
    IndexError,
    SyntaxError,
    TypeError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)
CHUNK = 32


class Broken(NamedTuple):
    """A picture that cannot be used.

    Attributes:
        path: of its `Picture`.
        reason: 'is missing', or 'cannot be decoded (why)'.
    """

    path: str
    reason: str


class Checked(NamedTuple):
    """The outcome of a check.

    Attributes:
        usable: pictures that can be used, in their order.
        broken: the others.
    """

    usable: list[Picture]
    broken: list[Broken]


@cache
def open_archive(path: Path, process: int) -> zipfile.ZipFile:
    """A zip file, opened once per process; forked processes must not share the position in the file."""
    return zipfile.ZipFile(path)


def in_archive(path: str) -> tuple[str, str]:
    """Split a picture's path into archive and member; the archive is empty if the picture is a file of its own."""
    archive, inside, member = path.partition(ARCHIVE)
    return (f"{archive}.zip", member) if inside else ("", path)


def open_picture(folder: Path, path: str) -> Image.Image:
    """The image of a picture, of which only the header has been read."""
    archive, member = in_archive(path)
    if not archive:
        return Image.open(io.BytesIO((folder / path).read_bytes()))
    try:
        data = open_archive(folder / archive, os.getpid()).read(member)
    except KeyError:
        raise FileNotFoundError(path) from None
    return Image.open(io.BytesIO(data))


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB as reference code does.

    Transparency is dropped (the colours under it stay), and the orientation in EXIF is not applied. 16-bit greyscale is
    scaled to 8 bits, where Pillow would clip it.

    Raises:
        ValueError: its pixels have 32 bits, whose range is unknown.
    """
    if image.mode.startswith(("I", "F")):
        wide = image.convert("I")
        # Pillow reads some 16-bit files as 32-bit pixels; values beyond 16 bits have no known range to scale from.
        darkest, brightest = cast(tuple[int, int], wide.getextrema())
        if image.mode == "F" or darkest < 0 or brightest > 0xFFFF:
            raise ValueError("32 bits per pixel, of unknown range: save it with 8 or 16")
        image = wide.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    # Otherwise Pillow warns that this transparency is lost in RGB.
    image.info.pop("transparency", None)
    return image.convert("RGB")


def why_broken(error: BaseException) -> str:
    """What is wrong with an image that could not be read, for messages."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "is missing"
    return f"cannot be decoded ({first_line(error)})"


def read_picture(folder: Path, path: str) -> Image.Image:
    """Read one picture as an RGB image.

    Raises:
        UserError: it is missing or broken; the message names it.
    """
    try:
        return as_rgb(open_picture(folder, path))
    except BROKEN as error:
        raise UserError(
            f"image '{folder / path}' {why_broken(error)}: restore it, or remove it from the split"
        ) from error


def find_problem(folder: Path, path: str) -> Broken | None:
    """What is wrong with one picture, or None. All its data is read, but a JPEG is decoded at an eighth of its size."""
    try:
        image = open_picture(folder, path)
        image.draft("RGB", (1, 1))
        as_rgb(image)
    except BROKEN as error:
        return Broken(path, why_broken(error))
    return None


def broken_pictures(
    folder: Path,
    pictures: Sequence[Picture],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    threads: int | None = None,
) -> list[Broken]:
    """Open and decode pictures to find those that are missing or broken.

    Args:
        folder: the folder that their paths are relative to.
        pictures: to check.
        on_progress: called with the number of pictures that are done and the number of all.
        threads: number of threads that decode; None: one per core.

    Returns:
        The broken ones, in the order of `pictures`.
    """
    chunks = [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]

    def check(chunk: Sequence[Picture]) -> list[Broken | None]:
        return [find_problem(folder, picture.path) for picture in chunk]

    found: list[Broken] = []
    done = 0
    # Threads suffice: Pillow releases the interpreter's lock while it decodes.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        for problems in pool.map(check, chunks):
            found.extend(problem for problem in problems if problem)
            done += len(problems)
            on_progress(done, len(pictures))
    return found


def check_pictures(
    folder: Path,
    pictures: Sequence[Picture],
    skip_broken: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Checked:
    """Check pictures before they are used.

    Args:
        folder: the folder that their paths are relative to.
        pictures: to check.
        skip_broken: leave out broken pictures and return them separately, instead of raising an error.
        on_progress: called with the number of pictures that are done and the number of all.

    Raises:
        UserError: pictures are missing or broken and `skip_broken` is false; the message names the first of them.
    """
    broken = broken_pictures(folder, pictures, on_progress)
    if broken and not skip_broken:
        others = f" (and {len(broken) - 1} more of {len(pictures)})" if len(broken) > 1 else ""
        first = broken[0]
        raise UserError(
            f"image '{folder / first.path}' {first.reason}{others}: restore it, or set data.skip_broken=true"
        )
    gone = {problem.path for problem in broken}
    return Checked([picture for picture in pictures if picture.path not in gone], broken)


def missing_pictures(folder: Path, pictures: Sequence[Picture]) -> list[str]:
    """Find pictures whose files do not exist. Every folder is listed once; no file is opened.

    Args:
        folder: the folder that their paths are relative to.
        pictures: to look for.

    Returns:
        Paths of the missing ones, in the order of `pictures`.
    """
    listings: dict[str, frozenset[str]] = {}
    missing = []
    for path, _ in pictures:
        archive, member = in_archive(path)
        place, name = (archive, member) if archive else (path.rpartition("/")[0], path.rpartition("/")[2])
        if place not in listings:
            listings[place] = names_at(folder / place, bool(archive))
        # Some file systems accept several spellings of a name but list only one.
        if name not in listings[place] and (archive or not listings[place] or not (folder / path).exists()):
            missing.append(path)
    return missing


def names_at(place: Path, is_archive: bool) -> frozenset[str]:
    """Names in a folder or zip file; none if it does not exist."""
    try:
        return frozenset(open_archive(place, os.getpid()).namelist() if is_archive else os.listdir(place))
    except (OSError, zipfile.BadZipFile):
        return frozenset()
