"""Devices: which exist, how much of their memory is in use, and whether a run has its device to itself."""

import errno
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from harness.errors import UserError

# Memory that is in use on an idle GPU: the driver's own data and, with a display, a few windows.
IDLE_MIB = 1024
# Other runs make the lock of a device exclusive for microseconds.
LOCK_ATTEMPTS, LOCK_PAUSE = 50, 0.01


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


def device_identity(device: torch.device) -> str:
    """A name of a device on this machine, whatever number this process knows it by."""
    if device.type != "cuda":
        return device.type
    index = device.index or 0
    with suppress(RuntimeError, AssertionError, AttributeError):
        return f"cuda-{torch.cuda.get_device_properties(index).uuid}"
    return f"cuda{physical(index)}"


def lock_folder() -> Path:
    """The folder for lock files of this user, made if it is not there; nobody else can write to it.

    Raises:
        OSError: it cannot be made, or something else has its name.
    """
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"skipbench-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
        raise OSError(errno.EPERM, "it is no folder of this user alone", str(folder))
    return folder


def open_lock(path: Path) -> int:
    """Open a lock file, made if it is not there; returns its descriptor.

    Raises:
        OSError: it cannot be opened, or something else has its name.
    """
    # A link would lead elsewhere, and opening a named pipe would wait.
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file of this user", str(path))
    return descriptor


class DeviceUse:
    """Detects whether other runs of this user on this machine use the same device at the same time.

    Every run holds a shared lock on a file that belongs to its device, and adds a byte to it when it starts. A run that
    can make its lock exclusive for a moment is alone at that moment. If nobody has added a byte since it started, it
    was alone all the time. Nothing here waits for another process.

    Args:
        device: the run's.

    Attributes:
        alone: whether no other run has been seen so far; None if that is not known.
        problem: why it is not known, in one line; None if it is.
    """

    def __init__(self, device: torch.device) -> None:
        self.alone: bool | None = True
        self.problem: str | None = None
        self._file: int | None = None
        name = re.sub(r"[^A-Za-z0-9-]", "-", device_identity(device))
        try:
            self._path = lock_folder() / f"device-{name}"
            self._file = open_lock(self._path)
            self._share()
            os.write(self._file, b".")
            self._starts = os.fstat(self._file).st_size
        except (OSError, ImportError) as error:
            self._give_up(error)
        self.check()

    def check(self) -> None:
        """Check whether another run uses the device now, or has used it since this one started."""
        if self._file is None:
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.alone = False
        except OSError as error:
            self._give_up(error)
            return
        try:
            # Whether or not the lock became exclusive, the shared lock must be taken again.
            self._share()
            if os.fstat(self._file).st_size != self._starts:
                self.alone = False
            if not os.path.samestat(os.fstat(self._file), os.lstat(self._path)):
                raise OSError(errno.ENOENT, "it was replaced", str(self._path))
        except OSError as error:
            self._give_up(error)

    def _share(self) -> None:
        """Take the shared lock.

        Raises:
            OSError: somebody keeps it exclusively for longer than runs do.
        """
        import fcntl

        assert self._file is not None
        for _ in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(LOCK_PAUSE)
        raise OSError(errno.EWOULDBLOCK, "another process keeps it locked", str(self._path))

    def _give_up(self, error: Exception) -> None:
        """Note that nobody knows whether the run is alone."""
        self.close()
        if self.alone is not False:
            self.alone = None
        path = getattr(error, "filename", None) or tempfile.gettempdir()
        reason = getattr(error, "strerror", None) or error
        self.problem = f"'{path}' cannot be used as a lock ({reason}): costs are not known to be measured alone"

    def close(self) -> None:
        """Release the device."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def both_alone(one: bool | None, other: bool | None) -> bool | None:
    """Whether a run was alone in two parts of its time: no if not in one of them, unknown if one is unknown."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


@contextmanager
def device_use(device: torch.device) -> Iterator[DeviceUse]:
    """Inside, other runs see that this process uses the device."""
    use = DeviceUse(device)
    try:
        yield use
    finally:
        use.close()
