"""Smooth pictures, as photos are, and a store in memory."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.picture_files import FileChangingError, file_state
from harness.data.views import Kept, Pixels


def photo(width: int, height: int, seed: int = 0, grain: int = 16) -> Image.Image:
    """Blurred noise: coarse pixels, enlarged `grain` times."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // grain), max(2, width // grain), 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    """The file of an image."""
    data = io.BytesIO()
    image.save(data, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return data.getvalue()


class StoreInMemory:
    """Keeps pixels under the names of `PicturesOnDisk`, but in this process; a file's age does not matter."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.loaded: list[str] = []

    def name(self, folder: Path, path: str, *made: object) -> str:
        try:
            state = file_state(folder, path)
        except FileChangingError:
            found = (folder / path).stat()
            state = (found.st_size, found.st_mtime_ns)
        except OSError:
            return ""
        return repr((path, state, made))

    def load(self, name: str) -> Kept | None:
        found = self.kept.get(name)
        if found:
            self.loaded.append(name)
            return Kept(found.pixels.copy(), found.seconds)
        return None

    def keep(self, name: str, pixels: Pixels, seconds: float) -> None:
        assert pixels.dtype == np.uint8
        assert 3 in (pixels.shape[0], pixels.shape[2])
        self.kept.setdefault(name, Kept(pixels.copy(), seconds))

    def has(self, name: str) -> bool:
        return name in self.kept

    def problem(self) -> str:
        return ""
