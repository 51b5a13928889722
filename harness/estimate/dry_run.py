"""The phases of a run with blank images: its own setup, caching pass, training step and evaluation, one batch of each.

With fake tensors this is an estimate. With real tensors it is the measurement with which an estimate is checked.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from harness.clip.texts import Text
from harness.clip.towers import CLIP
from harness.data.counts import ClassCounts, class_counts
from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.data.transforms import TestTransform
from harness.errors import UserError
from harness.estimate.memory_breakdown import BreakdownMeter
from harness.experiment.spec import EvalSpec, RunSpec
from harness.machine.costs import PHASES
from harness.machine.meter import Meter
from harness.training.build import build_method, probe_setup, prompt_texts
from harness.training.evaluate import Classifier
from harness.training.feature_cache import TrainingImages
from harness.training.feature_storage import GPU, Place
from harness.training.inference import set_classes
from harness.training.state import trained_parameters
from harness.training.trainer import Trainer
from methods.base import Method, OtherClassesError

CPU = torch.device("cpu")


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


class DryRun:
    """A run of whose phases only the first batch is computed.

    Args:
        spec: the run.
        clip: its frozen backbone, with weights as its precision stores them.
        classes: train and evaluate on this number of classes instead of those of the data set.
        device: whose memory is of interest; it decides where cached features are kept.

    Attributes:
        train_classes: the training classes and their numbers of images.
        labels: of all training images.
        method: built for the training classes.
        trainer: None until the training phase is reached.
        stand_ins: names of data sets that are not on this machine, as keys.

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
        texts = self._texts(spec.data.dataset, self.train_classes)
        self.method: Method = build_method(
            clip, spec.method, spec.options, texts, spec.train.precision, spec.seed, spec.train.caches
        )
        self.trainer: Trainer | None = None

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return bool(self.spec.train.epochs and trained_parameters(self.method))

    def probe(self, meter: BreakdownMeter, phases: Collection[str] = PHASES, flops: bool = True) -> None:
        """Measure peaks of live bytes, and count the operations of training step and caching pass.

        Args:
            meter: receives the peaks.
            phases: to measure; train and cache are always measured together.
            flops: False counts no operations.

        Raises:
            UserError: there are too few images for a batch.
        """
        meter.method = self.method
        probe_setup(self.method, self.spec.train.precision, meter)
        if self.trains and {"train", "cache"} & set(phases):
            self.trainer = self._make_trainer(meter, meter.label_inputs)
            meter.images = self.trainer.images
            self.trainer.images.prepare(0, batches=1)
            self.trainer.probe(0, first_batch(self.spec, self.labels), flops)
            meter.images = None
        if "evaluate" in phases:
            for item in self.spec.evaluate:
                self._classifier(item, meter.label_inputs).probe(meter)

    def run(self, meter: Meter) -> None:
        """Execute the phases under a meter of the device, as a run does; the training consists of two steps."""
        with meter.phase("setup"):
            set_classes(self.method, self.method.prompts, self.spec.train.precision)
        if self.trains:
            self.trainer = self._make_trainer(meter)
            self.trainer.images.prepare(0, batches=1)
            batch = first_batch(self.spec, self.labels)
            with meter.phase("train"):
                self.trainer.run_steps(0, [batch, batch])
        for item in self.spec.evaluate:
            with meter.phase("evaluate"):
                self._classifier(item).logits()

    def _expected(self, dataset: str, subset: str) -> ClassCounts:
        root = self.spec.runtime.find_data_root()
        found = class_counts(dataset, subset, self.spec.data.shots, root, self.classes)
        if not found.is_here:
            self.stand_ins[dataset] = None
        return found

    def _texts(self, dataset: str, classes: ClassCounts) -> list[Text]:
        return prompt_texts(self.spec, dataset, classes.class_names, stand_ins=not classes.is_here)

    def _make_trainer(self, meter: Meter, on_inputs: Callable[[Tensor], None] | None = None) -> Trainer:
        spec, clip, runtime = self.spec, self.method.clip, self.spec.runtime
        images = TrainingImages(
            clip,
            blank_pictures(self.labels, clip.image_size, on_inputs),
            TestTransform.of(clip.preprocessing),
            self.method.image_start,
            spec.train,
            spec.seed,
            meter,
            place=PlaceInMemory(self.device, runtime.cache_gpu_mib, runtime.cache_host_mib, Path(), clip.device),
            on_inputs=on_inputs,
        )
        return Trainer(self.method, images, spec, meter)

    def _classifier(self, item: EvalSpec, on_inputs: Callable[[Tensor], None] | None = None) -> Classifier:
        """The classifier of the first batch of an evaluation."""
        spec, side, size = self.spec, self.method.clip.image_size, self.spec.runtime.eval_batch_size
        seen = self._expected(item.dataset, item.classes)
        texts = self._texts(item.dataset, seen)
        try:
            self.method.check_classes(tuple(texts))
        except OtherClassesError as error:
            raise UserError(f"{spec.method}: {error}") from None
        labels = [0] * min(seen.num_images(item.splits), size)
        pictures = blank_pictures(labels, side, on_inputs)
        return Classifier(
            self.method, pictures, texts, TestTransform.of(self.method.clip.preprocessing), spec.train.precision, size
        )


def largest_batch(spec: RunSpec, labels: Sequence[int]) -> int:
    """The largest possible training batch of images with these labels."""
    return len(candidates(spec, labels))


def first_batch(spec: RunSpec, labels: Sequence[int]) -> list[int]:
    """Positions of a training batch: of one class if the recipe asks for that, otherwise of as many as possible.

    Raises:
        UserError: there are too few images for a batch.
    """
    size, order = spec.train.batch_size, candidates(spec, labels)
    if len(order) < size:
        of_what = f"of one class ({len(order)})" if is_same_class(spec) else f"({len(order)})"
        raise UserError(f"train.batch_size={size} is more than the training images {of_what}: lower it")
    return order[:size]


def is_same_class(spec: RunSpec) -> bool:
    """Whether every batch consists of images of one class."""
    return spec.train.batch_kind(spec.data.shots) == "same_class"


def candidates(spec: RunSpec, labels: Sequence[int]) -> list[int]:
    """Positions of the images that can be in one batch, in the order in which they are taken."""
    rank, seen = [], Counter[int]()
    for label in labels:
        rank.append(seen[label])
        seen[label] += 1
    if is_same_class(spec):
        largest = max(seen, key=lambda label: seen[label], default=0)
        return [position for position, label in enumerate(labels) if label == largest]
    return sorted(range(len(labels)), key=lambda position: rank[position])
