"""The section `times`: rates follow from sizes and seconds, and a step is a share of the product's rate."""

from pathlib import Path

import pytest
import torch

from harness.reference.selfcheck import times
from harness.reference.selfcheck.findings import Asked
from harness.reference.speed.subject import Operation
from harness.reference.speed.timing import Sample


def test_rates_are_work_by_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "WIDTH", 64)
    monkeypatch.setattr(times, "COPIED", 1000)
    monkeypatch.setattr(times, "take_sample", lambda work, calls, device: Sample(9.0, 0.5 if work() is not None else 0))
    asked = Asked(torch.device("cpu"), (), True, tmp_path)
    assert times.product_rate(asked, "fp32") == 2 * 64**3 / 0.5
    assert times.copy_rate(asked) == 2 * 1000 / 0.5


def test_an_operation_is_a_share_of_the_product_and_of_the_copy() -> None:
    two_images = Operation(lambda: None, images=2, mib=1.0, gflop=0.5, launches=3)
    found = times.share_of("coop", "caching", two_images, 0.5, 300, peak=4e9, copied=1000.0)
    assert [(item.value, item.unit) for item in found] == [(250, "ms"), (50, "%"), (60, "%")]
    assert {item.subject for item in found} == {"coop"}


def test_work_that_takes_long_is_repeated_less(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    for seconds, number in ((0.1, times.TIMES), (1.5, 2), (9.0, 1)):
        calls.clear()
        monkeypatch.setattr(times, "take_sample", lambda *args, found=seconds: (calls.append(1), Sample(0.0, found))[1])
        assert times._median_seconds(lambda: None, torch.device("cpu")) == seconds
        assert len(calls) == 1 + number


def test_a_cpu_times_one_method_on_the_large_backbone_and_a_gpu_all(tmp_path: Path) -> None:
    pairs = {name: times.pairs_of(Asked(torch.device(name), (), False, tmp_path)) for name in ("cpu", "cuda")}
    large = {name: [method for method, backbone in found if backbone == "ViT-B-16"] for name, found in pairs.items()}
    assert len(large["cpu"]) == 1 < len(large["cuda"]) == len(pairs["cuda"]) // 2
    assert times.pairs_of(Asked(torch.device("cuda"), (), True, tmp_path)) == [("skip", "clip-emoji")]


def test_what_is_done_is_not_timed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(torch.device("cpu"), ("clip_adapter",), True, tmp_path)
    first = times.check(asked, lambda words: None)
    names = {item.quantity for item in first}
    assert {"training step", "caching, an image", "inference, an image", times.PRODUCT, times.COPY} <= names
    monkeypatch.setattr(times, "take_sample", None)
    assert times.check(asked, lambda words: None) == first
