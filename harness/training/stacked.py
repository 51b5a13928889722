"""Several methods of one kind as one: what they train lies side by side, and one pass gives the losses of all."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.machine.torch_internals import take_step
from harness.training.state import trained_parameters, trained_state
from methods.base import Method


class LossModule(nn.Module):
    """The loss of a method as a module, in which other tensors can take the place of the method's own.

    Args:
        method: whose loss it is.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar, of images at the method's stage and their labels (B,)."""
        return self.method.loss(x, labels)


class Stack:
    """R methods that differ in nothing but the numbers of their trained state.

    Until `release`, each tensor of a method's trained state is a row of one tensor for all methods. So whoever changes
    a method changes the stack, and the other way round.

    Args:
        methods: R, built with the same options for the same classes.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        self._states = [trained_state(method) for method in methods]
        self._trained = [trained_parameters(method) for method in methods]
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}
        # Whole numbers that all have, such as labels: an index that is the same for all is far cheaper.
        self._common: dict[str, Tensor] = {}
        self._loss = LossModule(methods[0])
        self._losses = torch.vmap(self._loss_of_one)
        for name in self._states[0]:
            self._add(name, [state[name] for state in self._states])

    def _add(self, name: str, tensors: list[Tensor]) -> None:
        """Let a tensor of every method be a row of one."""
        key, first = f"method.{name}", tensors[0]
        if not first.is_floating_point() and all(torch.equal(first, other) for other in tensors[1:]):
            self._common[key] = first
            return
        stacked = torch.stack([tensor.detach() for tensor in tensors])
        for tensor, row in zip(tensors, stacked, strict=True):
            tensor.data = row
        if name in self._trained[0]:
            self._parameters[key] = stacked.requires_grad_(True)
        else:
            self._buffers[key] = stacked

    def _loss_of_one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, labels: Tensor) -> Any:
        return functional_call(self._loss, (parameters, buffers, self._common), (x, labels))

    def losses_and_gradients(self, x: Tensor, labels: Tensor) -> Tensor:
        """The loss (R,) of each method on its own batch; the gradients become those of the methods' parameters.

        Args:
            x: images (R, B, ...) at the methods' stage.
            labels: (R, B).

        Raises:
            RuntimeError: torch cannot compute this loss for several methods at once.
        """
        losses: Tensor = self._losses(self._parameters, self._buffers, x, labels)
        gradients = torch.autograd.grad(losses.sum(), list(self._parameters.values()))
        for key, gradient in zip(self._parameters, gradients, strict=True):
            # As laid out in memory as the parameters: fused optimizers do not look.
            for trained, row in zip(self._trained, gradient.contiguous(), strict=True):
                trained[key.removeprefix("method.")].grad = row
        return losses.detach()

    def release(self) -> None:
        """Give every method tensors of its own again."""
        for state in self._states:
            for name, tensor in state.items():
                if f"method.{name}" not in self._common:
                    tensor.data = tensor.data.clone()


class JointOptimizer:
    """Takes the steps of several optimizers of one kind as one; each keeps its own settings and what it knows.

    Args:
        optimizers: none of which needs the loss for its step.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._joint = copy.copy(optimizers[0])
        self._joint.state = defaultdict(dict)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    self._joint.state[parameter] = optimizer.state[parameter]
        self.take_rates()

    def take_rates(self) -> None:
        """Take the settings that the optimizers have now; groups with equal ones are treated together."""
        found: list[dict[str, Any]] = []
        for group in self._groups:
            settings = {key: value for key, value in group.items() if key not in ("params", "name", "full_rate")}
            alike = next((one for one in found if one["settings"] == settings), None)
            if alike is None:
                found.append(alike := {"settings": settings, "params": []})
            alike["params"] += group["params"]
        self._joint.param_groups = [{**one["settings"], "params": one["params"]} for one in found]

    def step(self) -> None:
        """Take a step along the gradients, and free them."""
        take_step(self._joint)
        for group in self._joint.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
