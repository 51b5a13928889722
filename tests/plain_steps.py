"""The steps of optimizers, written out."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Weight:
    """A parameter that trains, how, and what the optimizer keeps of it.

    Attributes:
        value: the parameter.
        lr: its full learning rate.
        is_held: whether its rate is zero in the warm-up too.
        settings: of the optimizer: momentum, weight_decay, betas, eps.
        first: mean of the gradients so far.
        second: mean of their squares.
        steps: number of steps so far.
    """

    value: Tensor
    lr: float
    is_held: bool
    settings: dict[str, Any]
    first: Tensor | None = None
    second: Tensor | None = None
    steps: int = 0

    def step_sgd(self, lr: float) -> None:
        """A step along the momentum, into which weight decay goes as a gradient."""
        assert self.value.grad is not None
        gradient = self.value.grad + self.settings["weight_decay"] * self.value
        self.first = gradient if self.first is None else self.settings["momentum"] * self.first + gradient
        self.value.sub_(lr * self.first)

    def step_adam(self, lr: float, decoupled: bool) -> None:
        """A step of Adam; decoupled weight decay, which makes it AdamW, shrinks the weight itself."""
        assert self.value.grad is not None
        decay, (one, two) = self.settings["weight_decay"], self.settings["betas"]
        gradient = self.value.grad + (0 if decoupled else decay * self.value)
        self.value.mul_(1 - lr * decay if decoupled else 1)
        zero = torch.zeros_like(gradient)
        self.first = one * (zero if self.first is None else self.first) + (1 - one) * gradient
        self.second = two * (zero if self.second is None else self.second) + (1 - two) * gradient**2
        self.steps += 1
        root = (self.second / (1 - two**self.steps)).sqrt() + self.settings["eps"]
        self.value.sub_(lr * (self.first / (1 - one**self.steps)) / root)
