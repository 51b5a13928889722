"""Measured costs, against bytes and operations counted by hand."""

import os
import time
from collections.abc import Callable
from mmap import PAGESIZE, mmap
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.machine.costs import PHASES, PhaseCosts, highest_peak
from harness.machine.meter import LiveBytes, Meter, count_flops, peak_rss, peak_tensor_bytes, reset_peak_rss

CPU = torch.device("cpu")
FLOAT = 4


def test_a_tensor_counts_while_it_lives() -> None:
    with LiveBytes() as watch:
        assert (watch.live, watch.peak) == (0, 0)
        a = torch.zeros(100)
        assert watch.live == 100 * FLOAT
        b = torch.zeros(10, dtype=torch.float64)
        assert watch.live == 100 * FLOAT + 80
        del a
        assert watch.live == 80
        c = b + 1
        assert watch.live == 160
        assert watch.peak == 480
        del b, c
    assert (watch.live, watch.peak) == (0, 480)


def test_views_share_their_bytes_and_keep_them_alive() -> None:
    with LiveBytes() as watch:
        a = torch.zeros(100)
        views = [a.view(10, 10), a[3:], a.reshape(20, 5).T, a.detach(), a.expand(7, 100)]
        assert watch.live == 400
        del a
        assert watch.live == 400
        del views[1:]
        assert watch.live == 400
        copy = views[0].T.contiguous()
        assert watch.live == 800
        views.clear()
        assert watch.live == 400
        del copy
        assert watch.live == 0


def test_in_place_operations_need_no_bytes() -> None:
    with LiveBytes() as watch:
        a = torch.ones(100)
        a.add_(1).mul_(2)
        a[:50].zero_()
        torch.add(a, 1, out=a)
        assert (watch.live, watch.peak) == (400, 400)


def test_several_results_and_empty_tensors() -> None:
    with LiveBytes() as watch:
        values, indices = torch.ones(10).max(dim=0, keepdim=True)
        assert watch.live == values.nbytes + indices.nbytes == 4 + 8
        empty = torch.empty(0)
        assert watch.live == 12
    assert empty.numel() == 0


def test_resident_tensors_count_once_from_the_start() -> None:
    weight = torch.ones(10, 10)
    shared = weight[2:]
    watch = LiveBytes([weight, shared, weight])
    assert (watch.live, watch.peak) == (400, 400)
    with watch:
        y = weight * 2
    assert watch.peak == 800
    del y
    assert watch.live == 400


def test_results_on_what_is_resident_do_not_count_twice() -> None:
    weight = torch.ones(10, 10)
    with LiveBytes([weight]) as watch:
        view = weight.view(-1)
        weight.add_(1)
    assert watch.peak == 400
    assert len(view) == 100


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def test_peak_of_inference() -> None:
    model, x = perceptron(), torch.randn(3, 8)

    @torch.no_grad()
    def work() -> Tensor:
        return model(x)

    weights, hidden = 8 * 16 + 16 + 16 * 4 + 4, 3 * 16
    # Highest at the ReLU: its input and its output.
    assert peak_tensor_bytes(work, [*model.parameters(), x]) == FLOAT * (weights + 3 * 8 + 2 * hidden)


def test_peak_of_training_and_twice_the_same() -> None:
    model, x = perceptron(), torch.randn(3, 8)

    def work() -> None:
        model(x).sum().backward()
        model.zero_grad(set_to_none=True)

    weights, hidden = 8 * 16 + 16 + 16 * 4 + 4, 3 * 16
    # Highest at the end: all gradients, the hidden layer's, the loss and its gradient.
    expected = FLOAT * (2 * weights + 3 * 8 + hidden + 2)
    peaks = [peak_tensor_bytes(work, [*model.parameters(), x]) for _ in range(3)]
    assert peaks == [expected] * 3


def test_what_is_saved_for_the_backward_pass_counts() -> None:
    model = nn.Sequential(*(layer for _ in range(10) for layer in (nn.Linear(32, 32), nn.Sigmoid())))
    x = torch.randn(64, 32)

    def peak(work: Callable[[], object]) -> int:
        return peak_tensor_bytes(work, [*model.parameters(), x])

    with torch.no_grad():
        without = peak(lambda: model(x))
    with_graph = peak(lambda: model(x))
    # Both hold the last sigmoid's input and output; the graph also holds the outputs of the nine before.
    assert with_graph - without == FLOAT * 64 * 32 * 9


def test_flops_of_a_matrix_product_and_a_convolution() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7
    assert count_flops(lambda: a + 1) == 0
    image, kernel = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 2, 2)
    assert count_flops(lambda: nn.functional.conv2d(image, kernel, stride=2)) == 2 * (2 * 4 * 4 * 4) * (3 * 2 * 2)


def test_flops_of_a_training_step() -> None:
    x, w = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7, requires_grad=True)
    assert count_flops(lambda: (x @ w).sum().backward()) == 3 * 2 * 3 * 5 * 7


def test_a_meter_adds_up_the_parts_of_a_phase() -> None:
    meter = Meter(CPU)
    assert set(meter.phases) == set(PHASES)
    for images in (3, 4):
        with meter.phase("train", images=images):
            time.sleep(0.02)
    with meter.phase("evaluate"):
        pass
    train = meter.phases["train"]
    assert 0.04 <= train.seconds < 2
    assert train.images == 7
    assert train.images_per_second == pytest.approx(7 / train.seconds)
    assert 0 < meter.phases["evaluate"].seconds < train.seconds
    assert meter.phases["evaluate"].images_per_second is None
    assert meter.phases["setup"] == PhaseCosts()
    assert train.peak_allocated_bytes is None


def test_a_meter_notes_the_resident_set() -> None:
    meter = Meter(CPU)
    with meter.phase("train"):
        block = torch.ones(2**26)  # 256 MiB
    with meter.phase("train"):
        del block
    peak = meter.phases["train"].peak_rss_bytes
    assert peak is not None
    assert peak >= 2**28


def test_peak_rss_sees_what_was_freed() -> None:
    reset_peak_rss()
    before = peak_rss()
    block = torch.ones(2**25)
    del block
    assert peak_rss() >= before
    assert peak_rss() >= 2**27


def test_the_peak_of_a_phase_is_its_own_and_in_bytes() -> None:
    meter = Meter(CPU)
    with meter.phase("setup"):
        # Not a tensor: in a process that has run for long, its memory may stay with the allocator.
        block = mmap(-1, 2**28)
        block[::PAGESIZE] = b"1" * (2**28 // PAGESIZE)
    block.close()
    with meter.phase("evaluate"):
        pass
    before, after = (meter.phases[name].peak_rss_bytes or 0 for name in ("setup", "evaluate"))
    assert after < before - 2**27
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert peak_rss() > 0.99 * resident


def test_a_probe_is_outside_time_and_pictures_and_keeps_the_highest_peak() -> None:
    meter = Meter(CPU)
    weight = torch.ones(100)
    for size in (50, 200, 10):
        meter.probe("train", lambda size=size: torch.ones(size), [weight])
    assert meter.phases["train"] == PhaseCosts(peak_tensor_bytes=FLOAT * 300)
    assert meter.phases["evaluate"] == PhaseCosts()


def test_a_meter_goes_on_from_an_interrupted_run() -> None:
    first = Meter(CPU)
    with first.phase("train", images=5):
        time.sleep(0.01)
    first.probe("train", lambda: torch.ones(100), [])
    saved = {name: costs.model_dump(mode="json") for name, costs in first.phases.items()}
    assert saved["train"]["images_per_second"] == pytest.approx(5 / saved["train"]["seconds"])
    second = Meter(CPU, {name: PhaseCosts.model_validate(costs) for name, costs in saved.items()})
    assert second.phases == first.phases
    with second.phase("train", images=2):
        pass
    second.probe("train", lambda: torch.ones(10), [])
    train = second.phases["train"]
    assert (train.images, train.peak_tensor_bytes) == (7, 400)
    assert train.seconds > saved["train"]["seconds"]
    # What was handed over is not changed.
    assert first.phases["train"].model_dump(mode="json") == saved["train"]


def test_the_peak_of_a_phase_is_the_allocators_on_a_gpu_and_live_bytes_on_a_cpu() -> None:
    assert PhaseCosts(peak_tensor_bytes=3, peak_rss_bytes=9).peak_bytes == 3
    assert PhaseCosts(peak_allocated_bytes=5, peak_reserved_bytes=9).peak_bytes == 5
    assert PhaseCosts(peak_rss_bytes=9).peak_bytes is None
    assert highest_peak([PhaseCosts(peak_tensor_bytes=3), PhaseCosts(), PhaseCosts(peak_tensor_bytes=7)]) == 7
    assert highest_peak([PhaseCosts(peak_rss_bytes=9)]) is None


def test_a_peak_is_only_raised() -> None:
    costs = PhaseCosts()
    for value, expected in ((None, None), (5, 5), (3, 5), (None, 5), (8, 8)):
        costs.raise_peak("peak_rss_bytes", value)
        assert costs.peak_rss_bytes == expected
