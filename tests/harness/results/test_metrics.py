"""Metrics: how each is taken from results, by hand."""

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import UserError
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.spec import RunSpec
from harness.results.metrics import (
    METRICS,
    EvaluationMetric,
    RunMetric,
    SummaryMetric,
    base_new_harmonic_mean,
    find_metric,
    harmonic_mean,
    mean_values,
    metric_values,
    target_accuracy,
)
from harness.results.record import Result
from tests.made_up_results import MIB, a_result

MakeSpec = Callable[..., RunSpec]
PHASES: dict[str, dict[str, Any]] = {
    "setup": {"seconds": 0.5, "peak_tensor_bytes": 50 * MIB},
    "cache": {"seconds": 1.5, "images": 30, "peak_tensor_bytes": 30 * MIB},
    "train": {"seconds": 4.0, "images": 100, "peak_tensor_bytes": 20 * MIB},
    "evaluate": {"seconds": 9.0, "images": 900, "peak_tensor_bytes": 10 * MIB},
}


@pytest.fixture
def result(make_spec: MakeSpec) -> Result:
    costs = {"phases": PHASES, "train_flops_per_image": 3e9, "cache_flops_per_image": 2e9}
    return a_result(make_spec("skip"), {"base": 80.0, "new": 60.0}, {}, costs=costs)


def test_every_metric_of_a_run(result: Result) -> None:
    assert metric_values(result) == pytest.approx(
        {
            "accuracy.base": 80.0,
            "accuracy.new": 60.0,
            "accuracy": 70.0,
            "ece.base": 3.0,
            "ece.new": 3.0,
            "ece": 3.0,
            "H": 2 * 80 * 60 / 140,
            "steps_seconds": 4.0,
            "cache_seconds": 1.5,
            "steps_throughput": 25.0,
            "steps_memory": 20.0,
            "peak_memory": 50.0,
            "train_memory": 30.0,
            "train_seconds": 5.5,
            "train_flops": 30 * 2e9 + 100 * 3e9,
        }
    )


def test_what_was_not_measured_is_no_metric(make_spec: MakeSpec) -> None:
    phases = {"train": {"seconds": 0.0}, "evaluate": {"seconds": 9.0, "images": 900}}
    result = a_result(make_spec("zeroshot"), {"base": 80.0}, phases)
    found = metric_values(result)
    assert found.keys() == {"accuracy.base", "accuracy", "ece.base", "ece", "train_seconds", "train_flops"}
    assert (found["train_seconds"], found["train_flops"]) == (0.0, 0.0)


def test_metrics_of_several_seeds_are_means_and_h_is_of_the_means(result: Result, make_spec: MakeSpec) -> None:
    other = a_result(make_spec("skip", seed=2), {"base": 50.0, "new": 90.0}, {"train": {"seconds": 8.0}})
    found = mean_values([result, other])
    assert (found["accuracy.base"], found["accuracy.new"]) == (65.0, 75.0)
    assert found["H"] == pytest.approx(statistics.harmonic_mean([65.0, 75.0]))
    assert found["steps_seconds"] == 6.0
    # Of the one run that measured it.
    assert found["steps_memory"] == 20.0


def test_harmonic_means_of_base_and_new() -> None:
    assert base_new_harmonic_mean("emoji", {"base": 60.0, "new": 30.0}) == pytest.approx(harmonic_mean(60, 30)) == 40.0
    assert base_new_harmonic_mean("emoji", {"base": 0.0, "new": 0.0}) == 0.0
    assert base_new_harmonic_mean("emoji", {"base": 60.0}) is None
    assert base_new_harmonic_mean("emoji", {"all": 60.0}) is None


def test_the_source_is_no_target() -> None:
    assert target_accuracy("imagenet", {"imagenet": 90.0, "dtd": 40.0, "food101": 60.0}) == 50.0
    assert target_accuracy("imagenet", {"imagenet": 90.0}) is None
    # Parts of one data set are no targets.
    assert target_accuracy("emoji", {"base": 60.0, "new": 50.0}) is None


def test_names_titles_and_wandb_keys_are_there_once() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    for values in ([m.title for m in METRICS.values()], [m.wandb for m in METRICS.values()]):
        assert len(set(values)) == len(METRICS)
    assert all(isinstance(m, EvaluationMetric | SummaryMetric | RunMetric) for m in METRICS.values())


def test_every_protocol_is_judged_by_a_metric() -> None:
    assert {protocol.headline for protocol in PROTOCOLS.values()} <= METRICS.keys()


def test_a_value_is_shown_in_the_unit_of_its_title() -> None:
    assert METRICS["train_flops"].shown(155.44e9) == "155.4"
    assert METRICS["accuracy"].shown(61.236) == "61.24"
    assert METRICS["steps_throughput"].shown(284.4) == "284"


def test_metrics_are_found_by_name_and_of_one_evaluation() -> None:
    assert find_metric("H") is METRICS["H"]
    assert find_metric("accuracy") is find_metric("accuracy.new") is METRICS["accuracy"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("accurcy", "Did you mean 'accuracy'?"),
        ("train_memry", "Did you mean 'train_memory'?"),
        ("train_memory.base", "Did you mean 'train_memory'?"),
        ("H.base", "Known: H, accuracy, accuracy.NAME, "),
    ],
)
def test_an_unknown_metric_is_an_error_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        find_metric(name)
    assert str(caught.value).startswith(f"unknown metric '{name}'.")
    assert hint in str(caught.value)
