"""Devices: which exist, how much of their memory is in use, and whether a run has its device to itself."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from harness.errors import UserError

# Memory that is in use on an idle GPU: the driver's own data and, with a display, a few windows.
IDLE_MIB = 1024


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU if there is one, otherwise the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}': use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device '{name}' is not supported: use auto, cpu, cuda or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{name}' is not there: this machine shows {torch.cuda.device_count()} GPUs to torch")
    return device


def physical(index: int) -> str:
    """Number or UUID by which the driver knows GPU number `index` of torch."""
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return visible[index] if index < len(visible) else str(index)


def ask_driver(index: int, what: str) -> float | None:
    """A number that nvidia-smi reports about a GPU, such as memory.used in MiB; None if it does not.

    Args:
        index: torch's number, among the GPUs that CUDA_VISIBLE_DEVICES shows.
        what: nvidia-smi's name of the number.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    words = [tool, "-i", physical(index), f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout
        return float(output.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def used_mib(index: int) -> float | None:
    """Memory of a GPU that is in use by any process, in MiB; None if unknown."""
    return ask_driver(index, "memory.used")


def free_mib(index: int) -> float | None:
    """Memory of a GPU that is free, in MiB; None if unknown."""
    return ask_driver(index, "memory.free")


def check_idle(index: int) -> None:
    """Raise a UserError if a GPU's memory is in use already."""
    used = used_mib(index)
    if used is not None and used > IDLE_MIB:
        raise UserError(
            f"device {index} is in use: {used:.0f} MiB of its memory are taken. Choose others with --devices, or share "
            "it with schedule.share_busy_devices=true (its costs are then not measured alone)"
        )


class DeviceUse:
    """Detects whether other runs on this machine use the same device at the same time.

    Every run holds a shared lock on a file that belongs to its device. A run that can make its lock exclusive for a
    moment is alone.

    Args:
        device: the run's.

    Attributes:
        alone: whether no other run has been seen so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.alone = True
        self._file: int | None = None
        name = f"cuda{physical(device.index or 0)}" if device.type == "cuda" else device.type
        path = Path(tempfile.gettempdir()) / f"skipbench-device-{name}"
        with suppress(OSError, ImportError):
            import fcntl

            self._file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_SH)
        self.check()

    def check(self) -> None:
        """Check whether another run uses the device now."""
        if self._file is None:
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.alone = False
        # Whether or not the lock became exclusive, the shared lock must be taken again.
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def close(self) -> None:
        """Release the device."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextmanager
def device_use(device: torch.device) -> Iterator[DeviceUse]:
    """Inside, other runs see that this process uses the device."""
    use = DeviceUse(device)
    try:
        yield use
    finally:
        use.close()
