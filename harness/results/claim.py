"""Claims: which process computes a run, so that several processes and machines may share one results folder.

A claim is a symbolic link `claim-<random>` in the run's folder. Its target is not a path but a description of its
holder: on local and on network file systems a link is created completely or not at all. A process that wants to compute
a run first creates its own claim and then lists the folder; if it finds another live claim, it withdraws its own. Of
two processes that arrive together, at least one sees the other. File locks are not used because network file systems
do not provide them reliably.
"""

import json
import os
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from harness.errors import UserError

HEARTBEAT = 10.0
LEASE = 120.0
PREFIX = "claim-"


class ClaimedError(UserError):
    """Another process computes the run."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim.

    Attributes:
        machine: identity of its machine since the last boot, and of its process namespace.
        host: the machine's name, for people.
        pid: process number.
        started: when the process was started, in the system's own units; a later process of the same number differs.
    """

    machine: str
    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def read_text(path: str) -> str:
    """Text of a small system file; empty if it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@cache
def this_machine() -> str:
    """Identity of this machine since its last boot; containers with their own process numbers count as machines."""
    boot = read_text("/proc/sys/kernel/random/boot_id").strip() or socket.gethostname()
    with suppress(OSError):
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return boot


def start_of(pid: int) -> str | None:
    """When a process of this machine was started; None if it has ended, empty if the system does not say."""
    if os.path.isdir("/proc/self"):
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        # The first field after the name is the state; a zombie has ended.
        return fields[19] if fields and fields[0] != "Z" else None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def this_process() -> Holder:
    """The calling process."""
    return Holder(this_machine(), socket.gethostname(), os.getpid(), start_of(os.getpid()) or "")


def file_system_time(folder: Path) -> float:
    """The time by the clock of the file system, which may be the clock of another machine."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="clock-", suffix=".tmp")
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def read_claim(link: Path) -> Holder | None:
    """The holder named by a claim; None if the claim is gone or damaged."""
    try:
        return Holder(**json.loads(os.readlink(link)))
    except (OSError, ValueError, TypeError):
        return None


def is_alive(link: Path, holder: Holder) -> bool:
    """Whether the holder of a claim is alive: by its process on this machine, by its heartbeat on others."""
    if holder.machine == this_machine():
        return not has_ended(holder)
    try:
        return file_system_time(link.parent) - link.lstat().st_mtime < LEASE
    except FileNotFoundError:
        return False


def has_ended(holder: Holder) -> bool:
    """Whether a holder on this machine has ended; False for one on another machine."""
    return holder.machine == this_machine() and start_of(holder.pid) != holder.started


def is_claim(name: str) -> bool:
    """Whether a file of a run's folder is a claim, by its name."""
    return name.startswith(PREFIX)


def last_holder(folder: Path) -> Holder | None:
    """The holder of the claim that was found last, dead or alive; None without a legible claim."""
    return next(filter(None, map(read_claim, reversed(claims(folder)))), None)


def claims(folder: Path) -> list[Path]:
    """All claims in a run's folder, including those of dead processes."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [folder / name for name in os.listdir(folder) if is_claim(name)]
    return []


def living_claims(folder: Path) -> dict[Path, Holder]:
    """The claims in a run's folder whose holders are alive."""
    held = {link: read_claim(link) for link in claims(folder)}
    return {link: holder for link, holder in held.items() if holder and is_alive(link, holder)}


def holder_of(folder: Path) -> Holder | None:
    """The living process that computes the run in a folder, or None."""
    return next(iter(living_claims(folder).values()), None)


def remove_dead_claims(folder: Path) -> None:
    """Remove claims of processes that are gone. Names of claims are never reused, so no live claim is removed."""
    for link in set(claims(folder)) - living_claims(folder).keys():
        link.unlink(missing_ok=True)


class Claim:
    """A claim that is held.

    Args:
        link: the claim.
        holder: this process.
    """

    def __init__(self, link: Path, holder: Holder) -> None:
        self.link = link
        self.holder = holder
        self._released = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(self.link, follow_symlinks=False)

    def check(self) -> None:
        """Raise a ClaimedError if the claim was lost, which happens if this machine slept for longer than the lease."""
        if read_claim(self.link) != self.holder:
            raise ClaimedError(f"run {self.link.parent.name} was taken over by another process while this one slept")

    def release(self) -> None:
        """Withdraw the claim."""
        self._released.set()
        self.link.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold the claim on the run in a folder; claims of dead holders are removed.

    Raises:
        ClaimedError: another process holds it.
        UserError: the folder takes no symbolic links.
    """
    link, me = folder / f"{PREFIX}{uuid.uuid4().hex[:12]}", this_process()
    try:
        os.symlink(json.dumps(asdict(me)), link)
    except OSError as error:
        raise UserError(f"run {folder.name} cannot be claimed in '{folder}': {error.strerror}") from error
    claim = Claim(link, me)
    try:
        others = [holder for other, holder in living_claims(folder).items() if other != link]
        if others:
            raise ClaimedError(f"run {folder.name} is being computed by {others[0]}: wait for it")
        remove_dead_claims(folder)
        yield claim
    finally:
        claim.release()
