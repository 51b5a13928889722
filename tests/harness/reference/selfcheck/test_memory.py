"""The section `memory`: a byte too many is found, and on a GPU what was reserved stands beside the estimate."""

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.estimate.estimator import MeasuredPeak, measure
from harness.reference.selfcheck import memory
from harness.reference.selfcheck.findings import Asked


def test_a_byte_too_many_names_method_and_phase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def one_more(*args: Any) -> dict[str, MeasuredPeak]:
        found = measure(*args)
        return {**found, "train": MeasuredPeak(found["train"].num_bytes + 1)}

    asked = Asked(torch.device("cpu"), ("clip_adapter",), True, tmp_path)
    assert all(item.ok for item in memory.check(asked, lambda words: None))
    monkeypatch.setattr(memory, "measure", one_more)
    (found,) = memory.check(asked, lambda words: None)
    assert (found.subject, found.quantity, found.ok) == ("clip_adapter", "peak of train", False)
    assert isinstance(found.value, int)
    assert found.value - 1 == found.limit


def test_on_a_gpu_the_margin_is_the_largest_ratio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    estimates = {}

    def double(spec: Any, classes: Any, device: Any, batches: Any) -> dict[str, MeasuredPeak]:
        estimate = memory.shared_estimator().estimate(spec, device="cuda", flops=False)
        estimates[spec.method] = estimate
        factor = 3 if spec.method == "taskres" else 2
        peaks = {name: peak.num_bytes for name, peak in estimate.phases.items()}
        return {name: MeasuredPeak(peak, factor * peak) for name, peak in peaks.items()}

    monkeypatch.setattr(memory, "measure", double)
    found = memory.check(Asked(torch.device("cuda"), ("taskres", "clip_adapter"), True, tmp_path), lambda words: None)
    ratios = {item.subject: item.value for item in found if item.quantity == memory.RATIO}
    assert ratios == {"taskres": 3, "clip_adapter": 2}
    assert (found[-1].subject, found[-1].value) == ("taskres", 3)
    allocated = next(item for item in found if item.quantity.startswith("allocated"))
    assert allocated.value == allocated.limit == estimates["taskres"].peak_bytes
