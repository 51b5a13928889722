"""The training of a method, resumable after every epoch."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from harness.data.sampler import BATCHES, all_view_batches
from harness.errors import DivergedError
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter, count_flops
from harness.machine.threads import step_threads, threads
from harness.results.epochs import EpochRecord
from harness.training.begun import Begun
from harness.training.compiling import WARM_UP_STEPS, loss_function
from harness.training.feature_cache import Batch, TrainingImages
from harness.training.optimizer import (
    build_optimizer,
    is_optimizer_state,
    lbfgs_memory,
    load_optimizer_state,
    optimizer_state,
    set_rates,
)
from harness.training.precision import autocast, gradient_scaler, loss_scale, set_loss_scale
from harness.training.process import seed_torch
from harness.training.state import LOSS_SCALE, load_trained_state, trained_parameters, trained_state
from harness.training.step import clear_gradients, loss_and_gradients, training_step
from harness.training.step_watch import StepWatch
from methods.base import Method


class Trainer:
    """Trains a method.

    Args:
        method: built for the training classes.
        images: the training images at the method's stage.
        spec: the run.
        meter: receives the costs of the phase `train`.

    Attributes:
        flops: phase -> operations per image, of phases train and cache; empty until they are measured.
    """

    def __init__(self, method: Method, images: TrainingImages, spec: RunSpec, meter: Meter) -> None:
        self.method = method
        self.images = images
        self.spec = spec
        self.meter = meter
        self.flops: dict[str, float] = {}
        self._trained = trained_parameters(method)
        self.optimizer = self._new_optimizer()
        self.scaler = self._new_scaler()
        self.compiles = spec.train.compile != "none"
        self._loss = loss_function(spec.train.compile)
        self._is_warm = not self.compiles

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self.method, self.spec.train, self.spec.train.precision)

    def _new_scaler(self, **options: float) -> torch.amp.GradScaler:
        return gradient_scaler(self.spec.train.precision, self.method.clip.device, **options)

    def state(self) -> dict[str, Tensor]:
        """What training needs to continue: trained tensors, the optimizer's state and, for fp16, the loss scale."""
        scale = {LOSS_SCALE: loss_scale(self.scaler)} if self.scaler.is_enabled() else {}
        return {**trained_state(self.method), **optimizer_state(self.optimizer, self.method), **scale}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            UserError: it is the state of another training.
        """
        others = [name for name in state if name == LOSS_SCALE or is_optimizer_state(name)]
        load_trained_state(self.method, {name: value for name, value in state.items() if name not in others})
        load_optimizer_state(self.optimizer, self.method, state)
        if LOSS_SCALE in state:
            set_loss_scale(self.scaler, state[LOSS_SCALE])

    @cached_property
    def steps_per_epoch(self) -> int:
        """Steps of a whole epoch."""
        return len(self._whole_epoch(0))

    @property
    def threads(self) -> int:
        """How many threads of a CPU compute its steps."""
        return step_threads(self.method.clip.is_narrow, self.spec.runtime.step_threads)

    @property
    def epochs(self) -> int:
        """How many epochs there are; where the training's length is given in steps, the last one may be cut."""
        recipe, shots = self.spec.train, self.spec.data.shots
        return recipe.epochs if recipe.num_steps(shots) is None else recipe.num_epochs(shots, self.steps_per_epoch)

    def draw_batches(self, epoch: int) -> list[list[int]]:
        """Positions of the images in the batches of an epoch; they depend only on seed and epoch.

        A batch of all images has them in order. Fewer images than a batch has are one smaller batch, as in Dassl.

        Raises:
            UserError: no class has enough images for a batch of one class.
        """
        batches, total = self._whole_epoch(epoch), self.spec.train.num_steps(self.spec.data.shots)
        return batches if total is None else batches[: total - epoch * self.steps_per_epoch]

    def _whole_epoch(self, epoch: int) -> list[list[int]]:
        recipe, labels = self.spec.train, self._labels
        kind, size = recipe.batch_kind(self.spec.data.fewest_shots), recipe.batch_size or len(labels)
        rng, keep = random.Random(f"batches/{self.spec.seed}/{epoch}"), recipe.keeps_remainder(len(labels))
        if kind == "all_views":
            return all_view_batches(labels, size, rng, keep, self.images.views or 1)
        if recipe.batch_size is None:
            return [list(range(size))]
        return BATCHES[kind](labels, size, rng, keep)

    @cached_property
    def _labels(self) -> list[int]:
        return self.images.pictures.labels.tolist()

    def train(self, first_epoch: int, on_epoch: Callable[[EpochRecord], None]) -> None:
        """Train from `first_epoch` on, calling `on_epoch` after every epoch.

        Raises:
            DivergedError: the loss or a weight is no longer finite.
        """
        for epoch in range(first_epoch, self.epochs):
            on_epoch(self.run_epoch(epoch))

    def run_epoch(self, epoch: int) -> EpochRecord:
        """Train for one epoch.

        Raises:
            DivergedError: the loss or a weight is no longer finite.
        """
        begun = self.begin_epoch(epoch)
        with self.measured(begun):
            total = self.run_steps(epoch, begun.batches, begun.watch)
        return self.end_epoch(begun, total)

    def begin_epoch(self, epoch: int) -> Begun:
        """Do what comes before the steps of an epoch: draw its batches, fill the cache, measure, compile."""
        batches = self.draw_batches(epoch)
        seed_torch(random.Random(f"epoch/{self.spec.seed}/{epoch}").getrandbits(63), self.method.clip.device)
        before = self.meter.seconds("cache"), self.meter.seconds("train")
        self.images.prepare(epoch)
        if not self.flops:
            self.probe(epoch, batches[0])
        if not self._is_warm:
            self.warm_up(epoch, batches[0])
        if self.spec.train.optimizer == "lbfgs":
            # What it knows belongs to no saved state, so that an interruption changes nothing.
            self.optimizer = self._new_optimizer()
        return Begun(epoch, batches, self._watch(epoch, len(batches)), *before)

    @contextmanager
    def measured(self, begun: Begun) -> Iterator[None]:
        """Inside, the steps of an epoch are taken."""
        with threads(self.threads), self.meter.phase("train", images=begun.images, repeats=True) as phase:
            yield
            phase.share(self.images.pictures.take_spared())
            with torch.no_grad():
                self.method.after_epoch(begun.epoch, self.epochs)

    def end_epoch(self, begun: Begun, total: Tensor) -> EpochRecord:
        """The record of an epoch.

        Args:
            begun: the epoch, whose steps were taken.
            total: sum of their losses, a scalar.

        Raises:
            DivergedError: the loss or a weight is no longer finite.
        """
        epoch, steps = begun.epoch, len(begun.batches)
        loss = total.item() / steps
        lr, lr_image = self._rates(epoch)
        self._check_finite(epoch, loss, f"lr {lr:g}, image {lr_image:g}")
        return EpochRecord(
            epoch=epoch,
            loss=loss,
            lr=lr,
            lr_image=lr_image,
            steps=steps,
            images=begun.images,
            train_seconds=self.meter.seconds("train") - begun.train_seconds,
            cache_seconds=self.meter.seconds("cache") - begun.cache_seconds,
            step_records=begun.watch.records(),
        )

    def _watch(self, epoch: int, steps: int) -> StepWatch:
        count, whole = math.ceil(self.spec.tracking.steps / self.epochs), self.steps_per_epoch
        return StepWatch(self.spec.train, count, epoch, steps, whole, self._epochs_exactly)

    def _check_finite(self, epoch: int, loss: float, rates: str) -> None:
        when = f"epoch {epoch} of {self.epochs} ({rates})"
        if not math.isfinite(loss):
            raise DivergedError(f"the loss became {loss} in {when}: lower train.lr")
        # No loss depends on the weights after the last step.
        diverged = [name for name, value in self._trained.items() if not value.isfinite().all()]
        if diverged:
            raise DivergedError(
                f"'{diverged[0]}' is no longer finite after {when}: lower train.lr, or use another train.precision "
                f"than {self.spec.train.precision}"
            )

    def run_steps(self, epoch: int, batches: list[list[int]], watch: StepWatch | None = None) -> Tensor:
        """Take one training step on each batch; returns the sum of the losses, a scalar.

        Args:
            epoch: the images are prepared for it.
            batches: positions of the images of every batch.
            watch: is shown every step.
        """
        total = torch.zeros((), device=self.method.clip.device)
        for step, batch in enumerate(self.images.with_frozen(epoch, batches)):
            self.set_step_rates(epoch, step, len(batches))
            loss = self.take_step(self.optimizer, self.scaler, batch)
            total += loss
            if watch:
                watch.take(step, loss)
        return total

    def set_step_rates(self, epoch: int, step: int, steps: int) -> bool:
        """Set the learning rates before a step of an epoch that has so many; returns whether they may have changed."""
        recipe = self.spec.train
        if changes := step == 0 or recipe.schedule == "step":
            whole = self._epochs_exactly
            steps = steps if whole is None else self.steps_per_epoch
            set_rates(self.optimizer, recipe, epoch, step, steps, whole)
        return changes

    @property
    def _epochs_exactly(self) -> float | None:
        """Length of the training in epochs, no whole number, where it is given in steps; else None."""
        total = self.spec.train.num_steps(self.spec.data.shots)
        return None if total is None else total / self.steps_per_epoch

    def _rates(self, epoch: int) -> tuple[float, float]:
        """Learning rates at the beginning of an epoch: of all weights, and of the image tower's own."""
        recipe, whole = self.spec.train, self._epochs_exactly
        return recipe.lr_at(epoch, recipe.lr, epochs=whole), recipe.lr_at(epoch, recipe.full_lr_image, epochs=whole)

    def take_step(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, batch: Batch) -> Tensor:
        """One training step; returns the loss before it."""
        precision = self.spec.train.precision
        return training_step(self.method, optimizer, scaler, *batch[:2], precision, batch.frozen, self._loss)

    def warm_up(self, epoch: int, batch: list[int]) -> None:
        """Let torch compile the step, in the phase `compile`, without a trace in the weights.

        Args:
            epoch: the images are prepared for it.
            batch: positions of the images.
        """
        with self.meter.phase("compile"), self.without_trace():
            for _ in range(WARM_UP_STEPS):
                for one in self.images.with_frozen(epoch, [batch]):
                    with autocast(self.spec.train.precision, one.x.device):
                        loss = self._loss(self.method, one.x, one.labels, one.frozen)
                    loss.backward()
                    clear_gradients(self.optimizer)
        self._is_warm = True

    @contextmanager
    def without_trace(self) -> Iterator[None]:
        """Inside, steps may be taken that change neither weights and buffers nor what is drawn later."""
        saved = {name: value.detach().clone() for name, value in trained_state(self.method).items()}
        device = self.method.clip.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
        load_trained_state(self.method, saved)

    def probe(self, epoch: int, batch: list[int], flops: bool = True) -> None:
        """Measure peak memory and operations in separate steps that leave no trace in the weights.

        Two steps are taken, because momentum exists only from the second step on. Instead of a step of L-BFGS, whose
        iterations depend on the loss, the loss and its gradients are computed once beside memory for what it keeps.

        Args:
            epoch: the images are prepared for it.
            batch: positions of the images.
            flops: False counts no operations.
        """
        # A scale that cannot overflow: a skipped step would create no momentum to measure.
        optimizer, scaler = self._new_optimizer(), self._new_scaler(init_scale=1.0)

        def steps() -> None:
            for _ in range(2):
                for x, labels, frozen in self.images.with_frozen(epoch, [batch]):
                    if isinstance(optimizer, torch.optim.LBFGS):
                        with lbfgs_memory(optimizer):
                            precision = self.spec.train.precision
                            loss_and_gradients(self.method, optimizer, x, labels, precision, frozen)
                            clear_gradients(optimizer)
                    else:
                        precision = self.spec.train.precision
                        training_step(self.method, optimizer, scaler, x, labels, precision, frozen)

        with self.without_trace():
            if not self.compiles:
                # The meter of a CPU sees operators one by one, and not what compiled code does.
                self.meter.probe("train", steps, self.resident())
            train_flops = count_flops(steps) / (2 * len(batch)) if flops else 0.0
        momentum = [value for values in optimizer.state.values() for value in values.values() if value is not None]
        cache_flops = self.probe_cache(epoch, momentum, flops)
        if flops:
            self.flops = {"train": train_flops, "cache": cache_flops}

    def probe_cache(self, epoch: int, momentum: list[Tensor], flops: bool) -> float:
        """Measure the caching pass; returns its operations per image.

        Args:
            epoch: whose augmented images are used.
            momentum: is in memory while the cache is filled for the second and later epochs.
            flops: False counts no operations.
        """
        if not self.images.caches:
            return 0.0
        images = 0

        def fill() -> None:
            nonlocal images
            images = self.images.run_first_batch(epoch)

        self.meter.probe("cache", fill, [*self.resident(), *momentum], on_gpu=self.images.is_shared)
        return count_flops(fill) / images if flops else 0.0

    def resident(self) -> list[Tensor]:
        """All tensors that are in memory in every phase: weights, buffers, texts, cached images."""
        method = self.method
        texts = [method.prompts.ids, method.prompts.eot, *([] if method.frozen_text is None else [method.frozen_text])]
        teacher = [] if method.teacher_text is None else [method.teacher_text]
        return [*method.parameters(), *method.buffers(), *texts, *teacher, *self.images.resident()]
