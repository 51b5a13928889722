"""Slots of this machine: where one run at a time may be executed."""

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
        shared: whether others use the device at the same time.
    """

    device: str
    threads: int | None
    shared: bool

    def place(self, spec: RunSpec) -> RunSpec:
        """The same run, to be executed here."""
        threads = spec.runtime.threads or self.threads
        shared = self.shared or spec.runtime.device_shared
        changes = {"device": self.device, "threads": threads, "device_shared": shared}
        return spec.model_copy(update={"runtime": spec.runtime.model_copy(update=changes)})

    def schedule(self, schedule: ScheduleSpec) -> ScheduleSpec:
        """A schedule of this slot alone."""
        devices = (self.device.removeprefix("cuda:"),)
        changes = {"devices": devices, "runs_per_device": 1, "threads": self.threads, "share_busy_devices": self.shared}
        return schedule.model_copy(update=changes)


def number_of_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_names(schedule: ScheduleSpec, specs: Sequence[RunSpec]) -> list[str]:
    """Devices to use: those asked for, else that of the runs' own settings, else all GPUs, else the CPU."""
    if schedule.devices:
        return [f"cuda:{word}" if word.isdigit() else word for word in schedule.devices]
    asked = sorted({spec.runtime.device for spec in specs} - {"auto"})
    if asked:
        return asked
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


def make_slots(schedule: ScheduleSpec, specs: Sequence[RunSpec]) -> list[Slot]:
    """The slots of this machine, those of different devices first.

    Raises:
        UserError: no such device, one is named twice, or a GPU is in use already.
    """
    names = device_names(schedule, specs)
    if len(set(names)) < len(names):
        raise UserError(f"--devices {','.join(schedule.devices or ())}: a device stands twice, use runs_per_device")
    for name in names:
        device = choose_device(name)
        if device.type == "cuda" and not schedule.share_busy_devices:
            check_idle(device.index or 0)
    count = len(names) * schedule.runs_per_device
    threads = schedule.threads or (max(1, number_of_cores() // count) if count > 1 else None)
    shared = schedule.runs_per_device > 1 or schedule.share_busy_devices
    return [Slot(name, threads, shared) for _ in range(schedule.runs_per_device) for name in names]
