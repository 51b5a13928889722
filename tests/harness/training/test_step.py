"""Hooks on the gradients of a training step."""

import torch
from torch import nn

from harness.training.step import on_gradients


def test_a_hook_sees_each_gradient_once_it_is_complete_and_only_inside() -> None:
    first, second, other = (nn.Parameter(torch.ones(2)) for _ in range(3))
    seen: list[tuple[int, list[float]]] = []

    def take(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        seen.append((id(parameter), parameter.grad.tolist()))

    def backward() -> None:
        # `first` takes part twice: its gradient is complete only when both parts are added up.
        (first * 2 + first * second + other).sum().backward()

    with on_gradients([first, second], take):
        backward()
    assert sorted(seen) == sorted([(id(first), [3.0, 3.0]), (id(second), [1.0, 1.0])])
    backward()
    assert len(seen) == 2
