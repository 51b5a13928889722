"""From the path of a picture to its square, in whichever process; what was decoded before is taken from where it is.

`memory` belongs to a process, a `PictureStore` to all of them. Neither changes a pixel.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.data.behind import Behind
from harness.data.fast_views import Pixels, fast_square, reduction, whole_jpeg
from harness.data.pictures import as_rgb, named_errors, open_picture
from harness.data.transforms import TestTransform, TrainTransform

Transform = TestTransform | TrainTransform
FEWEST_PIXELS = 128 * 128
"""Smaller pictures and squares are not worth a file: reading it takes as long as decoding them."""


class Kept(NamedTuple):
    """Pixels from a store.

    Attributes:
        pixels: uint8, a picture (H, W, 3) or a square (3, S, S), not shared with anything.
        seconds: what it took to make them.
    """

    pixels: Pixels
    seconds: float


class PictureStore(Protocol):
    """Pixels that processes and runs share. It can be pickled, and none of its methods raises anything."""

    def name(self, folder: Path, path: str, *made: object) -> str:
        """The name of what is made of a picture in its present state; empty if the state tells no content.

        Args:
            folder: the folder that the path is relative to.
            path: of the picture.
            made: what decides the pixels beside the picture.
        """

    def load(self, name: str) -> Kept | None:
        """What is kept under a name; None if there is nothing that can be believed."""

    def keep(self, name: str, pixels: Pixels, seconds: float) -> None:
        """Keep pixels under a name, if there is room and they are not there; by one thread at a time."""

    def has(self, name: str) -> bool:
        """Whether something is kept under a name."""

    def problem(self) -> str:
        """Why nothing can be written, in words; empty if nothing is wrong."""


@dataclass(frozen=True)
class Source:
    """Where pictures come from. It can be pickled if `read` is None.

    Attributes:
        folder: the folder that their paths are relative to.
        read: (folder, path) -> image; None reads from disk.
        store: what is kept of them; None keeps nothing.
    """

    folder: Path
    read: Callable[[Path, str], Image.Image] | None = None
    store: PictureStore | None = None


class Wanted(NamedTuple):
    """One view of a picture.

    Attributes:
        path: of the picture.
        key: of its random view.
        again: whether the picture was asked for before, so that it pays to keep it decoded.
    """

    path: str
    key: str
    again: bool = False


class View(NamedTuple):
    """A square, uint8 (3, S, S), and the seconds that it would have taken without a store beside those that it took."""

    pixels: Tensor
    spared: float


@dataclass
class Decoded:
    """A picture as it was decoded.

    Attributes:
        pixels: an RGB image, or uint8 (H, W, 3).
        seconds: what decoding took, now or when it was kept.
        name: under which it may be kept; empty if it is kept already or cannot be.
        spared: whether it comes from the store.
    """

    pixels: Image.Image | Pixels
    seconds: float
    name: str = ""
    spared: bool = False

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixels."""
        if isinstance(self.pixels, Image.Image):
            return 3 * self.pixels.width * self.pixels.height
        return self.pixels.nbytes


class Reader:
    """Makes squares of the pictures of a source, and holds decoded pictures in memory up to a limit.

    Args:
        source: of the pictures.
        limit: bytes.
        holds_fixed: whether pictures are also held that a transform makes only one square of.
        behind: does what is to be written while the next pictures are decoded; None: it is written at once.
    """

    def __init__(self, source: Source, limit: int, holds_fixed: bool = True, behind: Behind | None = None) -> None:
        self.source = source
        self.behind = behind
        self.limit = limit
        self.holds_fixed = holds_fixed
        self._held: dict[tuple[str, int], Decoded] = {}
        self._bytes = 0
        self._sizes: dict[str, tuple[int, int, bool]] = {}

    def image(self, path: str) -> Image.Image:
        """A picture as an RGB image.

        Raises:
            UserError: it cannot be read.
        """
        pixels = self._decoded(path, 0, None, True).pixels
        assert isinstance(pixels, Image.Image)
        return pixels

    def view(self, transform: Transform, wanted: Wanted) -> View:
        """The square that a transform makes of a picture.

        Raises:
            UserError: the picture cannot be read.
        """
        store, path = self.source.store, wanted.path
        if not transform.is_fixed:
            return self._square(transform, wanted, store, True)
        if store is None or transform.size**2 < FEWEST_PIXELS:
            return self._square(transform, wanted, None, self.holds_fixed)
        name = store.name(self.source.folder, path, transform)
        if name and (kept := store.load(name)):
            return View(torch.from_numpy(kept.pixels), kept.seconds)
        start = time.perf_counter()
        square = self._square(transform, wanted, None, self.holds_fixed)
        seconds = time.perf_counter() - start
        # Not if the picture was replaced while it was read.
        if name and store.name(self.source.folder, path, transform) == name:
            self._keep(store, name, square.pixels.numpy(), seconds)
        return square

    def _keep(self, store: PictureStore, name: str, pixels: Pixels, seconds: float) -> None:
        if self.behind:
            self.behind.do(store.keep, name, pixels, seconds)
        else:
            store.keep(name, pixels, seconds)

    def is_kept(self, transform: Transform, wanted: Wanted) -> bool:
        """Whether the square of a picture is in the store."""
        store = self.source.store
        if store is None or not transform.is_fixed or transform.size**2 < FEWEST_PIXELS:
            return False
        name = store.name(self.source.folder, wanted.path, transform)
        return bool(name) and store.has(name)

    def _square(self, transform: Transform, wanted: Wanted, store: PictureStore | None, holds: bool) -> View:
        if transform.decode == "fast":
            return self._fast(transform, wanted, store, holds)
        found = self._decoded(wanted.path, 0, store, holds, wanted.again)
        assert isinstance(found.pixels, Image.Image)
        square = transform(found.pixels, wanted.key)
        planes = np.array(square).transpose(2, 0, 1)
        return View(torch.from_numpy(planes), found.seconds if found.spared else 0.0)

    def _fast(self, transform: Transform, wanted: Wanted, store: PictureStore | None, holds: bool) -> View:
        opened = None
        if wanted.path not in self._sizes:
            opened = self._open(wanted.path)
            self._sizes[wanted.path] = (*opened.size, opened.format == "JPEG")
        width, height, is_jpeg = self._sizes[wanted.path]
        cut = transform.cut(width, height, wanted.key)
        by = reduction(cut) if is_jpeg else 1
        found = self._decoded(wanted.path, by, store, holds, wanted.again, opened)
        assert not isinstance(found.pixels, Image.Image)
        square = fast_square(transform, cut, found.pixels, by)
        return View(torch.from_numpy(square), found.seconds if found.spared else 0.0)

    def _decoded(
        self,
        path: str,
        reduced: int,
        store: PictureStore | None,
        holds: bool,
        again: bool = False,
        opened: Image.Image | None = None,
    ) -> Decoded:
        """A picture, from memory, from the store or from its file.

        Args:
            path: of the picture.
            reduced: by how much it is decoded smaller; 0: an image of the whole.
            store: where it may be.
            holds: whether it may stay in memory.
            again: whether to keep it in the store.
            opened: its image, if the header was read already.
        """
        folder = self.source.folder
        found = self._held.get((path, reduced))
        if found is None:
            # The whole is the same for both ways of decoding.
            name = store.name(folder, path, "decoded", max(1, reduced)) if store else ""
            kept = store.load(name) if store and name else None
            found = self._of_kept(kept, reduced) if kept else self._read(path, reduced, name, opened)
            if holds and self._bytes + found.num_bytes <= self.limit:
                self._held[path, reduced] = found
                self._bytes += found.num_bytes
        if again and store and found.name:
            if found.num_bytes >= 3 * FEWEST_PIXELS and found.name == store.name(
                folder, path, "decoded", max(1, reduced)
            ):
                self._keep(store, found.name, np.asarray(found.pixels), found.seconds)
            found.name = ""
        return found

    @staticmethod
    def _of_kept(kept: Kept, reduced: int) -> Decoded:
        return Decoded(kept.pixels if reduced else Image.fromarray(kept.pixels), kept.seconds, spared=True)

    def _read(self, path: str, reduced: int, name: str, opened: Image.Image | None) -> Decoded:
        start = time.perf_counter()
        image = opened or self._open(path)
        if reduced == 1 and (whole := whole_jpeg(image)) is not None:
            return Decoded(whole, time.perf_counter() - start, name)
        if self.source.read is None:
            with named_errors(self.source.folder, path):
                if reduced > 1:
                    image.draft(None, (image.width // reduced, image.height // reduced))
                image = as_rgb(image)
        return Decoded(np.array(image) if reduced else image, time.perf_counter() - start, name)

    def _open(self, path: str) -> Image.Image:
        if self.source.read:
            return self.source.read(self.source.folder, path)
        with named_errors(self.source.folder, path):
            return open_picture(self.source.folder, path)
