"""What stands in for images and for numbers that depend on them: blank pictures, noise, made up numbers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.training.feature_cache import TrainingImages
from harness.training.feature_storage import GPU, Place
from harness.training.selection import ValidationImages
from harness.training.trainer import Trainer
from methods.base import Candidate, Method

CPU = torch.device("cpu")
MakingUp = Callable[[bool], AbstractContextManager[Any]]
"""Gives a context in which numbers may be read that depend on weights and images; says if memory may depend on them."""


def blank_pictures(labels: Sequence[int], size: int, on_batch: Callable[[Tensor], None] | None = None) -> PictureSet:
    """Black images of `size` x `size` pixels that are on no disk.

    Args:
        labels: of the images.
        size: side in pixels, as the transform leaves it.
        on_batch: called with every batch of pixels.
    """
    image = Image.new("RGB", (size, size))
    return PictureSet(Path(), [Picture("", label) for label in labels], lambda folder, path: image, on_batch)


@dataclass(frozen=True)
class PlaceInMemory(Place):
    """Chooses a place for features as usual, but allocates memory that stays unused, or fake memory, and never a file.

    Attributes:
        memory: the device on which to allocate features that are kept on the GPU.
    """

    memory: torch.device = CPU

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, str]:
        num_bytes = torch.Size(shape).numel() * dtype.itemsize
        where = self.choose(num_bytes)
        return torch.empty(shape, dtype=dtype, device=self.memory if where == GPU else CPU), where


class FirstBatches(TrainingImages):
    """Training images of which only the first batch is computed; noise stands in for the views of all of them."""

    def first_views(self, count: int) -> Tensor:
        """Noise of the shape (count, N, ...) of the first views of all images at the method's stage."""
        number = len(self.pictures)
        if self.is_cached and self.views and count <= self.views:
            self.prepare(0, batches=1)
            assert self.features is not None
            rows = self.features[: count * number].to(self.clip.device)
        else:
            indices = self.pictures.in_order(self.batch_size)[:1]
            with self.meter.phase("cache", images=len(indices[0])):
                (one,) = [self.run_frozen(pixels) for pixels in self.pixels(0, indices)]
            rows = one.new_empty((count * number, *one.shape[1:]))
        return rows.normal_().view(count, number, *rows.shape[1:])


class DryTrainer(Trainer):
    """A trainer whose optimizer may be made from numbers that depend on the shots.

    Args:
        making_up: gives the context in which such numbers are made up.

    Attributes:
        momentum: what the optimizer kept beside the caching pass that was measured last.
    """

    def __init__(self, making_up: MakingUp, *args: Any) -> None:
        self.making_up = making_up
        self.momentum: list[Tensor] = []
        super().__init__(*args)

    def probe_cache(self, epoch: int, momentum: list[Tensor], flops: bool) -> float:
        self.momentum = momentum
        return super().probe_cache(epoch, momentum, flops)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        with self.making_up(False):
            return super()._new_optimizer()


@dataclass(frozen=True)
class NoiseValidationImages(ValidationImages):
    """Validation images of which only the shape counts.

    Attributes:
        making_up: gives the context in which an accuracy is made up.
    """

    making_up: MakingUp

    def scorer(self, method: Method) -> Callable[[Candidate], float]:
        accuracy = super().scorer(method)

        def made_up(candidate: Candidate) -> float:
            with self.making_up(False):
                return accuracy(candidate)

        return made_up
