"""From pictures on disk to batches of pixels on the device."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.clip.towers import CLIP
from harness.data.pictures import read_picture
from harness.data.readers import Picture
from harness.data.transforms import TestTransform
from harness.errors import UserError

Transform = Callable[[Image.Image, str], Image.Image]
"""Image, key of its random view -> transformed image."""
# Decoded images are kept in memory up to this many bytes; the embedded data sets need 24 MB.
DECODED_LIMIT = 256 * 2**20


class PictureSet(Dataset[Tensor]):
    """Pictures of one data set, as a source of batches of images.

    Args:
        folder: the folder that their paths are relative to.
        pictures: in order.
        read: (folder, path) -> image; None reads from disk.
        on_batch: called with every batch of `batches`, in the process that asks for it.

    Attributes:
        labels: (N,), int64.
    """

    def __init__(
        self,
        folder: Path,
        pictures: Sequence[Picture],
        read: Callable[[Path, str], Image.Image] | None = None,
        on_batch: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.folder = folder
        self.pictures = list(pictures)
        self.read = read
        self.on_batch = on_batch
        self.labels = torch.tensor([picture.label for picture in pictures], dtype=torch.int64)
        self._decoded: dict[str, Image.Image] = {}
        self._decoded_bytes = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def decode(self, position: int) -> Image.Image:
        """The image of the picture at a position; the images of small data sets are kept in memory."""
        path = self.pictures[position].path
        image = self._decoded.get(path)
        if image is None:
            image = (self.read or read_picture)(self.folder, path)
            size = 3 * image.width * image.height
            if self._decoded_bytes + size <= DECODED_LIMIT:
                self._decoded[path] = image
                self._decoded_bytes += size
        return image

    def batches(
        self,
        transform: Transform,
        indices: Sequence[Sequence[int]],
        key: str | Sequence[str] = "",
        workers: int = 0,
        pin_memory: bool = False,
    ) -> Iterator[Tensor]:
        """Transformed batches, in order.

        Args:
            transform: returns square images.
            indices: positions of the pictures of every batch; with V keys, rows `view * N + position`.
            key: seed and epoch. Together with a picture's path it is the key of its transform, so that a random view
                depends on nothing else. Several keys: one for each of V views.
            workers: number of processes that decode; 0 decodes in this process.
            pin_memory: for fast transfers to a GPU.

        Yields:
            uint8 pixels (B, 3, H, W).

        Raises:
            UserError: an image cannot be read.
        """
        views = Views(self, transform, [key] if isinstance(key, str) else key)
        # With a generator of its own the loader does not use random numbers of the training.
        loader = DataLoader(
            views,
            batch_sampler=[list(batch) for batch in indices],
            num_workers=workers,
            collate_fn=stack_or_error,
            pin_memory=pin_memory,
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            if self.on_batch:
                self.on_batch(batch)
            yield batch

    def in_order(self, batch_size: int) -> list[range]:
        """Positions of the batches of one pass over all pictures in order."""
        return [range(start, min(start + batch_size, len(self))) for start in range(0, len(self), batch_size)]


def stack_or_error(items: list[Tensor | UserError]) -> Tensor | UserError:
    """A batch (B, 3, H, W), or the first error among its images."""
    views = []
    for item in items:
        if isinstance(item, UserError):
            return item
        views.append(item)
    return torch.stack(views)


class Views(Dataset[Tensor | UserError]):
    """Transformed images, uint8 (3, H, W): V views of each of N pictures, as rows `view * N + position`.

    For a broken image the error itself is returned, because an exception in a worker process loses its form.
    """

    def __init__(self, pictures: PictureSet, transform: Transform, keys: Sequence[str]) -> None:
        self.pictures = pictures
        self.transform = transform
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys) * len(self.pictures)

    def __getitem__(self, row: int) -> Tensor | UserError:
        view, position = divmod(row, len(self.pictures))
        path = self.pictures.pictures[position].path
        try:
            image = self.transform(self.pictures.decode(position), f"{self.keys[view]}/{path}")
        except UserError as error:
            return error
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def load_pixels(clip: CLIP, folder: Path, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
    """Load pictures as a CLIP expects them for testing.

    Args:
        clip: determines image size, normalisation and device.
        folder: the folder that the pictures' paths are relative to.
        pictures: to load, all at once.

    Returns:
        Pixels (N, 3, H, W) and labels (N,), on the CLIP's device.

    Raises:
        UserError: an image cannot be read.
    """
    found = PictureSet(folder, pictures)
    batches = found.batches(TestTransform.of(clip.preprocessing), found.in_order(256))
    pixels = torch.cat([normalise(batch, clip.mean, clip.std, clip.device) for batch in batches])
    return pixels, found.labels.to(clip.device)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """uint8 pixels (B, 3, H, W) -> float32 on the device: scaled to 0..1, minus the mean, divided by the deviation."""
    x = pixels.to(device, non_blocking=True).float().div_(255)
    return x.sub_(torch.tensor(mean, device=device)[:, None, None]).div_(
        torch.tensor(std, device=device)[:, None, None]
    )
