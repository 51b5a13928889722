"""How a method under check is trained: on which images, with which settings, in which ways; and what comes of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.experiment.spec import EvalSpec
from methods.base import Method

CPU = torch.device("cpu")
DATASET = "emoji"
SEEN, OTHER = (
    EvalSpec(name="seen", dataset=DATASET, classes="base.base.base", splits=("val",)),
    EvalSpec(name="other", dataset=DATASET, classes="new.new.base.base", splits=("val",)),
)
SHOTS, BATCH = 4, 4
TEST_IMAGES = 5
VIEWS = 2
"""Random views of each picture, where views are kept: enough to tell them from pictures."""
# Two epochs, so that a training can be interrupted between them; no warm-up, so that both train; momentum, which shows
# which parameters got a gradient. The caching pass takes batches of the size of a training step, so that both round
# alike.
SETTINGS = (
    "train.epochs=2",
    "train.iterations_per_shot=null",
    "train.warmup_epochs=0",
    "train.momentum=0.9",
    f"train.batch_size={BATCH}",
    f"train.cache_batch_size={BATCH}",
    f"data.classes={SEEN.classes}",
    "runtime.device=cpu",
)
CHANGEABLE = ("train.lr", "train.lr_image", "train.weight_decay", "train.batches", "data.teacher_templates")


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        precision: fp32, bf16, fp16 or half.
        cached: whether the frozen stages run once per epoch, or at every step.
        speedups: whether the speed-ups are on.
        seed: of the run.
    """

    precision: str = "fp32"
    cached: bool = True
    speedups: bool = True
    seed: int = 1


PLAIN = Way()


@dataclass(frozen=True)
class Trained:
    """A method after training.

    Attributes:
        method: trained.
        losses: mean loss of each epoch.
        before: every parameter and buffer before the training.
        state: what the trainer would save: trained parameters, buffers, momentum.
    """

    method: Method
    losses: list[float]
    before: dict[str, Tensor]
    state: dict[str, Tensor]


def all_tensors(method: Method) -> dict[str, Tensor]:
    """Name -> copy of every parameter and buffer of a method."""
    named = [*method.named_parameters(), *method.named_buffers()]
    return {name: value.detach().clone() for name, value in named}
