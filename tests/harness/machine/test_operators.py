"""What counts as a launch."""

import torch
from torch import nn

from harness.machine.operators import CountLaunches, count_launches, count_traffic


def test_what_computes_counts_and_what_looks_or_allocates_does_not() -> None:
    x = torch.arange(6.0).view(2, 3)
    with CountLaunches() as counter:
        torch.empty(2)
        x.T.flatten(0).view(6)[None].detach()  # the transpose is copied once
        (x @ x.T).relu_()
    assert dict(counter.of) == {"clone": 1, "mm": 1, "relu_": 1}
    assert counter.total == 3


def test_a_fused_step_of_all_weights_is_one() -> None:
    weights = [nn.Parameter(torch.ones(2)) for _ in range(5)]
    optimizer = torch.optim.SGD(weights, lr=0.1, fused=True)
    for weight in weights:
        weight.grad = torch.ones(2)
    assert count_launches(optimizer.step) == 1


def test_an_index_of_truth_values_counts_like_any_other() -> None:
    x = torch.arange(4.0)
    assert count_launches(lambda: x[x > 1]) >= 2


def test_traffic_is_what_operators_read_and_write() -> None:
    one, other = torch.ones(10, 20), torch.ones(20, 30)
    # Of the product both inputs and the output; of a view nothing.
    assert count_traffic(lambda: (one @ other).t()) == 4 * (200 + 600 + 300)
    assert count_traffic(lambda: one[:5] + 1) == 4 * (100 + 100)
