"""Memory that a process on a GPU takes beside what is estimated: as the self-check measured it, or a rule of thumb."""

from contextlib import suppress
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.machine.digests import cache_folder, replace_file
from harness.machine.units import MIB


class Margin(BaseModel):
    """How much more than its estimate a process takes.

    Attributes:
        ratio: bytes that the allocator reserves, by estimated bytes.
        context_bytes: of the driver's context and libraries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: float = Field(1.0, ge=1, allow_inf_nan=False)
    context_bytes: int = Field(1024 * MIB, ge=0)

    def with_margin(self, peak: int) -> int:
        """Bytes that a process takes whose estimated peak is `peak`."""
        return int(peak * self.ratio) + self.context_bytes

    def without_margin(self, room: int) -> int:
        """The largest estimated peak of a process that may take `room` bytes."""
        return int((room - self.context_bytes) / self.ratio)


RULE_OF_THUMB = Margin()
"""Where nothing was measured: context, libraries, the allocator's rounding."""
MARGINS = TypeAdapter(dict[str, Margin])


def margin_of(device: torch.device) -> Margin:
    """The margin that was measured on such a device, or a rule of thumb; a CPU needs none."""
    if device.type == "cpu":
        return Margin(ratio=1.0, context_bytes=0)
    return read_margins().get(name_of(device), RULE_OF_THUMB)


def remember_margin(device: torch.device, margin: Margin) -> None:
    """Keep what was measured for later runs on such devices.

    Raises:
        OSError: the user's cache folder cannot be written.
    """
    replace_file(margins_file(), MARGINS.dump_json(read_margins() | {name_of(device): margin}, indent=1))


def margins_file() -> Path:
    """Where margins are kept."""
    return cache_folder() / "margins.json"


def read_margins() -> dict[str, Margin]:
    """Name of a device -> its margin; empty if nothing was kept, or if it is damaged."""
    with suppress(OSError, ValidationError):
        return MARGINS.validate_json(margins_file().read_bytes())
    return {}


def name_of(device: torch.device) -> str:
    """The name of a kind of GPU; empty if there is none."""
    with suppress(RuntimeError, AssertionError):
        return torch.cuda.get_device_name(device)
    return ""
