"""Minimising a function of a tensor, and where it stops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.minimise import minimise
from harness.estimate.fake_tensors import FakeMode, fake_tensors


def bowl(point: Tensor) -> Tensor:
    """Minimal at (1, 2; 3, 4), and much steeper in one direction than in another."""
    target = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    return (torch.tensor([1.0, 100.0], dtype=torch.float64) * (point - target).square()).sum()


def start() -> Tensor:
    return torch.zeros(2, 2, dtype=torch.float64)


def gradient_at(point: Tensor) -> Tensor:
    point = point.clone().requires_grad_()
    return torch.autograd.grad(bowl(point), point)[0]


@torch.no_grad()
def test_the_minimum_is_found_in_the_shape_of_the_start() -> None:
    found = minimise(bowl, start(), iterations=100, tolerance=1e-9)
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    assert not found.requires_grad


def test_it_stops_at_the_tolerance_of_the_gradient_and_not_later() -> None:
    loose = minimise(bowl, start(), iterations=100, tolerance=1.0)
    assert 1e-6 < gradient_at(loose).abs().max() <= 1.0
    assert torch.equal(minimise(bowl, start(), iterations=100, tolerance=1e3), start())


def test_it_stops_after_the_iterations() -> None:
    once = minimise(bowl, start(), iterations=1, tolerance=1e-9)
    assert 0 < bowl(once) < bowl(start())
    assert bowl(minimise(bowl, start(), iterations=2, tolerance=1e-9)) < bowl(once)


def test_a_logistic_regression_stops_near_its_minimum_and_not_there() -> None:
    x = torch.tensor([[0.0, 1.0], [1.0, 0.5], [2.0, 2.0], [3.0, 0.0], [1.5, 3.0], [0.5, 0.2]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 2, 0])

    def objective(w: Tensor) -> Tensor:
        return F.cross_entropy(x @ w[:, :2].T + w[:, 2], labels) + w[:, :2].square().sum() / (2 * 100 * len(x))

    found = minimise(objective, torch.zeros(3, 3, dtype=torch.float64), iterations=1000, tolerance=1e-4)
    exact = minimise(objective, torch.zeros(3, 3, dtype=torch.float64), iterations=1000, tolerance=1e-10)
    assert 1e-5 < (found - exact).abs().max() < 1
    # The penalty leaves no common offset of the weights of all classes.
    torch.testing.assert_close(found[:, :2].sum(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_shapes_alone_give_the_start() -> None:
    with fake_tensors(FakeMode()):
        assert minimise(lambda point: point.square().sum(), start(), 10, 1e-4).shape == (2, 2)


def test_a_function_without_a_gradient_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        minimise(lambda point: point.detach().sum(), start(), 10, 1e-4)
