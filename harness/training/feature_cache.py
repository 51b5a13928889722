"""Training images at the stage from which a method trains, computed as rarely as the cache mode allows.

none    every step computes the frozen stages of its images
fresh   the frozen stages are computed once per epoch, in large batches; the numbers are the same as with `none`
once    the frozen stages are computed once, for the augmented images of the first epoch; all epochs use these

With a number of views V, epoch e uses the augmented images of epoch e mod V, whose frozen stages are computed once.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from harness.clip.towers import CLIP, END, Stage
from harness.data.loader import PictureSet, Transform, normalise
from harness.experiment.training_spec import MOST_CACHED, TrainSpec
from harness.machine.costs import PhaseCosts
from harness.machine.meter import Meter
from harness.results.record import CacheFacts
from harness.training.feature_storage import Place
from harness.training.inference import run_frozen
from harness.training.shared_features import SharedFeatures, in_memory, is_shareable


def is_worth_caching(stage: Stage) -> bool:
    """Whether to keep images at a stage. Stage 0, the patch embedding, costs more to keep than to compute."""
    return stage > 0


class Batch(NamedTuple):
    """What a training step takes.

    Attributes:
        x: images at the method's stage.
        labels: (B,).
        frozen: their embeddings (B, E) by the untouched CLIP, for a method that has a `frozen_view`.
    """

    x: Tensor
    labels: Tensor
    frozen: Tensor | None = None


class TrainingImages:
    """The training images of a run, batch by batch.

    Args:
        clip: provides the image tower.
        pictures: the few-shot sample.
        transform: the augmentation.
        stage: the image stage from which the method trains.
        spec: cache mode, precision, views.
        seed: of the augmentation.
        meter: receives the costs of the phase `cache`.
        workers: number of processes that decode images.
        place: where the features may be kept; None: host memory.
        on_inputs: called with the pixels, the images at the method's stage and the labels of every batch, before they
            are used.
        shared: where features of the whole tower come from; None computes them here.
        frozen_view: as a method's; None: the untouched CLIP embeds nothing.
        view_key: of the random views beside the seed; empty: those of the method.
        batch_size: images a batch of the caching passes; None: as the spec says.

    Attributes:
        is_cached: whether features are kept.
        frozen: the same images as the untouched CLIP embeds them, if there is a `frozen_view`.
        is_beside: whether these are `frozen` of images that are cached themselves.
        views: V, the number of views that epochs choose from; None: each epoch has its own.
        features: images at the stage, (V * N, ...), one view after the other; None until the cache is filled.
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
        shared: SharedFeatures | None = None,
        frozen_view: str | None = None,
        view_key: str = "",
        batch_size: int | None = None,
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
        self._filled: set[int] = set()
        self.is_cached = spec.caches and is_worth_caching(stage)
        self.shared = shared if self.is_cached and is_shareable(stage) else None
        self.view_key = view_key
        self.batch_size = batch_size or spec.cache_batch_size or MOST_CACHED
        self.is_beside = False
        self.views = 1 if spec.cache == "once" and self.is_cached and spec.views is None else spec.views
        self.frozen: TrainingImages | None = None
        if frozen_view:
            key = "" if frozen_view == "same" else f"/{frozen_view}"
            about = (clip, pictures, transform, END, spec, seed, meter, workers, place, on_inputs, shared)
            self.frozen = type(self)(*about, view_key=key, batch_size=batch_size)
            self.frozen.is_beside = self.is_cached
            # Where the method's images are those of every epoch anew, those of the first would not be the same.
            self.frozen.views = self.views

    def pixels(self, epoch: int, indices: Sequence[Sequence[int]], views: int = 1) -> Iterator[Tensor]:
        """Augmented and normalised batches (B, 3, H, W), on the device.

        Args:
            epoch: the first of the epochs whose augmented images they are.
            indices: positions of the images of every batch; with several views rows `view * N + position`.
            views: number of epochs.
        """
        pin = self.clip.device.type == "cuda"
        keys = [self._key(one) for one in range(epoch, epoch + views)]
        for batch in self.pictures.batches(self.transform, indices, keys, self.workers, pin):
            pixels = normalise(batch, self.clip.mean, self.clip.std, self.clip.device)
            self.on_inputs(pixels)
            yield pixels

    def _key(self, view: int) -> str:
        return f"{self.seed}{self.view_key}/{view}"

    @property
    def caches(self) -> bool:
        """Whether there are caching passes: features are kept here, or of what the untouched CLIP embeds."""
        return self.is_cached or (self.frozen is not None and self.frozen.is_cached)

    @property
    def is_shared(self) -> bool:
        """Whether features of caching passes come from other runs."""
        return self.shared is not None or (self.frozen is not None and self.frozen.shared is not None)

    def run_frozen(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> images at the method's stage."""
        return run_frozen(self.clip, pixels, self.stage, self.spec.precision)

    def prepare(self, epoch: int, batches: int | None = None) -> None:
        """Fill the cache for an epoch, if it is not filled for it yet.

        Args:
            epoch: 0, 1, ...
            batches: for a measurement, compute only this many batches, which do not count as filling it; None: all.
        """
        if self.frozen:
            self.frozen.prepare(epoch, batches)
        if not self.is_cached:
            return
        mixed = self.mixes_views and batches is None
        for view in range(self.views or 1) if mixed else [self.view_of(epoch)]:
            self._fill(view, batches)

    def run_first_batch(self, epoch: int = 0) -> int:
        """Compute as many images as a caching pass does at the same time, to measure it; returns their number."""
        indices = self.pictures.in_order(in_memory(self.place.device, self.stage, self.batch_size))[:1]
        if self.frozen and self.frozen.is_cached:
            self.frozen.run_first_batch(epoch)
        if self.is_cached or not self.caches:
            for pixels in self.pixels(self.view_of(epoch), indices):
                self.run_frozen(pixels)
        return len(indices[0])

    @property
    def mixes_views(self) -> bool:
        """Whether batches are of all views together; where each epoch has its own view, there is only that one."""
        return self.spec.batches == "all_views" and self.views is not None

    def view_of(self, epoch: int) -> int:
        """The view that an epoch uses."""
        return epoch % self.views if self.views else epoch

    def _fill(self, view: int, batches: int | None = None) -> None:
        if view in self._filled:
            return
        indices = self.pictures.in_order(self.batch_size)[:batches]
        first = view * len(self.pictures) if self.views else 0
        # Beside features at the method's own stage the pass of the untouched CLIP is one of the same images.
        counted = 0 if self.is_beside else sum(map(len, indices))
        with self.meter.phase("cache", images=counted) as phase:
            if self.shared and batches is None:
                self._store(first, range(len(self.pictures)), self._share(self.shared, view, phase))
                indices = []
            for positions, pixels in zip(indices, self.pixels(view, indices), strict=True):
                self._store(first, positions, self.run_frozen(pixels))
            phase.share(self.pictures.take_spared())
        if batches is None:
            # Without views there is room for one epoch.
            self._filled = {*self._filled, view} if self.views else {view}

    def _store(self, first: int, positions: range, tokens: Tensor) -> None:
        if self.features is None:
            rows = (self.views or 1) * len(self.pictures)
            self.features, self.location = self.place.allocate((rows, *tokens.shape[1:]), tokens.dtype)
        self.features[first + positions.start : first + positions.stop] = tokens

    def _share(self, shared: SharedFeatures, view: int, phase: PhaseCosts) -> Tensor:
        """Features (N, D) of a view, in host memory."""
        key, size = self._key(view), self.batch_size
        found = shared.of(self.pictures, self.transform, self.stage, size, key, self.workers)
        phase.share(found.shared_seconds)
        return found.rows

    def first_views(self, count: int) -> Tensor:
        """The first views of all images at the method's stage, (count, N, ...), on the device."""
        if self.is_cached and self.views and count <= self.views:
            for view in range(count):
                self._fill(view)
            assert self.features is not None
            rows = self.features[: count * len(self.pictures)].to(self.clip.device)
            return rows.view(count, len(self.pictures), *rows.shape[1:])
        indices = self.pictures.in_order(self.batch_size)
        found = []
        for view in range(count):
            with self.meter.phase("cache", images=len(self.pictures)) as phase:
                if self.shared:
                    found.append(self._share(self.shared, view, phase).to(self.clip.device))
                else:
                    found.append(torch.cat([self.run_frozen(pixels) for pixels in self.pixels(view, indices)]))
                phase.share(self.pictures.take_spared())
        return torch.stack(found)

    def batches(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch for which `prepare` was called.

        Args:
            epoch: 0, 1, ...
            indices: positions of the images of every batch; of batches of all views rows `view * N + position`.

        Yields:
            Images at the method's stage and their labels (B,), on the device.
        """
        mixed = self.mixes_views
        # One tensor of all rows: to make one of each batch takes longer than a small training step.
        sizes, rows = [len(batch) for batch in indices], torch.tensor([row for batch in indices for row in batch])
        labels_of = self.pictures.labels[rows % len(self.pictures)].to(self.clip.device).split(sizes)
        if self.is_cached:
            assert self.features is not None
            features = self.features
            first = 0 if mixed or not self.views else self.view_of(epoch) * len(self.pictures)
            rows_of = (first + rows).to(features.device).split(sizes)
            tokens: Iterator[Tensor] = (features.index_select(0, rows).to(self.clip.device) for rows in rows_of)
        else:
            source = (0, self.views or 1) if mixed else (self.view_of(epoch), 1)
            tokens = (self.run_frozen(pixels) for pixels in self.pixels(source[0], indices, source[1]))
        for labels, x in zip(labels_of, tokens, strict=True):
            self.on_inputs(x)
            self.on_inputs(labels)
            yield x, labels

    def with_frozen(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """The same as `batches`, with what the untouched CLIP makes of the images."""
        own = self.batches(epoch, indices)
        if self.frozen is None:
            yield from starmap(Batch, own)
            return
        # Strict, so that both go on to their end.
        for (x, labels), (frozen, _) in zip(own, self.frozen.batches(epoch, indices), strict=True):
            yield Batch(x, labels, frozen)

    def resident(self) -> list[Tensor]:
        """The features, if they are in the memory of the device that computes."""
        own = [self.features] if self.features is not None and self.place.is_on_device(self.location) else []
        return [*own, *(self.frozen.resident() if self.frozen else [])]

    def facts(self) -> CacheFacts:
        """Where the cached features are, and their size."""
        frozen = self.frozen.facts() if self.frozen else CacheFacts()
        size = (0 if self.features is None else self.features.nbytes) + frozen.cache_bytes
        return CacheFacts(cache_location=self.location or frozen.cache_location, cache_bytes=size)
