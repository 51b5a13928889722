"""Which values of fake tensors are known."""

import pytest
import torch
from torch import Tensor

from harness.estimate.fake_tensors import FakeMode, fake_tensors


def known(make: str) -> Tensor | None:
    """The known value of `x` after some code, in which `seen` is what is known of values."""
    mode = FakeMode()
    with fake_tensors(mode) as seen:
        places: dict[str, object] = {"torch": torch, "seen": seen}
        exec(make, places)
        x = places["x"]
        assert isinstance(x, Tensor)
        return seen.value(x)


@pytest.mark.parametrize(
    "make",
    [
        "x = torch.arange(3) + 1",
        "x = torch.empty(3, dtype=torch.int64).copy_(torch.arange(1, 4))",
        "x = torch.empty(3, dtype=torch.int64).fill_(0) + torch.arange(1, 4)",
        "x = torch.empty(3, dtype=torch.int64); x[:] = torch.arange(1, 4); x = x + 0",
        "x = torch.empty(1, 3, dtype=torch.int64)[0]; x.copy_(torch.arange(1, 4)); x = x.clone()",
        "y = torch.arange(9).new_empty(3); y[:1] = 1; y[1:2] = 2; y[2:] = 3; x = y * 1",
        "x = torch.zeros_like(torch.empty(3, dtype=torch.int64)).add_(torch.arange(1, 4))",
    ],
)
def test_what_was_written_is_known(make: str) -> None:
    value = known(make)
    assert value is not None
    assert value.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "make",
    [
        "x = torch.empty(3) + 1",
        "x = torch.empty(3, dtype=torch.int64) > 0",
        "x = torch.arange(3).new_empty(3).clone()",
        "x = torch.empty_like(torch.arange(3)).view(3, 1)[:2].sum()",
        "x = torch.empty(4, dtype=torch.int64); x = torch.cat([x, torch.arange(3)])",
        "x = torch.zeros(3).copy_(torch.empty(3))",
    ],
)
def test_what_is_read_before_it_was_written_is_not(make: str) -> None:
    assert known(make) is None


def test_a_shape_that_follows_from_memory_as_it_was_is_assumed_to_be_the_largest() -> None:
    with fake_tensors(FakeMode()) as seen:
        x = torch.empty(5)
        assert x[x > 1e30].shape == (5,)
        assert seen.assumed
