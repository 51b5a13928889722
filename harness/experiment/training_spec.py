"""How a run trains, and what it chooses on validation pictures: two sections of a spec."""

import math
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from harness.experiment.settings import Section

Precision = Literal["fp32", "tf32", "bf16", "fp16", "half"]
Compile = Literal["none", "default", "graphs"]
BatchKind = Literal["random", "same_class", "all_views"]
OptimizerKind = Literal["sgd", "adam", "adamw", "lbfgs"]
ScheduleKind = Literal["epoch", "step", "constant"]

# With fewer shots the authors of Skip Tuning mix the classes of a batch.
SAME_CLASS_SHOTS = 4
MOST_CACHED = 64
"""Pictures a batch of the caching passes, if the run leaves their number open and memory allows it."""


class TrainSpec(Section):
    """How a run trains."""

    epochs: int = Field(10, ge=0, description="passes over the training pictures")
    iterations_per_shot: int | None = Field(
        None, ge=1, description="training steps for each of data.shots, instead of epochs; null: epochs decide"
    )
    batch_size: int | None = Field(
        4, ge=1, description="pictures a step; a smaller remainder is dropped; null: all training pictures"
    )
    batches: BatchKind = Field(
        "random",
        description="random, same_class (every batch from one class; random below 4 shots), or all_views (from all "
        "views of all pictures together)",
    )
    keep_remainder: StrictBool | Literal["alone"] = Field(
        False,
        description="train on a remainder smaller than a batch too; false: only if there are no more pictures than "
        "that, as in Dassl; alone: says the same",
    )
    optimizer: OptimizerKind = Field(
        "sgd",
        description="sgd, adam, adamw (whose weight decay is decoupled), or lbfgs (all pictures at once, line search, "
        "no weight decay, started anew in each epoch)",
    )
    lbfgs_iterations: int = Field(20, ge=1, description="lbfgs: most iterations of an epoch")
    betas: tuple[float, float] = Field((0.9, 0.999), description="adam, adamw: decay of the two moments")
    eps: float = Field(1e-8, gt=0, description="adam, adamw: added to the root of the second moment")
    lr: float = Field(2e-3, ge=0, description="learning rate")
    lr_image: float | None = Field(None, ge=0, description="learning rate of the image tower's own weights; null: lr")
    lr_min: float = Field(0.0, ge=0, description="learning rate at the end of the cosine")
    schedule: ScheduleKind = Field(
        "epoch", description="when the cosine moves: epoch, step (after each batch), or constant (not at all)"
    )
    warmup_epochs: int = Field(0, ge=0, description="first epochs at warmup_lr")
    warmup_lr: float = Field(1e-5, ge=0, description="learning rate of all weights during warm-up")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: momentum")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay, on every trained tensor")
    precision: Precision = Field(
        "fp32",
        description="fp32; tf32: its products in TF32, on a GPU; bf16, fp16: autocast; half: weights in float16 too, "
        "as the official code trains",
    )
    compile: Compile = Field(
        "none",
        description="the loss and its gradients: none (operator by operator), default (compiled by torch), graphs "
        "(and on a GPU replayed as CUDA graphs)",
    )
    cache: Literal["none", "fresh", "once"] = Field(
        "fresh",
        description="frozen stages: none (run at every step), fresh (once an epoch, same result), "
        "once (the first epoch's augmented pictures serve all epochs)",
    )
    validate_every: int | None = Field(
        None, ge=1, description="evaluate after every so many epochs, test pictures excepted; null: only at the end"
    )
    views: int | None = Field(
        None, ge=1, description="random views of each training picture, epoch e uses view e mod views; null: ever new"
    )
    fit_views: int | None = Field(
        None,
        ge=1,
        description="random views that a closed form or cache of features is computed from; null: views or 1",
    )
    cache_batch_size: int | None = Field(
        None,
        ge=1,
        description="pictures a batch when the cache is filled; null: as many as take no more memory than a training "
        f"step, at most {MOST_CACHED}",
    )

    @property
    def full_lr_image(self) -> float:
        """Learning rate of the image tower's own weights, before the schedule."""
        return self.lr if self.lr_image is None else self.lr_image

    @property
    def caches(self) -> bool:
        """Whether the outputs of frozen stages are kept."""
        return self.cache != "none"

    def batch_kind(self, shots: int) -> BatchKind:
        """How the images of a batch are chosen: as `batches` says, but not of one class below 4 shots."""
        return "random" if self.batches == "same_class" and shots < SAME_CLASS_SHOTS else self.batches

    def keeps_remainder(self, pictures: int) -> bool:
        """Whether a remainder smaller than a batch is trained on, with so many training pictures."""
        return self.keep_remainder is True or (self.batch_size is not None and pictures < self.batch_size)

    def num_steps(self, shots: int) -> int | None:
        """Steps of the whole training, where its length is given in steps and not in epochs; else None."""
        return self.iterations_per_shot * shots if self.iterations_per_shot and self.epochs else None

    def num_epochs(self, shots: int, steps: int) -> int:
        """How many epochs a training has, the last of which may be cut.

        Args:
            shots: training images a class that were asked for.
            steps: of a whole epoch.
        """
        total = self.num_steps(shots)
        return self.epochs if total is None else math.ceil(total / steps)

    @property
    def conflict(self) -> str | None:
        """What is wrong between settings that are right by themselves; None if nothing is."""
        if self.batch_size is None and self.batches == "same_class":
            return "train.batch_size=null is one batch of all pictures: set train.batches=random"
        if self.optimizer == "lbfgs" and self.batch_size is not None:
            return "train.optimizer=lbfgs needs all pictures at once: set train.batch_size=null"
        if self.optimizer == "lbfgs" and self.precision in ("fp16", "half"):
            return f"train.optimizer=lbfgs needs more digits than {self.precision} has: set train.precision=fp32"
        return None

    def lr_at(self, epoch: int, lr: float, step: int = 0, steps: int = 1, epochs: float | None = None) -> float:
        """Learning rate of weights whose full rate is `lr`: the warm-up's, then a cosine from `lr` to `lr_min`.

        1/2 (1 + cos(pi (e - w) / E)) of the way, with epoch e, w warm-up epochs and E epochs; with `schedule: step`,
        parts of an epoch count.

        Args:
            epoch: 0, 1, ...
            lr: full rate.
            step: 0, 1, ... of the epoch.
            steps: of a whole epoch.
            epochs: E, which is no whole number where the last epoch is cut; None: that of the recipe.
        """
        if epoch < self.warmup_epochs:
            return self.warmup_lr
        if self.schedule == "constant":
            return lr
        passed = epoch - self.warmup_epochs + (step / steps if self.schedule == "step" else 0)
        return self.lr_min + (lr - self.lr_min) * 0.5 * (1 + math.cos(math.pi * passed / (epochs or self.epochs)))


class SelectSpec(Section):
    """What is chosen on validation pictures within a run: the epoch that is kept, and what `Method.search` chooses."""

    shots: Annotated[int, Field(ge=1)] | Literal["shots", "all"] | None = Field(
        None, description="validation pictures a class: a number, shots (as many as data.shots), all; null: at most 4"
    )
    pictures: Literal["val", "test"] = Field(
        "val", description="what the method's own search looks at: val, or test, which repeats leaky published code"
    )
    epoch: Literal["last", "first_best", "last_best"] = Field(
        "last", description="weights that are kept: of the last epoch, or of the first or last of the best epochs"
    )
    epoch_pictures: Literal["val", "test"] = Field(
        "val", description="what the best epoch is judged on: val, or test, which repeats leaky published code"
    )
