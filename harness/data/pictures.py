"""Reads pictures from disk as RGB images, and finds missing and broken ones before anything depends on them."""

import io
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

from PIL import Image, UnidentifiedImageError

from harness.data.picture_files import file_of, in_archive, in_packed, is_outside, names_at, read_bytes
from harness.data.readers import Picture
from harness.errors import UserError, first_line
from harness.machine.file_kinds import kind_of

MOST_PIXELS = 178_956_970
"""Pixels of the largest picture that is decoded; it is the limit of Pillow, beyond which it suspects an attack."""
MOST_UNEQUAL = 200
"""How many times longer than the other one side may be. The shorter side is resized to that of the image tower, so the
longer one would need gigabytes."""
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


def open_picture(folder: Path, path: str) -> Image.Image:
    """The image of a picture, of which only the header has been read.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: whatever Pillow and zipfile raise for what is no picture.
    """
    data = read_bytes(folder, path)
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError(kind_of(data) or "it is in no image format that is known here") from None
    if image.format == "EPS":
        raise ValueError("it is PostScript, a program that would be run")
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MOST_PIXELS:,}")
    if max(width, height) > MOST_UNEQUAL * min(width, height):
        raise ValueError(f"{width} x {height} pixels: one side is more than {MOST_UNEQUAL} times the other")
    return image


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
    reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return f"cannot be decoded ({reason})"


def read_picture(folder: Path, path: str) -> Image.Image:
    """Read one picture as an RGB image.

    Raises:
        UserError: it is missing or broken; the message names it.
    """
    with named_errors(folder, path):
        return as_rgb(open_picture(folder, path))


@contextmanager
def named_errors(folder: Path, path: str) -> Iterator[None]:
    """Turn whatever is raised while a picture is read into a UserError that names it."""
    try:
        yield
    except Exception as error:  # what the decoders of damaged files raise is of any kind
        raise UserError(
            f"image '{folder / path}' {why_broken(error)}: restore it, or remove it from the split"
        ) from error


def find_problem(folder: Path, path: str) -> Broken | None:
    """What is wrong with one picture, or None. All its data is read, but a JPEG is decoded at an eighth of its size."""
    try:
        image = open_picture(folder, path)
        image.draft("RGB", (1, 1))
        as_rgb(image)
    except Exception as error:  # as in `read_picture`
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
    listings: dict[str, Collection[str]] = {}
    missing = []
    for path, _ in pictures:
        if in_packed(folder, path):
            missing += [] if has_file(folder, path) else [path]
            continue
        archive, member = in_archive(folder, path)
        place, name = (archive, member) if archive else (path.rpartition("/")[0], path.rpartition("/")[2])
        if place not in listings:
            outside = is_outside(place)
            listings[place] = frozenset() if outside else names_at(folder / place, bool(archive))
        # Some file systems accept several spellings of a name but list only one.
        if name not in listings[place] and (archive or not listings[place] or not os.path.exists(folder / path)):
            missing.append(path)
    return missing


def has_file(folder: Path, path: str) -> bool:
    """Whether the file exists that a picture is, or in which it is packed with others."""
    try:
        return os.path.exists(file_of(folder, path))
    except FileNotFoundError:
        return False
