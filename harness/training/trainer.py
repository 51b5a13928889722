"""The training of a method, resumable after every epoch."""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from harness.data.sampler import BATCHES
from harness.errors import DivergedError, UserError
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter, count_flops
from harness.machine.units import MIB
from harness.results.record import EpochRecord
from harness.training.feature_cache import TrainingImages
from harness.training.precision import autocast, gradient_scaler, loss_scale, set_loss_scale
from methods.base import Method

# Names in the saved state: momentum of a parameter, and the loss scale.
MOMENTUM = "momentum."
LOSS_SCALE = "loss_scale"
# Size of the gradients that a step within a backward pass waits for.
PART_BYTES = 16 * MIB
# The parameter group of the image tower's own weights.
IMAGE_GROUP = "image"


def trained_parameters(method: Method) -> dict[str, nn.Parameter]:
    """Name -> parameter, of all parameters that train."""
    return {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}


def trained_state(method: Method) -> dict[str, Tensor]:
    """The content of a checkpoint: trained parameters and the method's own buffers."""
    buffers = {name: value for name, value in method.named_buffers() if not name.startswith("clip.")}
    return {**trained_parameters(method), **buffers}


def load_trained_state(method: Method, state: dict[str, Tensor]) -> None:
    """Load the tensors of a checkpoint into a method.

    Raises:
        UserError: the checkpoint is from another method, other options or another number of classes.
    """
    own = trained_state(method)
    if own.keys() != state.keys() or any(own[name].shape != state[name].shape for name in own):
        raise UserError("the checkpoint does not fit this method and its options: it was made by another run")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def build_optimizer(
    method: Method,
    lr: float,
    lr_image: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    precision: str = "fp32",
) -> torch.optim.SGD:
    """SGD for the parameters that train, with the image tower's own weights in a group of their own.

    Args:
        method: all its parameters that train have weight decay, as in the authors' code.
        lr: learning rate.
        lr_image: learning rate of the image tower's own weights; None: `lr`.
        momentum: of SGD.
        weight_decay: of every tensor.
        precision: of the training.
    """
    in_image_tower = {id(parameter) for parameter in method.clip.image.parameters()}
    groups: dict[str, list[nn.Parameter]] = {IMAGE_GROUP: [], "other": []}
    for parameter in trained_parameters(method).values():
        groups[IMAGE_GROUP if id(parameter) in in_image_tower else "other"].append(parameter)
    rates = {IMAGE_GROUP: lr if lr_image is None else lr_image, "other": lr}
    # Fused SGD is faster and needs no scratch memory. But with half-precision weights the reference code rounds after
    # every term; and if a loss scale skips the first step, torch's fused SGD continues from a momentum that is not set.
    fused = precision in ("fp32", "bf16")
    return torch.optim.SGD(
        [{"params": params, "lr": rates[name], "name": name} for name, params in groups.items() if params],
        momentum=momentum,
        weight_decay=weight_decay,
        fused=fused,
    )


def training_step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    x: Tensor,
    labels: Tensor,
    precision: str,
) -> Tensor:
    """One training step; returns the loss, a scalar.

    Args:
        method: with the training classes set.
        optimizer: of its parameters.
        scaler: loss scale; enabled for fp16 only.
        x: images at the method's `image_start`.
        labels: (B,).
        precision: of the computation.
    """
    with autocast(precision, x.device):
        loss = method.loss(x, labels)
    # A loss scale must see all gradients before the first weight changes.
    in_parts = method.clip.speedups.step_in_backward and not scaler.is_enabled()
    with stepping_in_parts(optimizer) if in_parts else nullcontext():
        scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    # Free the gradients now, so that they do not add to the peak memory of the next forward pass.
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


@contextmanager
def on_gradients(parameters: Iterable[Tensor], take: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside, call `take` with a parameter as soon as a backward pass has computed its gradient."""
    hooks = [parameter.register_post_accumulate_grad_hook(take) for parameter in parameters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def stepping_in_parts(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, a backward pass updates weights whenever gradients of PART_BYTES are complete, and frees these gradients.

    A gradient is complete when nothing in the pass needs its weight any more, and SGD treats each weight separately. So
    the result is that of one step after the pass. The remaining gradients are left for that step.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if sum(parameter.nbytes for parameter in parameters) <= PART_BYTES:
        yield
        return
    gathered = 0

    def on_gradient(parameter: Tensor) -> None:
        nonlocal gathered
        gathered += parameter.nbytes
        if gathered >= PART_BYTES:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            gathered = 0

    with on_gradients(parameters, on_gradient):
        yield


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

    def _new_optimizer(self) -> torch.optim.SGD:
        recipe = self.spec.train
        return build_optimizer(
            self.method, recipe.lr, recipe.lr_image, recipe.momentum, recipe.weight_decay, recipe.precision
        )

    def _new_scaler(self, **options: float) -> torch.amp.GradScaler:
        return gradient_scaler(self.spec.train.precision, self.method.clip.device, **options)

    def state(self) -> dict[str, Tensor]:
        """Everything that training needs to continue: trained tensors, momentum and, for fp16, the loss scale."""
        names = {id(parameter): name for name, parameter in trained_parameters(self.method).items()}
        momentum = {
            MOMENTUM + names[id(parameter)]: values["momentum_buffer"]
            for parameter, values in self.optimizer.state.items()
            if values.get("momentum_buffer") is not None
        }
        scale = {LOSS_SCALE: loss_scale(self.scaler)} if self.scaler.is_enabled() else {}
        return {**trained_state(self.method), **momentum, **scale}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            UserError: it is the state of another training.
        """
        weights = {name: value for name, value in state.items() if not name.startswith((MOMENTUM, LOSS_SCALE))}
        load_trained_state(self.method, weights)
        for name, parameter in trained_parameters(self.method).items():
            if MOMENTUM + name in state:
                momentum = state[MOMENTUM + name].to(parameter.device)
                self.optimizer.state[parameter]["momentum_buffer"] = momentum
        if LOSS_SCALE in state:
            set_loss_scale(self.scaler, state[LOSS_SCALE])

    def draw_batches(self, epoch: int) -> list[list[int]]:
        """Positions of the images in the batches of an epoch; they depend only on seed and epoch.

        Raises:
            UserError: there are fewer training images than a batch needs.
        """
        recipe, labels = self.spec.train, self.images.pictures.labels.tolist()
        kind = recipe.batch_kind(self.spec.data.shots)
        batches = BATCHES[kind](labels, recipe.batch_size, random.Random(f"batches/{self.spec.seed}/{epoch}"))
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
        self._set_lr(epoch)
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
        for x, labels in self.images.batches(epoch, batches):
            total += self._step(self.optimizer, self.scaler, x, labels)
        return total

    def _rates(self, epoch: int) -> tuple[float, float]:
        recipe = self.spec.train
        lr_image = recipe.lr if recipe.lr_image is None else recipe.lr_image
        return recipe.lr_at(epoch, recipe.lr), recipe.lr_at(epoch, lr_image)

    def _set_lr(self, epoch: int) -> None:
        lr, lr_image = self._rates(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr_image if group["name"] == IMAGE_GROUP else lr

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
        indices = self.images.pictures.in_order(self.spec.train.cache_batch_size)[:1]

        def fill() -> None:
            for pixels in self.images.pixels(epoch, indices):
                self.images.run_frozen(pixels)

        self.meter.probe("cache", fill, [*self.resident(), *momentum])
        return count_flops(fill) / len(indices[0]) if flops else 0.0

    def resident(self) -> list[Tensor]:
        """All tensors that are in memory in every phase: weights, buffers, texts, cached images."""
        method = self.method
        texts = [method.prompts.ids, method.prompts.eot, *([] if method.frozen_text is None else [method.frozen_text])]
        return [*method.parameters(), *method.buffers(), *texts, *self.images.resident()]
