"""Several methods as one: rows of shared tensors, and optimizers that step at once."""

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.training.stacked import JointOptimizer, Stack
from harness.training.state import trained_state
from methods.base import Method


class Small(nn.Module):
    """As much of a method as is stacked: parameters, a buffer of its own, whole numbers that all have, a loss."""

    order: Tensor
    scale: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(3, 4)
        self.register_buffer("scale", torch.rand(()))
        self.register_buffer("order", torch.tensor([3, 1, 0, 2]))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of scaled and reordered outputs."""
        return F.cross_entropy(self.scale * self.layer(x)[:, self.order], labels)

    def loaded(self) -> None:
        """Nothing follows from its tensors."""


def small(seed: int) -> Method:
    return cast(Method, Small(seed))


def batches(count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, 5, 3), torch.randint(0, 4, (count, 5))


def test_losses_and_gradients_are_those_of_each_method() -> None:
    methods, (x, labels) = [small(seed) for seed in (1, 2, 3)], batches(3)
    expected = []
    for method, one, own in zip(methods, x, labels, strict=True):
        loss = method.loss(one, own)
        expected.append((loss.detach(), torch.autograd.grad(loss, list(method.parameters()))))
    stack = Stack(methods)
    losses = stack.losses_and_gradients(x, labels)
    for method, found, (loss, gradients) in zip(methods, losses, expected, strict=True):
        torch.testing.assert_close(found, loss)
        for parameter, gradient in zip(method.parameters(), gradients, strict=True):
            assert parameter.grad is not None
            assert parameter.grad.stride() == parameter.stride()
            torch.testing.assert_close(parameter.grad, gradient)


def test_a_method_is_a_row_until_it_is_released() -> None:
    methods, (x, labels) = [small(seed) for seed in (1, 2)], batches(2)
    stack = Stack(methods)
    before = stack.losses_and_gradients(x, labels)
    with torch.no_grad():
        cast(Any, methods[1]).layer.weight.mul_(2)
        cast(Any, methods[1]).scale.mul_(2)
    after = stack.losses_and_gradients(x, labels)
    assert after[0] == before[0]
    assert after[1] != before[1]
    values = [{name: value.clone() for name, value in trained_state(method).items()} for method in methods]
    stack.release()
    for method, was in zip(methods, values, strict=True):
        for name, value in trained_state(method).items():
            assert torch.equal(value, was[name])
            assert value.untyped_storage().nbytes() == value.nbytes


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_optimizers_step_at_once_as_they_do_by_themselves(kind: Any) -> None:
    rates, gradients = (0.1, 0.1, 0.3), torch.randn(4, 3, 6)

    def made() -> tuple[list[nn.Parameter], list[torch.optim.Optimizer]]:
        parameters = [nn.Parameter(torch.ones(6)) for _ in rates]
        more = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        groups = [
            [{"params": [one], "lr": rate, "name": "other", "full_rate": rate}]
            for one, rate in zip(parameters, rates, strict=True)
        ]
        return parameters, [kind(group, weight_decay=0.1, fused=True, **more) for group in groups]

    own, optimizers = made()
    others, separate = made()
    joint = JointOptimizer(separate)
    for step, rows in enumerate(gradients):
        for optimizer in (*optimizers, *separate):
            optimizer.param_groups[0]["lr"] *= 1 - 0.1 * step
        joint.take_rates()
        for parameters in (own, others):
            for parameter, row in zip(parameters, rows, strict=True):
                parameter.grad = row.clone()
        for optimizer in optimizers:
            optimizer.step()
        joint.step()
        assert all(parameter.grad is None for parameter in others)
    for one, other, first, second in zip(own, others, optimizers, separate, strict=True):
        assert torch.equal(one, other)
        # Each knows what it would know by itself, so that a run is saved as ever.
        assert first.state[one].keys() == second.state[other].keys() != set()
        assert all(
            torch.equal(torch.as_tensor(first.state[one][key]), value) for key, value in second.state[other].items()
        )
