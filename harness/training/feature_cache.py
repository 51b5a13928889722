"""Training images at the stage from which a method trains, computed as rarely as the cache mode allows.

none    every step computes the frozen stages of its images
fresh   the frozen stages are computed once per epoch, in large batches; the numbers are the same as with `none`
once    the frozen stages are computed once, for the augmented images of the first epoch; all epochs use these
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from harness.clip.towers import CLIP, Stage
from harness.data.loader import PictureSet, Transform, normalise
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import Meter
from harness.results.record import CacheFacts
from harness.training.feature_storage import Place
from harness.training.inference import run_frozen


def is_worth_caching(stage: Stage) -> bool:
    """Whether to keep images at a stage. Stage 0, the patch embedding, costs more to keep than to compute."""
    return stage > 0


class TrainingImages:
    """The training images of a run, batch by batch.

    Args:
        clip: provides the image tower.
        pictures: the few-shot sample.
        transform: the augmentation.
        stage: the image stage from which the method trains.
        spec: cache mode, batch size of the cache, precision.
        seed: of the augmentation.
        meter: receives the costs of the phase `cache`.
        workers: number of processes that decode images.
        place: where the features may be kept; None: host memory.
        on_inputs: called with the pixels, the images at the method's stage and the labels of every batch, before they
            are used.

    Attributes:
        is_cached: whether features are kept.
        features: images at the stage, (N, ...); None until the cache is filled.
        location: `gpu`, `host` or `file`, once there are features.
    """

    def __init__(
        self,
        clip: CLIP,
        pictures: PictureSet,
        transform: Transform,
        stage: Stage,
        spec: TrainSpec,
        seed: int,
        meter: Meter,
        workers: int = 0,
        place: Place | None = None,
        on_inputs: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.clip = clip
        self.pictures = pictures
        self.transform = transform
        self.stage = stage
        self.spec = spec
        self.seed = seed
        self.meter = meter
        self.workers = workers
        self.place = place or Place(clip.device, gpu_mib=0, host_mib=sys.maxsize, folder=Path())
        self.on_inputs = on_inputs or (lambda tensor: None)
        self.features: Tensor | None = None
        self.location: str | None = None
        self._filled_for: int | None = None
        self.is_cached = spec.caches and is_worth_caching(stage)

    def pixels(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Augmented and normalised batches (B, 3, H, W) of an epoch, on the device.

        Args:
            epoch: 0, 1, ...
            indices: positions of the images of every batch.
        """
        pin = self.clip.device.type == "cuda"
        for batch in self.pictures.batches(self.transform, indices, f"{self.seed}/{epoch}", self.workers, pin):
            pixels = normalise(batch, self.clip.mean, self.clip.std, self.clip.device)
            self.on_inputs(pixels)
            yield pixels

    def run_frozen(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> images at the method's stage."""
        return run_frozen(self.clip, pixels, self.stage, self.spec.precision)

    def prepare(self, epoch: int, batches: int | None = None) -> None:
        """Fill the cache for an epoch, if it is not filled for it yet.

        Args:
            epoch: 0, 1, ...
            batches: for a measurement, compute only this many batches, which do not count as filling it; None: all.
        """
        if not self.is_cached:
            return
        source = 0 if self.spec.cache == "once" else epoch
        if self._filled_for == source:
            return
        indices = self.pictures.in_order(self.spec.cache_batch_size)[:batches]
        with self.meter.phase("cache", images=sum(map(len, indices))):
            for positions, pixels in zip(indices, self.pixels(source, indices), strict=True):
                self._store(positions, self.run_frozen(pixels))
        if batches is None:
            self._filled_for = source

    def _store(self, positions: range, tokens: Tensor) -> None:
        if self.features is None:
            self.features, self.location = self.place.allocate((len(self.pictures), *tokens.shape[1:]), tokens.dtype)
        self.features[positions.start : positions.stop] = tokens

    def batches(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch for which `prepare` was called.

        Args:
            epoch: 0, 1, ...
            indices: positions of the images of every batch.

        Yields:
            Images at the method's stage and their labels (B,), on the device.
        """
        if self.is_cached:
            assert self.features is not None
            tokens: Iterator[Tensor] = (self.features[list(batch)].to(self.clip.device) for batch in indices)
        else:
            tokens = (self.run_frozen(pixels) for pixels in self.pixels(epoch, indices))
        for batch, x in zip(indices, tokens, strict=True):
            labels = self.pictures.labels[list(batch)].to(self.clip.device)
            self.on_inputs(x)
            self.on_inputs(labels)
            yield x, labels

    def resident(self) -> list[Tensor]:
        """The features, if they are in the memory of the device that computes."""
        return [self.features] if self.features is not None and self.place.is_on_device(self.location) else []

    def facts(self) -> CacheFacts:
        """Where the cached features are, and their size."""
        size = 0 if self.features is None else self.features.nbytes
        return CacheFacts(cache_location=self.location, cache_bytes=size)
