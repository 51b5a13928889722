"""Times, ratios, and the file that measurements are written to."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.reference.speed import benchmark as benchmark_module
from harness.reference.speed import measurement as measurement_module
from harness.reference.speed.benchmark import Benchmark
from harness.reference.speed.measurement import SpeedCosts, median_seconds, ratios, save
from harness.reference.speed.spec import Row
from tests.harness.reference.speed.specs import spec_of, strictly

CPU = torch.device("cpu")


def test_ratios_are_of_what_both_have_and_never_of_zero() -> None:
    assert ratios(SpeedCosts(step_gflop=1.0), SpeedCosts(step_gflop=8.0, step_mib=3.0)) == {"step_gflop": 8.0}
    assert ratios(SpeedCosts(texts_gflop=0.0), SpeedCosts(texts_gflop=2.0)) == {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still but for the work's own steps: `clock.now`."""
    fake = SimpleNamespace(now=100.0)
    monkeypatch.setattr(measurement_module, "time", SimpleNamespace(perf_counter=lambda: fake.now))
    return fake


@pytest.mark.parametrize(
    ("durations", "options", "repetitions", "median"),
    [
        # At least three, however long they take; not the mean, not the first.
        ([50.0, 10.0, 20.0, 1.0], {}, 3, 20.0),
        ([50.0, 10.0, 20.0, 1.0, 1.0], {"least": 5}, 5, 10.0),
        # Short work is repeated until it took long enough, but not for ever.
        ([0.25, 0.125, 0.25, 0.25, 0.25, 9.0], {}, 5, 0.25),
        ([0.0] * 60, {}, 50, 0.0),
        ([0.0] * 60, {"most": 7}, 7, 0.0),
    ],
)
def test_times_are_medians_of_at_least_three_repetitions(
    clock: SimpleNamespace, durations: list[float], options: dict[str, int], repetitions: int, median: float
) -> None:
    waiting = iter(durations)

    def work() -> None:
        clock.now += next(waiting)

    assert median_seconds(work, CPU, **options) == pytest.approx(median)
    assert len(list(waiting)) == len(durations) - repetitions


def test_a_step_with_a_single_class_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    benchmark = Benchmark(spec_of(Row(method="skip", options={"depth": 3}), classes=2, batch_size=1, each=False), CPU)
    monkeypatch.setattr(benchmark_module, "median_seconds", lambda work, device: 2.0)
    path = save(tmp_path, benchmark.spec, list(benchmark.measure()), benchmark.machine)
    assert strictly(path.read_text())["measured"]
