"""The phases of a run with blank images: its own setup, caching pass, training step and evaluation, one batch of each.

With fake tensors this is an estimate. With real tensors it is the measurement with which an estimate is checked.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from harness.clip.texts import Text
from harness.clip.towers import CLIP
from harness.data.counts import ClassCounts, class_counts
from harness.data.transforms import TestTransform
from harness.errors import UserError
from harness.estimate.fake_tensors import KnownValues
from harness.estimate.largest import largest_below
from harness.estimate.memory_breakdown import BreakdownMeter, MemoryPeak
from harness.estimate.stand_ins import (
    CPU,
    DryTrainer,
    FirstBatches,
    MakingUp,
    NoiseValidationImages,
    PlaceInMemory,
    blank_pictures,
)
from harness.experiment.spec import EvalSpec, RunSpec
from harness.machine.costs import PHASES, Batches
from harness.machine.meter import Meter, count_flops
from harness.results.record import Refusal
from harness.training.batches import batch_sizes, fewest, leaves_open, most
from harness.training.build import build_method, probe_setup, prompt_texts
from harness.training.evaluate import Classifier
from harness.training.feature_cache import TrainingImages
from harness.training.fitting import fit_to_images
from harness.training.inference import run_frozen, set_classes
from harness.training.refusals import find_refusals, served
from harness.training.run_data import validation_shots
from harness.training.selection import probe_choice
from harness.training.shared_features import is_shareable
from harness.training.state import trained_parameters
from methods.base import Method, OtherClassesError


class DryRun:
    """A run of whose phases only the first batch is computed.

    Args:
        spec: the run.
        clip: its frozen backbone, with weights as its precision stores them.
        classes: train and evaluate on this number of classes instead of those of the data set.
        device: whose memory is of interest; it decides where cached features are kept.
        making_up: gives the context in which numbers are made up that depend on weights and images; by default they
            are there.
        batches: images at once in caching passes and evaluations; None: `probe` chooses what the spec leaves open.
        known: what is known of the values of fake tensors; None: tensors are real.

    Attributes:
        batches: images at once in caching passes and evaluations.
        train_classes: the training classes and their numbers of images.
        labels: of all training images.
        method: built for the training classes.
        trainer: None until the training phase is reached.
        cache_flops: operations of the caching pass of what a method is fitted to, per image, where nothing trains.
        stand_ins: names of data sets that are not on this machine, as keys.

    Raises:
        UserError: the options do not fit the backbone.
    """

    def __init__(
        self,
        spec: RunSpec,
        clip: CLIP,
        classes: int | None,
        device: torch.device,
        making_up: MakingUp = nullcontext,
        batches: Batches | None = None,
        known: KnownValues | None = None,
    ) -> None:
        self.spec = spec
        self.batches = batches or most(spec)
        self._is_open = batches is None and leaves_open(spec)
        self._known = known
        self.device = device
        self.classes = classes
        self.making_up = making_up
        self.stand_ins: dict[str, None] = {}
        self.train_classes = self._expected(spec.data.dataset, spec.data.classes)
        counts = self.train_classes.counts["train"]
        self.labels = [label for label, count in enumerate(counts) for _ in range(count)]
        texts = self._texts(spec.data.dataset, self.train_classes)
        self.method: Method = build_method(
            clip, spec.method, spec.options, texts, spec.train.precision, spec.seed, spec.train.caches
        )
        self.trainer: DryTrainer | None = None
        self.cache_flops: float | None = None

    @cached_property
    def refusals(self) -> tuple[Refusal, ...]:
        """Evaluations that the method cannot take part in; they cost nothing.

        Raises:
            UserError: it can take part in none.
        """
        try:
            return find_refusals(self.method, self.spec.evaluate, self._evaluated_texts)
        except OtherClassesError as error:
            raise UserError(f"{self.spec.method}: {error}") from None

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return bool(self.spec.train.epochs and trained_parameters(self.method))

    @property
    def cache_images(self) -> int:
        """How many views of images pass the frozen stages by themselves, for the cache and for what is fitted."""
        train, images = self.spec.train, self._images(Meter(CPU))
        epochs = train.epochs if self.trains and images.caches else 0
        views = epochs if images.views is None else min(epochs, images.views)
        if epochs and images.views and train.batches == "all_views":
            views = images.views
        if self.method.is_fitted():
            fitted = train.fit_views or images.views or 1
            is_shared = images.is_cached and images.views is not None and fitted <= images.views
            views = max(views, fitted) if is_shared else views + fitted
        return views * len(self.labels)

    def probe(self, meter: BreakdownMeter, phases: Collection[str] = PHASES, flops: bool = True) -> None:
        """Measure peaks of live bytes, and count the operations of training step and caching pass.

        Args:
            meter: receives the peaks.
            phases: to measure; train and cache are always measured together.
            flops: False counts no operations.

        Raises:
            UserError: there are too few images for a batch, or the method can take part in no evaluation.
        """
        meter.method = self.method
        probe_setup(self.method, self.spec.train.precision, meter)
        images = meter.images = self._images(meter, meter.label_inputs)
        self._fit(images, meter)
        is_open = self._is_open and not is_shareable(self.method.image_start) and bool(set(phases) - {"train"})
        if self.trains and (is_open or {"train", "cache"} & set(phases)):
            self.trainer = self._make_trainer(images, meter)
            images.prepare(0, batches=1)
            self.trainer.probe(0, first_batch(self.spec, self.labels), flops)
        elif self.method.is_fitted() and flops and images.is_cached:
            done: list[int] = []
            self.cache_flops = count_flops(lambda: done.append(images.run_first_batch())) / done[0]
        if is_open:
            self._choose_batches(meter, phases)
        meter.images = None
        self._select(meter)
        if "evaluate" in phases and "evaluate" not in meter.peaks:
            self._probe_evaluations(meter)

    def _probe_evaluations(self, meter: BreakdownMeter) -> None:
        for item in served(self.spec.evaluate, self.refusals):
            self._classifier(item, meter.label_inputs).probe(meter)

    def _choose_batches(self, meter: BreakdownMeter, phases: Collection[str]) -> None:
        """Choose what the spec leaves open: the most with which no phase takes more memory than a training step."""
        trainer, floor = self.trainer, fewest(self.spec, self.device)
        if trainer is None:
            self.batches = floor
            return
        limit = meter.peaks["train"].num_bytes
        if self._known and self._known.assumed:
            batch = first_batch(self.spec, self.labels)
            with self._known.assuming_least():
                limit = meter.peak_of("train", lambda: trainer.probe(0, batch, flops=False)).num_bytes

        def cache_peak(number: int) -> MemoryPeak:
            trainer.images.batch_size = number
            return meter.peak_of("cache", lambda: trainer.probe_cache(0, trainer.momentum, flops=False))

        def evaluation_peak(number: int) -> MemoryPeak:
            self.batches = self.batches.model_copy(update={"evaluate": number})
            return meter.peak_of("evaluate", lambda: self._probe_evaluations(meter))

        if self.spec.train.cache_batch_size is None and trainer.images.is_cached and "cache" in phases:
            sizes = batch_sizes(floor.cache, self.batches.cache)
            number, meter.peaks["cache"] = largest_below(cache_peak, limit, sizes)
            self.batches = self.batches.model_copy(update={"cache": number})
            trainer.images.batch_size = number
        if self.spec.runtime.eval_batch_size is None and {"select", "evaluate"} & set(phases):
            prompts, sizes = self.method.prompts, batch_sizes(floor.evaluate, self.batches.evaluate)
            number, meter.peaks["evaluate"] = largest_below(evaluation_peak, limit, sizes)
            self.batches = self.batches.model_copy(update={"evaluate": number})
            set_classes(self.method, prompts, self.spec.train.precision)

    def run(self, meter: Meter) -> None:
        """Execute the phases under a meter of the device, as a run does; the training consists of two steps."""
        with meter.phase("setup"):
            set_classes(self.method, self.method.prompts, self.spec.train.precision)
        images = self._images(meter)
        self._fit(images, meter)
        if self.trains:
            self.trainer = self._make_trainer(images, meter)
            images.prepare(0, batches=1)
            batch = first_batch(self.spec, self.labels)
            with meter.phase("train"):
                self.trainer.run_steps(0, [batch, batch])
        self._select(meter)
        for item in served(self.spec.evaluate, self.refusals):
            with meter.phase("evaluate"):
                self._classifier(item).logits()

    def _fit(self, images: TrainingImages, meter: Meter) -> None:
        """Fit the method, if it is one that is fitted, to noise."""
        if self.method.is_fitted():
            with self.making_up(True):
                fit_to_images(self.method, images, self.spec, meter)

    def _select(self, meter: Meter) -> None:
        """Measure the memory of one candidate of the method's search, if it has one, on noise."""
        candidate = next(self.method.search(), None) if self.method.selects() else None
        if candidate is None:
            return
        spec, clip = self.spec, self.method.clip
        expected = self.train_classes
        counts = expected.choice if spec.select.pictures == "val" else expected.counts["test"]
        labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)], device=clip.device)
        pixels = torch.zeros(1, 3, clip.image_size, clip.image_size, device=clip.device)
        one = run_frozen(clip, pixels, self.method.image_start, spec.train.precision)
        x = one.new_empty((len(labels), *one.shape[1:])).normal_()
        images = NoiseValidationImages(x, labels, spec.train.precision, self.batches.evaluate, self.making_up)
        with self.making_up(True):
            probe_choice(self.method, images, candidate, meter)
            with meter.phase("select"), torch.no_grad():
                self.method.use(candidate)
                with self.making_up(False):
                    images.scorer(self.method)(candidate)

    def _expected(self, dataset: str, subset: str) -> ClassCounts:
        root, data = self.spec.runtime.find_data_root(), self.spec.data
        shots = data.long_tail or data.shots
        found = class_counts(
            dataset, subset, shots, root, self.classes, validation_shots(self.spec), self.spec.is_tested
        )
        if not found.is_here:
            self.stand_ins[dataset] = None
        return found

    def _texts(self, dataset: str, classes: ClassCounts) -> list[Text]:
        return prompt_texts(self.spec, dataset, classes.class_names, stand_ins=not classes.is_here)

    def _evaluated_texts(self, item: EvalSpec) -> list[Text]:
        """Prompts of the classes of an evaluation."""
        return self._texts(item.dataset, self._expected(item.dataset, item.classes))

    def _images(self, meter: Meter, on_inputs: Callable[[Tensor], None] | None = None) -> TrainingImages:
        spec, clip, runtime = self.spec, self.method.clip, self.spec.runtime
        return FirstBatches(
            clip,
            blank_pictures(self.labels, clip.image_size, on_inputs),
            TestTransform.of(clip.preprocessing),
            self.method.image_start,
            spec.train,
            spec.seed,
            meter,
            place=PlaceInMemory(self.device, runtime.cache_gpu_mib, runtime.cache_host_mib, Path(), clip.device),
            on_inputs=on_inputs,
            frozen_view=self.method.frozen_view,
            batch_size=self.batches.cache,
        )

    def _make_trainer(self, images: TrainingImages, meter: Meter) -> DryTrainer:
        return DryTrainer(self.making_up, self.method, images, self.spec, meter)

    def _classifier(self, item: EvalSpec, on_inputs: Callable[[Tensor], None] | None = None) -> Classifier:
        """The classifier of the first batch of an evaluation."""
        spec, clip, size = self.spec, self.method.clip, self.batches.evaluate
        seen = self._expected(item.dataset, item.classes)
        texts = self._texts(item.dataset, seen)
        labels = [0] * min(seen.num_images(item.splits), size)
        pictures, transform = blank_pictures(labels, clip.image_size, on_inputs), TestTransform.of(clip.preprocessing)
        return Classifier(self.method, pictures, texts, transform, spec.train.precision, size, device=self.device)


def largest_batch(spec: RunSpec, labels: Sequence[int]) -> int:
    """The largest possible training batch of images with these labels."""
    return len(candidates(spec, labels))


def first_batch(spec: RunSpec, labels: Sequence[int]) -> list[int]:
    """Positions of a training batch: of one class if the recipe asks for that, otherwise of as many as possible.

    Raises:
        UserError: no class has enough images for a batch of one class.
    """
    order = candidates(spec, labels)
    size = spec.train.batch_size or len(order)
    if len(order) < size and not spec.train.keeps_remainder(len(labels)):
        raise UserError(
            f"train.batch_size={size} is more than the training images of one class ({len(order)}): lower it"
        )
    return order[:size]


def is_same_class(spec: RunSpec) -> bool:
    """Whether every batch consists of images of one class."""
    return spec.train.batch_kind(spec.data.fewest_shots) == "same_class"


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
