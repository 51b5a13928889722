"""From pictures on disk to batches of pixels on the device."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from harness.clip.towers import CLIP
from harness.data.behind import WRITES
from harness.data.readers import Picture
from harness.data.transforms import TestTransform
from harness.data.views import PictureStore, Reader, Source, Transform, Wanted
from harness.data.workers import DECODED_LIMIT, Batch, Job, load_batch, work
from harness.errors import UserError

ASKED = 64
"""Pictures of a set that are looked for in the store to tell whether all of it is there."""


class PictureSet:
    """Pictures of one data set, as a source of batches of images.

    Args:
        folder: the folder that their paths are relative to.
        pictures: in order.
        read: (folder, path) -> image; None reads from disk.
        on_batch: called with every batch of `batches`, in the process that asks for it.
        store: what is kept of pictures on disk; None keeps nothing.
        tell: takes a line if nothing can be kept; None: nobody does.

    Attributes:
        labels: (N,), int64.
    """

    def __init__(
        self,
        folder: Path,
        pictures: Sequence[Picture],
        read: Callable[[Path, str], Image.Image] | None = None,
        on_batch: Callable[[Tensor], None] | None = None,
        store: PictureStore | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.pictures = list(pictures)
        self.read = read
        self.on_batch = on_batch
        self.labels = torch.tensor([picture.label for picture in pictures], dtype=torch.int64)
        self._source = Source(folder, read, None if read else store)
        self._reader = Reader(self._source, DECODED_LIMIT, behind=WRITES)
        self._tell = tell
        self._used: set[int] = set()
        self._spared = 0.0

    def __len__(self) -> int:
        return len(self.pictures)

    def decode(self, position: int) -> Image.Image:
        """The image of the picture at a position; the images of small data sets are kept in memory."""
        return self._reader.image(self.pictures[position].path)

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
            workers: number of processes that decode; 0 decodes in this process, and so does whatever number where
                all squares are in the store, or images come from `read`.
            pin_memory: for fast transfers to a GPU.

        Yields:
            uint8 pixels (B, 3, H, W).

        Raises:
            UserError: an image cannot be read.
        """
        keys = [key] if isinstance(key, str) else key
        jobs = [self._job(transform, batch, keys) for batch in indices]
        try:
            with closing(self._results(jobs, workers, pin_memory)) as results:
                for rows, batch in zip(indices, results, strict=True):
                    if isinstance(batch, UserError):
                        raise batch
                    self._count(rows, batch, workers)
                    if self.on_batch:
                        self.on_batch(batch.pixels)
                    yield batch.pixels
        finally:
            # So that a pass pays for what it keeps, and the next one finds it.
            WRITES.settle()
            self._tell_problem(self._source.store.problem() if self._source.store else "")

    def take_spared(self) -> float:
        """Seconds that pictures would have taken which other runs made, since this was asked for last.

        What this set has used before is not counted: alone, too, a run would have kept it.
        """
        spared, self._spared = self._spared, 0.0
        return spared

    def _job(self, transform: Transform, rows: Sequence[int], keys: Sequence[str]) -> Job:
        wanted = []
        for row in rows:
            view, position = divmod(row, len(self.pictures))
            path = self.pictures[position].path
            wanted.append(Wanted(path, f"{keys[view]}/{path}", position in self._used))
        return Job(self._source, transform, wanted)

    def _results(self, jobs: list[Job], workers: int, pin_memory: bool) -> Generator[Batch | UserError]:
        if workers and self.read is None and not self._are_kept(jobs):
            yield from work(jobs, workers, pin_memory)
            return
        for job in jobs:
            batch = load_batch(self._reader, job)
            if pin_memory and not isinstance(batch, UserError):
                batch = batch._replace(pixels=batch.pixels.pin_memory())
            yield batch

    def _are_kept(self, jobs: list[Job]) -> bool:
        """Whether all squares seem to be in the store: then processes would take longer to start than to read them."""
        wanted = [(job, one) for job in jobs for one in job.wanted]
        some = wanted[:: max(1, len(wanted) // ASKED)]
        return bool(some) and all(self._reader.is_kept(job.transform, one) for job, one in some)

    def _count(self, rows: Sequence[int], batch: Batch, workers: int) -> None:
        for row, seconds in zip(rows, batch.spared, strict=True):
            position = row % len(self.pictures)
            if position not in self._used:
                self._used.add(position)
                self._spared += seconds / max(1, workers)
        self._tell_problem(batch.problem)

    def _tell_problem(self, problem: str) -> None:
        if problem and self._tell:
            self._tell(problem)

    def in_order(self, batch_size: int) -> list[range]:
        """Positions of the batches of one pass over all pictures in order."""
        return [range(start, min(start + batch_size, len(self))) for start in range(0, len(self), batch_size)]


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
