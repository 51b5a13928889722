"""The section `devices`: what is in use, idle or unknown."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.reference.selfcheck import devices
from harness.reference.selfcheck.findings import Asked, Finding


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


def test_a_second_run_must_be_noticed_and_slots_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(noticed: bool | None) -> Finding:
        alone = [True, noticed]

        @contextmanager
        def use(device: torch.device) -> Iterator[SimpleNamespace]:
            yield SimpleNamespace(alone=alone.pop(0), problem="no lock")

        monkeypatch.setattr(devices, "device_use", use)
        asked = Asked(torch.device("cpu"), (), True, tmp_path, slots=("cpu, 2 threads",))
        everything = devices.check(asked, lambda words: None)
        assert [item.value for item in everything if item.subject == "scheduler"] == ["cpu, 2 threads"]
        return next(item for item in everything if item.quantity.startswith("a second run"))

    assert found(False).ok
    assert (found(True).value, found(True).ok) == ("no", False)
    assert (found(None).value, found(None).ok) == ("unknown: no lock", False)


@pytest.mark.parametrize(("used", "ok"), [(5000.0, True), (3.0, False), (None, True)])
def test_memory_that_is_taken_must_be_seen(used: float | None, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *args, **kwargs: object())
    monkeypatch.setattr(devices, "used_mib", lambda index: used)
    assert devices.busy_is_seen(torch.device("cuda:0")).ok is ok
