"""The phases of a run on blank pictures: its own setup, caching pass, training step and evaluation, a batch of each.

Under fake tensors this is an estimate, with real ones it is what the estimate is checked against.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from harness.clip.towers import CLIP
from harness.data.counts import Expected, expected_classes
from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.errors import UserError
from harness.estimate.memory_breakdown import KindMeter
from harness.experiment.spec import EvalSpec, RunSpec
from harness.machine.costs import PHASES
from harness.machine.meter import Meter
from harness.training.build import build_method, probe_setup, prompt_texts
from harness.training.evaluate import Classifier
from harness.training.feature_cache import TrainingImages
from harness.training.feature_storage import GPU, Place
from harness.training.trainer import SAME_CLASS_SHOTS, Trainer, trained_parameters, training_step
from methods.base import Method, OtherClassesError

CPU = torch.device("cpu")


class BlankPictures(PictureSet):
    """Pictures without content, as a loader gives them.

    Args:
        labels: of the pictures.
        size: pixels a side, as the transform leaves them.
        on_inputs: told of every batch.
    """

    def __init__(self, labels: Sequence[int], size: int, on_inputs: Callable[[Tensor], None]) -> None:
        super().__init__(Path(), [Picture("", label) for label in labels])
        self.size = size
        self.on_inputs = on_inputs

    def decode(self, position: int) -> Image.Image:
        return Image.new("RGB", (self.size, self.size))

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[Tensor]:
        for batch in super().batches(*args, **kwargs):
            self.on_inputs(batch)
            yield batch


def as_it_is(picture: Image.Image, key: str) -> Image.Image:
    """The transform of pictures that have their size already."""
    return picture


@dataclass(frozen=True)
class PlaceInMemory(Place):
    """Says where features would lie, and allocates them in memory that nothing is written to: fake, or not yet used.

    Attributes:
        memory: the device for those that lie on the GPU.
    """

    memory: torch.device = CPU

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, str]:
        num_bytes = torch.Size(shape).numel() * dtype.itemsize
        where = self.choose(num_bytes)
        return torch.empty(shape, dtype=dtype, device=self.memory if where == GPU else CPU), where


class OneBatchOfImages(TrainingImages):
    """Training pictures of which only the first batch goes through the caching pass: the others would cost the same.

    Args:
        on_inputs: told of all pixels, tokens and labels of a batch.
        args: as of `TrainingImages`.
    """

    def __init__(self, on_inputs: Callable[[Tensor], None], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_inputs = on_inputs

    def prepare(self, epoch: int) -> None:
        if self.is_cached:
            indices = self.pictures.in_order(self.spec.cache_batch_size)[:1]
            for positions, pixels in zip(indices, self.pixels(epoch, indices), strict=True):
                self._store(positions, self.run_frozen(pixels))

    def pixels(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        for pixels in super().pixels(epoch, indices):
            self.on_inputs(pixels)
            yield pixels

    def batches(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        for x, labels in super().batches(epoch, indices):
            self.on_inputs(x)
            self.on_inputs(labels)
            yield x, labels

    def resident(self) -> list[Tensor]:
        on_other_device = self.place.device.type == "cuda" and self.location != GPU
        return [] if on_other_device else super().resident()


class Rehearsal:
    """A run whose phases are tried, one after the other.

    Args:
        spec: the run.
        clip: its backbone as its precision stores it, frozen.
        classes: train and evaluate on so many classes instead of those of the data set.
        device: whose memory is looked at; says where cached features lie.

    Attributes:
        train_classes: classes and pictures of the training.
        method: built for them.
        trainer: once `train` was called.

    Raises:
        UserError: the options do not fit the backbone, or the method cannot be used for the classes of an evaluation.
    """

    def __init__(self, spec: RunSpec, clip: CLIP, classes: int | None, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.classes = classes
        self.stand_ins: dict[str, None] = {}
        self.train_classes = self._expected(spec.data.dataset, spec.data.classes)
        counts = self.train_classes.counts["train"]
        self.labels = [label for label, count in enumerate(counts) for _ in range(count)]
        texts = prompt_texts(spec, spec.data.dataset, self.train_classes.class_names)
        cached = spec.train.cache != "none"
        self.method: Method = build_method(
            clip, spec.method, spec.options, texts, spec.train.precision, spec.seed, cached
        )
        self.trainer: Trainer | None = None

    @property
    def trains(self) -> bool:
        """Whether the run has a training."""
        return bool(self.spec.train.epochs and trained_parameters(self.method))

    def probe(self, meter: KindMeter, phases: Collection[str] = PHASES, flops: bool = True) -> None:
        """Measure peaks of live bytes, and count the operations of training step and caching pass.

        Args:
            meter: takes the peaks.
            phases: which; train and cache go together.
            flops: False counts no operations.
        """
        meter.method = self.method
        probe_setup(self.method, self.spec.train.precision, meter)
        if self.trains and {"train", "cache"} & set(phases):
            self.trainer = self._make_trainer(meter, meter.label_inputs)
            meter.images = self.trainer.images
            self.trainer.images.prepare(0)
            self.trainer.probe(0, first_batch(self.spec, self.labels), flops)
            meter.images = None
        if "evaluate" in phases:
            for item in self.spec.evaluate:
                self._classifier(item, meter.label_inputs).probe(meter)

    def run(self, meter: Meter) -> None:
        """Go through the phases under a meter that watches the device, as a run does; two steps make the training."""
        with meter.phase("setup"):
            self.method.set_classes(self.method.prompts)
        if self.trains:
            self.trainer = self._make_trainer(meter)
            with meter.phase("cache"):
                self.trainer.images.prepare(0)
            batch = first_batch(self.spec, self.labels)
            with meter.phase("train"):
                for x, labels in self.trainer.images.batches(0, [batch, batch]):
                    training_step(
                        self.method, self.trainer.optimizer, self.trainer.scaler, x, labels, self.spec.train.precision
                    )
        for item in self.spec.evaluate:
            with meter.phase("evaluate"):
                self._classifier(item).logits()

    def _expected(self, dataset: str, subset: str) -> Expected:
        root = self.spec.runtime.find_data_root()
        found = expected_classes(dataset, subset, self.spec.data.shots, root, self.classes)
        if not found.is_here:
            self.stand_ins[dataset] = None
        return found

    def _make_trainer(self, meter: Meter, on_inputs: Callable[[Tensor], None] = lambda tensor: None) -> Trainer:
        spec, clip, runtime = self.spec, self.method.clip, self.spec.runtime
        pictures = BlankPictures(self.labels, clip.image_size, on_inputs)
        place = PlaceInMemory(self.device, runtime.cache_gpu_mib, runtime.cache_host_mib, Path(), clip.device)
        start = self.method.image_start
        images = OneBatchOfImages(on_inputs, clip, pictures, as_it_is, start, spec.train, spec.seed, meter, place=place)
        return Trainer(self.method, images, spec, meter)

    def _classifier(self, item: EvalSpec, on_inputs: Callable[[Tensor], None] = lambda tensor: None) -> Classifier:
        """Classifies the first batch of an evaluation."""
        spec, size = self.spec, self.spec.runtime.eval_batch_size
        seen = self._expected(item.dataset, item.classes)
        texts = prompt_texts(spec, item.dataset, seen.class_names)
        try:
            self.method.check_classes(tuple(texts))
        except OtherClassesError as error:
            raise UserError(f"{spec.method}: {error}") from None
        labels = [0] * min(seen.num_images(item.splits), size)
        pictures = BlankPictures(labels, self.method.clip.image_size, on_inputs)
        return Classifier(self.method, pictures, texts, as_it_is, spec.train.precision, size)


def most_pictures_in_a_batch(spec: RunSpec, labels: Sequence[int]) -> int:
    """How large a training batch of pictures with these labels can be."""
    return len(candidates(spec, labels))


def first_batch(spec: RunSpec, labels: Sequence[int]) -> list[int]:
    """Positions of a training batch: of one class where the recipe asks for that, else of as many as possible.

    Raises:
        UserError: there are too few pictures for a batch.
    """
    size, order = spec.train.batch_size, candidates(spec, labels)
    if len(order) < size:
        of_what = f"of one class ({len(order)})" if is_same_class(spec) else f"({len(order)})"
        raise UserError(f"train.batch_size={size} is more than the training pictures {of_what}: lower it")
    return order[:size]


def is_same_class(spec: RunSpec) -> bool:
    """Whether every batch holds pictures of one class."""
    return spec.train.batches == "same_class" and spec.data.shots >= SAME_CLASS_SHOTS


def candidates(spec: RunSpec, labels: Sequence[int]) -> list[int]:
    """Positions of pictures that can be in one batch, in the order in which they are taken."""
    rank, seen = [], Counter[int]()
    for label in labels:
        rank.append(seen[label])
        seen[label] += 1
    if is_same_class(spec):
        largest = max(seen, key=lambda label: seen[label], default=0)
        return [position for position, label in enumerate(labels) if label == largest]
    return sorted(range(len(labels)), key=lambda position: rank[position])
