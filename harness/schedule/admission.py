"""Whether runs fit into the memory of their device, by their estimates, before they start."""

import json
from collections.abc import Iterable

from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.device import choose_device, free_mib
from harness.machine.margin import margin_of
from harness.machine.units import MIB, parse_size


class Memory:
    """Memory that is available to runs on the devices of this machine.

    On a GPU that is the memory that is free when the scheduler starts. On the CPU it is limited only by
    `schedule.memory`, if that is given, because a machine's memory may be swapped and shared.

    Args:
        schedule: states how much memory runs may use.
        devices: names of all devices that are used.
    """

    def __init__(self, schedule: ScheduleSpec, devices: Iterable[str]) -> None:
        self.room = {name: room_of(name, schedule) for name in set(devices)}
        self._peaks: dict[str, int] = {}
        self._refusals: dict[tuple[str, str], str | None] = {}

    def refusal(self, spec: RunSpec) -> str | None:
        """Why a run cannot fit its device, with the nearest setting that fits; None if it fits.

        Raises:
            UserError: the run cannot be estimated.
        """
        device = spec.runtime.device
        room = self.room[device]
        if room is None:
            return None
        key = device, without_seed(spec)
        if key not in self._refusals:
            from harness.estimate.fit import fits

            self._refusals[key] = fits(spec, margin_of(choose_device(device)).without_margin(room))
        return self._refusals[key]

    def has_room_for(self, spec: RunSpec, others: Iterable[RunSpec]) -> bool:
        """Whether a run fits its device together with the others that use the same device."""
        room = self.room[spec.runtime.device]
        neighbours = [other for other in others if other.runtime.device == spec.runtime.device]
        if room is None or not neighbours:
            return True
        return sum(map(self._needed, (spec, *neighbours))) <= room

    def _needed(self, spec: RunSpec) -> int:
        """Bytes that a run takes, with what its process needs besides its tensors."""
        return margin_of(choose_device(spec.runtime.device)).with_margin(self._peak(spec))

    def _peak(self, spec: RunSpec) -> int:
        key = without_seed(spec)
        if key not in self._peaks:
            from harness.estimate.fit import estimated_peak

            self._peaks[key] = estimated_peak(spec)
        return self._peaks[key]


def room_of(name: str, schedule: ScheduleSpec) -> int | None:
    """Bytes that runs may use on a device; None for no limit."""
    if schedule.memory is not None:
        return parse_size(schedule.memory)
    device = choose_device(name)
    if device.type == "cpu":
        return None
    free = free_mib(device.index or 0)
    return None if free is None else int(free * MIB)


def without_seed(spec: RunSpec) -> str:
    """A text that is equal for runs that differ only in their seed."""
    return json.dumps({**spec.identity(), "seed": None}, sort_keys=True)
