"""How far what two settings compute is apart."""

import math

import pytest
import torch

from harness.reference.speed.subject import Outcome


def outcome(losses: list[float], gradient: list[float], logits: list[float]) -> Outcome:
    return Outcome(*map(torch.tensor, (losses, gradient, logits)))


def test_the_difference_is_the_largest_of_the_relative_distances() -> None:
    off = outcome([3.0, 4.0], [1.0, 0.0], [2.0, 0.0])
    assert off.difference(off) == 0
    assert outcome([3.0, 4.5], [1.0, 0.0], [2.0, 0.0]).difference(off) == pytest.approx(0.1)
    assert outcome([3.0, 4.5], [1.0, 0.3], [2.0, 0.0]).difference(off) == pytest.approx(0.3)
    assert outcome([3.0, 4.5], [1.0, 0.3], [2.0, 1.0]).difference(off) == pytest.approx(0.5)
    # Where nothing trains there are only logits.
    assert outcome([], [], [1.0]).difference(outcome([], [], [2.0])) == pytest.approx(0.5)


def test_a_gradient_of_nan_is_not_the_same_gradient() -> None:
    off = outcome([3.0], [1.0], [2.0])
    assert not outcome([3.0], [math.nan], [2.0]).difference(off) < 1
