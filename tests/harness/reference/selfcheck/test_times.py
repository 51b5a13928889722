"""The section `times`: rates follow from sizes and seconds, and a step is a share of the product's rate."""

from pathlib import Path

import pytest
import torch

from harness.reference.selfcheck import times
from harness.reference.selfcheck.findings import Asked
from harness.reference.speed.measurement import SpeedCosts
from harness.reference.speed.timing import Sample


def test_rates_are_work_by_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "WIDTH", 64)
    monkeypatch.setattr(times, "COPIED", 1000)
    monkeypatch.setattr(times, "take_sample", lambda work, calls, device: Sample(9.0, 0.5 if work() is not None else 0))
    asked = Asked(torch.device("cpu"), (), True, tmp_path)
    assert times.product_rate(asked) == 2 * 64**3 / 0.5
    assert times.copy_rate(asked) == 2 * 1000 / 0.5


def test_a_step_is_a_share_of_the_product() -> None:
    milliseconds, share = times._step("coop", SpeedCosts(step_seconds=0.5, step_gflop=1.0), peak=4e9)
    assert (milliseconds.value, milliseconds.unit) == (500, "ms")
    assert (share.value, share.unit) == (50, "%")
    # Nothing trains.
    assert times._step("zeroshot", SpeedCosts(), peak=4e9) == []
