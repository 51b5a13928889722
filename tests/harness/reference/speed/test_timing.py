"""Times of two ways to compute, taken in turn."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from harness.reference.speed import timing as timing_module
from harness.reference.speed.timing import Sample, Spread, Timings, medians, time_in_turn

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Clocks that stand still but for the work's own steps: `cpu` and `wall`."""
    fake = SimpleNamespace(cpu=100.0, wall=200.0, order=[])
    monkeypatch.setattr(
        timing_module,
        "time",
        SimpleNamespace(perf_counter=lambda: fake.wall, process_time=lambda: fake.cpu),
    )
    return fake


def work(clock: SimpleNamespace, name: str, cpu: float, wall: Callable[[], float]) -> Callable[[], None]:
    def run() -> None:
        clock.order.append(name)
        clock.cpu += cpu
        clock.wall += wall()

    return run


def test_both_are_timed_in_turn_and_a_burst_of_others_changes_no_ratio(clock: SimpleNamespace) -> None:
    # Others slow the machine five times, as long as `off` runs: by the wall clock off takes five times as long.
    off, on = work(clock, "off", 1.06, lambda: 5.3), work(clock, "on", 1.0, lambda: 1.0)
    timings = time_in_turn(off, on, CPU, pairs=5)
    # After a first call of each, which says how often short work has to be repeated.
    assert clock.order == ["off", "on"] * 6
    assert timings.spread
    assert timings.spread.median == pytest.approx(1.06)
    assert timings.spread.agree
    assert medians(timings.reference) == Sample(pytest.approx(1.06), pytest.approx(5.3))


def test_more_pairs_are_taken_while_they_disagree(clock: SimpleNamespace) -> None:
    seconds = iter([1.0, 9.0] * 50)

    def off() -> None:
        clock.cpu += next(seconds)
        clock.wall += 2.0

    timings = time_in_turn(off, work(clock, "on", 1.0, lambda: 1.0), CPU, pairs=4)
    assert timings.spread
    assert timings.spread.pairs == 12
    assert not timings.spread.agree
    assert (timings.spread.least, timings.spread.most) == (pytest.approx(1.0), pytest.approx(9.0))


def test_short_work_is_repeated_within_a_sample_and_in_more_pairs(clock: SimpleNamespace) -> None:
    off, on = work(clock, "off", 0.001, lambda: 0.001), work(clock, "on", 0.0005, lambda: 0.0005)
    timings = time_in_turn(off, on, CPU, pairs=2)
    assert timings.spread
    assert timings.spread.median == pytest.approx(2.0)
    assert timings.spread.pairs > 20
    assert clock.order[2:22] == ["off"] * 20
    assert clock.order[22:62] == ["on"] * 40


def test_pairs_agree_where_the_middle_half_is_narrow() -> None:
    def spread(low: float, high: float) -> Spread:
        return Spread(1.0, low, high, 0.1, 10.0, 5)

    assert spread(0.96, 1.04).agree
    assert not spread(0.9, 1.04).agree


def test_on_a_gpu_wall_seconds_are_compared() -> None:
    samples = tuple(Sample(cpu=1.0, wall=value) for value in (2.0, 4.0))
    ones = tuple(Sample(cpu=1.0, wall=1.0) for _ in samples)
    assert Timings(samples, ones, on_gpu=True).ratios() == [2.0, 4.0]
    assert Timings(samples, ones).ratios() == [1.0, 1.0]
    assert Timings(samples, tuple(Sample(0.0, 0.0) for _ in samples)).spread is None
