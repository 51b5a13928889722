"""Slots: which devices, how many runs on each, and none that is in use."""

from pathlib import Path

import pytest
import torch

from harness.errors import UserError
from harness.experiment.settings import validate
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.device import DeviceUse, check_idle, device_use, physical, used_mib
from harness.schedule.slots import make_slots, number_of_cores


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of four GPUs, as far as slots can see; the second has 9000 MiB in use."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\nif [ "$2" = 1 ] || [ "$2" = GPU-b ]; then echo 9000; else echo 3; fi\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


def test_without_a_gpu_there_is_one_slot_with_all_cores(make_spec: object) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (slot,) = make_slots(ScheduleSpec(), [])
    assert (slot.device, slot.threads, slot.shared) == ("cpu", None, False)
    slots = make_slots(ScheduleSpec(runs_per_device=2), [])
    assert [(slot.threads, slot.shared) for slot in slots] == [(max(1, number_of_cores() // 2), True)] * 2


def test_a_slot_a_gpu_and_different_gpus_first(gpus: Path) -> None:
    schedule = ScheduleSpec(devices=("0", "2"), runs_per_device=2)
    slots = make_slots(schedule, [])
    assert [slot.device for slot in slots] == ["cuda:0", "cuda:2", "cuda:0", "cuda:2"]
    assert all(slot.shared for slot in slots)


def test_a_gpu_in_use_is_refused_unless_told_otherwise(gpus: Path) -> None:
    with pytest.raises(UserError, match=r"device 1 is in use: 9000 MiB .*--devices.*share_busy_devices=true"):
        make_slots(ScheduleSpec(), [])
    slots = make_slots(ScheduleSpec(share_busy_devices=True), [])
    assert len(slots) == 4
    assert all(slot.shared for slot in slots)


def test_a_gpu_is_known_to_the_driver_by_what_is_visible(gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    assert physical(1) == "GPU-b"
    assert used_mib(1) == 9000
    check_idle(0)
    with pytest.raises(UserError, match="in use"):
        check_idle(1)
    gpus.write_text("#!/bin/sh\nexit 9\n")
    assert used_mib(1) is None
    check_idle(1)


def test_devices_that_are_not_there(gpus: Path) -> None:
    with pytest.raises(UserError, match="'cuda:7' is not there"):
        make_slots(ScheduleSpec(devices=("7",)), [])
    with pytest.raises(UserError, match="is named twice"):
        make_slots(ScheduleSpec(devices=("0", "0")), [])
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        make_slots(ScheduleSpec(devices=("gpu",)), [])


def test_a_slot_places_a_run_without_changing_what_it_is(make_spec: object) -> None:
    spec: RunSpec = make_spec("zeroshot")  # type: ignore[operator]
    slot = make_slots(ScheduleSpec(devices=("cpu",), runs_per_device=3, threads=1), [spec])[0]
    placed = slot.place(spec)
    assert (placed.runtime.device, placed.runtime.threads, placed.runtime.device_shared) == ("cpu", 1, True)
    assert placed.id == spec.id


def test_a_run_notices_another_on_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    device = torch.device("cpu")
    with device_use(device) as first:
        assert first.alone
        second = DeviceUse(device)
        assert not second.alone
        assert first.alone, "it has not looked since"
        first.check()
        assert not first.alone
        second.close()
    with device_use(device) as later:
        later.check()
        assert later.alone


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("2h", 7200.0), ("1d", 86400.0), (5, 5.0), (None, None)]
)
def test_time_limits(given: object, seconds: float | None) -> None:
    assert validate(ScheduleSpec, {"time_limit": given}, "schedule.").time_limit == seconds


@pytest.mark.parametrize("given", ["soon", "m", "-1h", 0])
def test_time_limits_that_are_none(given: object) -> None:
    with pytest.raises(UserError, match=r"schedule\.time_limit="):
        validate(ScheduleSpec, {"time_limit": given}, "schedule.")
