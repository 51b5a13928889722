"""Whether runs fit their device, by their estimates, before they start."""

import json
from collections.abc import Iterable

from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.device import choose_device, free_mib
from harness.machine.units import MIB

# What a process takes on a GPU besides its tensors: context, libraries, the allocator's rounding. A rule of thumb.
OVERHEAD = 1024 * MIB


class Memory:
    """Room on the devices of this machine.

    Runs on a GPU are held against the memory that is free there when the scheduler starts; on the CPU only against
    `schedule.memory`, if it is given, since a machine's memory may be swapped and shared.

    Args:
        schedule: says what a run may take at most.
        devices: names of all devices that are used.
    """

    def __init__(self, schedule: ScheduleSpec, devices: Iterable[str]) -> None:
        self.room = {name: room_of(name, schedule) for name in set(devices)}
        self._peaks: dict[str, int] = {}
        self._refusals: dict[tuple[str, str], str | None] = {}

    def refusal(self, spec: RunSpec) -> str | None:
        """Why a run cannot fit the device that it is placed on, with the nearest setting that fits; None if it can.

        Raises:
            UserError: nobody knows what the run needs.
        """
        device = spec.runtime.device
        room = self.room[device]
        if room is None:
            return None
        key = device, without_seed(spec)
        if key not in self._refusals:
            from harness.estimate.fit import fits

            self._refusals[key] = fits(spec, room - overhead(device))
        return self._refusals[key]

    def has_room_for(self, spec: RunSpec, others: Iterable[RunSpec]) -> bool:
        """Whether a run fits its device together with others that are there."""
        room = self.room[spec.runtime.device]
        beside = [other for other in others if other.runtime.device == spec.runtime.device]
        if room is None or not beside:
            return True
        return sum(self._peak(item) + overhead(item.runtime.device) for item in (spec, *beside)) <= room

    def _peak(self, spec: RunSpec) -> int:
        key = without_seed(spec)
        if key not in self._peaks:
            from harness.estimate.fit import estimated_peak

            self._peaks[key] = estimated_peak(spec)
        return self._peaks[key]


def overhead(device: str) -> int:
    """Bytes that a process takes on a device besides its tensors."""
    return 0 if choose_device(device).type == "cpu" else OVERHEAD


def room_of(name: str, schedule: ScheduleSpec) -> int | None:
    """Bytes that runs may take on a device; None for no bound."""
    if schedule.memory is not None:
        from harness.machine.units import parse_size

        return parse_size(schedule.memory)
    device = choose_device(name)
    if device.type == "cpu":
        return None
    free = free_mib(device.index or 0)
    return None if free is None else int(free * MIB)


def without_seed(spec: RunSpec) -> str:
    """What runs that differ only in their seed have in common."""
    return json.dumps({**spec.identity(), "seed": None}, sort_keys=True)
