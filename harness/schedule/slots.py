"""Slots of this machine: each executes one run at a time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.device import check_idle, choose_device


@dataclass(frozen=True)
class Slot:
    """Room for one run.

    Attributes:
        device: auto, cpu or cuda:<number>.
        threads: CPU threads of its runs; None for torch's own choice.
        shared: whether other runs or programs use the device at the same time.
    """

    device: str
    threads: int | None
    shared: bool

    def place(self, spec: RunSpec) -> RunSpec:
        """The same run, set to be executed in this slot."""
        threads = spec.runtime.threads or self.threads
        shared = self.shared or spec.runtime.device_shared
        changes = {"device": self.device, "threads": threads, "device_shared": shared}
        return spec.model_copy(update={"runtime": spec.runtime.model_copy(update=changes)})

    def schedule(self, schedule: ScheduleSpec) -> ScheduleSpec:
        """The same schedule, limited to this slot."""
        devices = (self.device.removeprefix("cuda:"),)
        changes = {"devices": devices, "runs_per_device": 1, "threads": self.threads, "share_busy_devices": self.shared}
        return schedule.model_copy(update=changes)


def number_of_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_names(schedule: ScheduleSpec, specs: Sequence[RunSpec]) -> list[str]:
    """Devices to use: those asked for, otherwise those of the runs' settings, otherwise all GPUs, otherwise the CPU."""
    if schedule.devices:
        return [f"cuda:{word}" if word.isdigit() else word for word in schedule.devices]
    asked = sorted({spec.runtime.device for spec in specs} - {"auto"})
    if asked:
        return asked
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


def make_slots(schedule: ScheduleSpec, specs: Sequence[RunSpec]) -> list[Slot]:
    """The slots of this machine, ordered so that the first runs go to different devices.

    Raises:
        UserError: a device does not exist, is named twice, or is a GPU that is in use already.
    """
    names = device_names(schedule, specs)
    if len(set(names)) < len(names):
        raise UserError(
            f"--devices {','.join(schedule.devices or ())}: a device is named twice, use schedule.runs_per_device"
        )
    for name in names:
        device = choose_device(name)
        if device.type == "cuda" and not schedule.share_busy_devices:
            check_idle(device.index or 0)
    count = len(names) * schedule.runs_per_device
    threads = schedule.threads or (max(1, number_of_cores() // count) if count > 1 else None)
    shared = schedule.runs_per_device > 1 or schedule.share_busy_devices
    return [Slot(name, threads, shared) for _ in range(schedule.runs_per_device) for name in names]
