"""Ratios, and the file that measurements are written to."""

import json
from pathlib import Path

import pytest
import torch

from harness.reference.speed import benchmark as benchmark_module
from harness.reference.speed.benchmark import Benchmark
from harness.reference.speed.measurement import Load, SpeedCosts, ratios, save
from harness.reference.speed.spec import Row
from harness.reference.speed.timing import Spread
from tests.harness.reference.speed.specs import at_once, spec_of, strictly

CPU = torch.device("cpu")


def test_ratios_are_of_what_both_have_and_never_of_zero() -> None:
    assert ratios(SpeedCosts(step_gflop=1.0), SpeedCosts(step_gflop=8.0, step_mib=3.0), {}) == {"step_gflop": 8.0}
    assert ratios(SpeedCosts(texts_gflop=0.0), SpeedCosts(texts_gflop=2.0), {}) == {}


def test_the_ratio_of_cpu_seconds_is_the_median_over_pairs() -> None:
    on = SpeedCosts(step_cpu_seconds=1.0, step_seconds=1.0)
    off = SpeedCosts(step_cpu_seconds=1.06, step_seconds=5.24)
    spread = Spread(median=1.07, low=1.06, high=1.08, least=1.0, most=1.1, pairs=5)
    assert ratios(on, off, {"step": spread}) == {"step_cpu_seconds": 1.07, "step_seconds": 5.24}


def test_a_step_with_a_single_class_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    benchmark = Benchmark(spec_of(Row(method="skip", options={"depth": 3}), classes=2, batch_size=1, each=False), CPU)
    monkeypatch.setattr(benchmark_module, "time_in_turn", at_once)
    measured = list(benchmark.measure())
    path = save(tmp_path, benchmark.spec, measured, benchmark.machine, Load(0.5, None))
    written = strictly(path.read_text())
    assert [item["setting"] for item in written["measured"]] == ["off", "on"]
    assert written["load"] == {"before": 0.5, "after": None}
    assert written["measured"][1]["spreads"]["step"]["agree"] is True
    assert json.loads(path.read_text()) == written
