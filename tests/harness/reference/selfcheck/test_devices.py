"""The section `devices`: what is in use, idle or unknown."""

from pathlib import Path

import pytest
import torch

from harness.reference.selfcheck import devices
from harness.reference.selfcheck.findings import Asked


def test_gpus_are_busy_idle_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [5000.0, 3.0, None]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(devices, "used_mib", used.__getitem__)
    monkeypatch.setattr(devices, "free_mib", lambda index: 100.0)
    found = devices.check(Asked(torch.device("cpu"), (), True, tmp_path), lambda words: None)
    assert [item.value for item in found if item.quantity.startswith("state")] == ["busy", "idle", "unknown"]
    assert [item.value for item in found if item.quantity == "memory in use"] == [5000, 3, "unknown"]
    assert next(item.value for item in found if item.quantity.startswith("threads")) == torch.get_num_threads()
    assert all(item.ok for item in found)
