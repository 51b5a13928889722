"""Estimates of runs with a ResNet: to the byte what the runs measure."""

from pathlib import Path

import pytest

from harness.estimate.estimator import Estimator
from tests.harness.estimate.small_runs import Make, estimated_peaks, peaks_of, run, small_spec

DEPTHS = {"skip": ["skip.depth=2", "skip.class_ratio=1"], "finetune": ["finetune.depth=0"]}


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        ("coop", "fp32"),
        ("skip", "fp32"),
        ("skip", "half"),
        ("finetune", "fp32"),
        ("tip_adapter_f", "fp32"),
    ],
)
def test_peaks_and_operations_are_those_of_a_real_run(
    method: str, precision: str, make_spec: Make, tiny_resnet: Path, tmp_path: Path
) -> None:
    depth = DEPTHS.get(method, [])
    spec = small_spec(make_spec, method, f"train.precision={precision}")
    if depth:
        spec = small_spec(make_spec, method, f"train.precision={precision}", *depth)
    spec = spec.model_copy(update={"backbone": str(tiny_resnet)})
    estimate, costs = Estimator().estimate(spec), run(spec, tmp_path)
    assert estimated_peaks(estimate) == peaks_of(costs)
    assert estimate.cache_bytes == costs["cache_bytes"]
    assert estimate.checkpoint_bytes == costs["checkpoint_bytes"]
    assert estimate.train_flops_per_image == costs["train_flops_per_image"]
    assert estimate.cache_flops_per_image == costs["cache_flops_per_image"]
    if method == "skip":
        # Feature maps of 32 x 8 x 8 after two bottlenecks of this width, of every shot.
        numbers = 2 if precision == "half" else 4
        assert estimate.cache_bytes == estimate.train_images * 64 * 8 * 8 * numbers
