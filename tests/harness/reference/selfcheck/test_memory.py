"""The section `memory`: a byte too many is found, and on a GPU what was reserved stands beside the estimate."""

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.estimate.estimator import MeasuredPeak, measure
from harness.machine.margin import Margin, margin_of
from harness.machine.units import MIB
from harness.reference.selfcheck import memory
from harness.reference.selfcheck.findings import Asked, Finding
from harness.reference.selfcheck.specs import small_spec


def test_a_byte_too_many_names_method_and_phase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def one_more(*args: Any) -> dict[str, MeasuredPeak]:
        found = measure(*args)
        return {**found, "train": MeasuredPeak(found["train"].num_bytes + 1)}

    def check() -> list[Finding]:
        return memory.check(Asked(torch.device("cpu"), ("clip_adapter",), True, tmp_path), lambda words: None)

    assert all(item.ok for item in check())
    monkeypatch.setattr(memory, "measure", one_more)
    (found,) = check()
    assert (found.subject, found.quantity, found.ok) == ("clip_adapter", "peak of train", False)
    assert isinstance(found.value, int)
    assert found.value - 1 == found.limit


def test_on_a_gpu_the_margin_is_the_largest_ratio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    estimates = {}

    def double(spec: Any, classes: Any, device: Any, batches: Any) -> dict[str, MeasuredPeak]:
        estimate = memory.shared_estimator().estimate(spec, device="cuda", flops=False)
        estimates.setdefault(spec.method, estimate)
        factor = 3 if spec.method == "taskres" else 2
        peaks = {name: peak.num_bytes for name, peak in estimate.phases.items()}
        return {name: MeasuredPeak(peak, factor * peak) for name, peak in peaks.items()}

    monkeypatch.setattr(memory, "measure", double)
    monkeypatch.setattr(memory, "LARGE_BACKBONE", "clip-emoji")
    monkeypatch.setattr(memory, "used_mib", lambda index: 700.0)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 200 * MIB)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = Asked(torch.device("cuda"), ("taskres", "clip_adapter"), False, tmp_path)
    found = memory.check(asked, lambda words: None)
    ratios = {item.subject: item.value for item in found if item.quantity == memory.RATIO}
    small, large = {"taskres": 3, "clip_adapter": 2}, {"taskres, clip-emoji": 3, "clip_adapter, clip-emoji": 2}
    assert ratios == small | large
    margin, context = found[-2:]
    assert (margin.subject, margin.value) == ("taskres, clip-emoji", 3)
    assert context.value == 500 * MIB
    # Later runs are packed with it.
    assert margin_of(asked.device) == Margin(ratio=3, context_bytes=500 * MIB)
    allocated = next(item for item in found if item.quantity.startswith("allocated"))
    assert allocated.value == allocated.limit == estimates["taskres"].peak_bytes
    monkeypatch.setattr(memory, "used_mib", lambda index: None)
    assert str(memory.check(asked, lambda words: None)[-1].value).startswith("not kept")


def test_a_large_backbone_is_looked_at_unless_it_is_quick(tmp_path: Path) -> None:
    cpu, cuda = (torch.device(name) for name in ("cpu", "cuda"))
    assert memory.large_methods(Asked(cuda, (), True, tmp_path)) == ()
    assert memory.large_methods(Asked(cpu, (), False, tmp_path)) == ("coop",)
    assert len(memory.large_methods(Asked(cuda, (), False, tmp_path))) > 1
    spec = small_spec("coop", Asked(cpu, (), False, tmp_path), backbone=memory.LARGE_BACKBONE)
    assert (spec.backbone, spec.data.shots) == ("ViT-B-16:random", 1)
