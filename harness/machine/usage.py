"""How busy the processes of a run are: their time on processors and their memory, as the system counts them."""

import multiprocessing
import os
import time
from contextlib import suppress
from pathlib import Path

import torch

from harness.machine.units import MIB

CORES, MEMORY, GPU_MEMORY = "cores", "memory_mib", "gpu_memory_mib"


class Usage:
    """Of this process and the processes that it started, such as those that decode its pictures.

    Other runs on the same machine are not in it, and neither are processes that W&B starts. The memory of a GPU is what
    all processes have together on the device, as the driver tells it.

    Args:
        device: where the run computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = time.monotonic(), self._processor_seconds()

    def take(self) -> dict[str, float]:
        """Mean number of busy cores since the last call, and memory in use now; what is not known is left out."""
        now, (then, used_then) = (time.monotonic(), self._processor_seconds()), self._before
        self._before = now
        found = {CORES: max(0.0, now[1] - used_then) / max(now[0] - then, 1e-9)}
        sizes = [resident_bytes(pid) for pid in self._processes()]
        if known := [size for size in sizes if size is not None]:
            found[MEMORY] = sum(known) / MIB
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            found[GPU_MEMORY] = (total - free) / MIB
        return {name: round(value, 3) for name, value in found.items()}

    def _processes(self) -> list[int]:
        return [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]

    def _processor_seconds(self) -> float:
        return time.process_time() + sum(processor_seconds(pid) for pid in self._processes()[1:])


def processor_seconds(pid: int) -> float:
    """Time that a process has spent on processors; 0 where the system does not tell it."""
    with suppress(OSError, ValueError, IndexError):
        # Behind the name of the program, which may hold spaces: user and system time are fields 14 and 15 of the line.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process; None where the system does not tell it."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
