"""The training of a method, resumable after every epoch."""

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

from harness.data.sampler import BATCHES, all_view_batches
from harness.errors import DivergedError, UserError
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter, count_flops
from harness.results.epochs import EpochRecord
from harness.training.feature_cache import TrainingImages
from harness.training.optimizer import (
    build_optimizer,
    is_optimizer_state,
    load_optimizer_state,
    optimizer_state,
    set_rates,
)
from harness.training.precision import gradient_scaler, loss_scale, set_loss_scale
from harness.training.state import LOSS_SCALE, load_trained_state, trained_parameters, trained_state
from harness.training.step import training_step
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
        self.optimizer = self._new_optimizer()
        self.scaler = self._new_scaler()

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

    def draw_batches(self, epoch: int) -> list[list[int]]:
        """Positions of the images in the batches of an epoch; they depend only on seed and epoch.

        Raises:
            UserError: there are fewer training images than a batch needs.
        """
        recipe, labels = self.spec.train, self.images.pictures.labels.tolist()
        kind = recipe.batch_kind(self.spec.data.shots)
        rng = random.Random(f"batches/{self.spec.seed}/{epoch}")
        if kind == "all_views":
            batches = all_view_batches(labels, recipe.batch_size, rng, recipe.keep_remainder, self.images.views or 1)
        else:
            batches = BATCHES[kind](labels, recipe.batch_size, rng, recipe.keep_remainder)
        if not batches:
            raise UserError(
                f"train.batch_size={recipe.batch_size} is more than the {len(labels)} training images: lower it"
            )
        return batches

    def train(self, first_epoch: int, on_epoch: Callable[[EpochRecord], None]) -> None:
        """Train from `first_epoch` on, calling `on_epoch` after every epoch.

        Raises:
            DivergedError: the loss or a weight is no longer finite.
        """
        for epoch in range(first_epoch, self.spec.train.epochs):
            on_epoch(self._run_epoch(epoch))

    def _run_epoch(self, epoch: int) -> EpochRecord:
        batches = self.draw_batches(epoch)
        torch.manual_seed(random.Random(f"epoch/{self.spec.seed}/{epoch}").getrandbits(63))
        before = self.meter.phases["cache"].seconds, self.meter.phases["train"].seconds
        self.images.prepare(epoch)
        if not self.flops:
            self.probe(epoch, batches[0])
        images = sum(map(len, batches))
        with self.meter.phase("train", images=images):
            total = self.run_steps(epoch, batches)
        loss = total.item() / len(batches)
        lr, lr_image = self._rates(epoch)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss became {loss} in epoch {epoch} of {self.spec.train.epochs} (lr {lr:g}, image {lr_image:g}): "
                "lower train.lr"
            )
        # No loss depends on the weights after the last step.
        diverged = [name for name, value in trained_parameters(self.method).items() if not value.isfinite().all()]
        if diverged:
            raise DivergedError(
                f"'{diverged[0]}' is no longer finite after epoch {epoch} of {self.spec.train.epochs} (lr {lr:g}, "
                f"image {lr_image:g}): lower train.lr, or use another train.precision than {self.spec.train.precision}"
            )
        return EpochRecord(
            epoch=epoch,
            loss=loss,
            lr=lr,
            lr_image=lr_image,
            steps=len(batches),
            images=images,
            train_seconds=self.meter.phases["train"].seconds - before[1],
            cache_seconds=self.meter.phases["cache"].seconds - before[0],
        )

    def run_steps(self, epoch: int, batches: list[list[int]]) -> Tensor:
        """Take one training step on each batch; returns the sum of the losses, a scalar.

        Args:
            epoch: the images are prepared for it.
            batches: positions of the images of every batch.
        """
        total = torch.zeros((), device=self.method.clip.device)
        for step, (x, labels) in enumerate(self.images.batches(epoch, batches)):
            set_rates(self.optimizer, *self._rates(epoch, step, len(batches)))
            total += self._step(self.optimizer, self.scaler, x, labels)
        return total

    def _rates(self, epoch: int, step: int = 0, steps: int = 1) -> tuple[float, float]:
        recipe = self.spec.train
        lr_image = recipe.lr if recipe.lr_image is None else recipe.lr_image
        return recipe.lr_at(epoch, recipe.lr, step, steps), recipe.lr_at(epoch, lr_image, step, steps)

    def _step(
        self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, x: Tensor, labels: Tensor
    ) -> Tensor:
        return training_step(self.method, optimizer, scaler, x, labels, self.spec.train.precision)

    def probe(self, epoch: int, batch: list[int], flops: bool = True) -> None:
        """Measure peak memory and operations in separate steps that leave no trace in the weights.

        Two steps are taken, because momentum exists only from the second step on.

        Args:
            epoch: the images are prepared for it.
            batch: positions of the images.
            flops: False counts no operations.
        """
        saved = {name: value.detach().clone() for name, value in trained_state(self.method).items()}
        # A scale that cannot overflow: a skipped step would create no momentum to measure.
        optimizer, scaler = self._new_optimizer(), self._new_scaler(init_scale=1.0)

        def steps() -> None:
            for _ in range(2):
                for x, labels in self.images.batches(epoch, [batch]):
                    self._step(optimizer, scaler, x, labels)

        device = self.method.clip.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            self.meter.probe("train", steps, self.resident())
            train_flops = count_flops(steps) / (2 * len(batch)) if flops else 0.0
        load_trained_state(self.method, saved)
        momentum = [value for values in optimizer.state.values() for value in values.values() if value is not None]
        cache_flops = self._probe_cache(epoch, momentum, flops)
        self.flops = {"train": train_flops, "cache": cache_flops} if flops else {}

    def _probe_cache(self, epoch: int, momentum: list[Tensor], flops: bool) -> float:
        """Measure the caching pass; returns its operations per image.

        Args:
            epoch: whose augmented images are used.
            momentum: is in memory while the cache is filled for the second and later epochs.
            flops: False counts no operations.
        """
        if not self.images.is_cached:
            return 0.0
        images = 0

        def fill() -> None:
            nonlocal images
            images = self.images.run_first_batch(epoch)

        self.meter.probe("cache", fill, [*self.resident(), *momentum], on_gpu=self.images.shared is not None)
        return count_flops(fill) / images if flops else 0.0

    def resident(self) -> list[Tensor]:
        """All tensors that are in memory in every phase: weights, buffers, texts, cached images."""
        method = self.method
        texts = [method.prompts.ids, method.prompts.eot, *([] if method.frozen_text is None else [method.frozen_text])]
        return [*method.parameters(), *method.buffers(), *texts, *self.images.resident()]
