"""Who computes a run: a claim in its folder, so that several processes and machines may share one results folder.

A claim is a symbolic link `claim-<random>` whose target is no path but a few words about its holder: on local and on
network file systems a link is made whole or not at all. Who wants a run makes its claim first and looks around then. Of
two that come at the same time at least one sees the other, and who sees another gives way.
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
        started: when the process was started, in the system's own units; tells it from a later one of the same number.
    """

    machine: str
    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def read_text(path: str) -> str:
    """A small system file, or '' where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@cache
def this_machine() -> str:
    """Identity of this machine since its last boot; containers with process numbers of their own are machines too."""
    boot = read_text("/proc/sys/kernel/random/boot_id").strip() or socket.gethostname()
    with suppress(OSError):
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return boot


def start_of(pid: int) -> str | None:
    """When a process of this machine was started; None if it is no more, '' where the system does not tell."""
    if os.path.isdir("/proc/self"):
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        # The first field behind the name is the state; a zombie works no more.
        return fields[19] if fields and fields[0] != "Z" else None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def this_process() -> Holder:
    """The process that asks."""
    return Holder(this_machine(), socket.gethostname(), os.getpid(), start_of(os.getpid()) or "")


def file_system_time(folder: Path) -> float:
    """The time by the clock of the file system, which may be another machine's."""
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
    """Whether a claim's holder still works: by its process on this machine, by its heartbeat on others."""
    if holder.machine == this_machine():
        return start_of(holder.pid) == holder.started
    try:
        return file_system_time(link.parent) - link.lstat().st_mtime < LEASE
    except FileNotFoundError:
        return False


def claims(folder: Path) -> list[Path]:
    """All claims in a run's folder, those of dead processes too."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [folder / name for name in os.listdir(folder) if name.startswith(PREFIX)]
    return []


def living_claims(folder: Path) -> dict[Path, Holder]:
    """The claims in a run's folder whose holders are alive."""
    held = {link: read_claim(link) for link in claims(folder)}
    return {link: holder for link, holder in held.items() if holder and is_alive(link, holder)}


def holder_of(folder: Path) -> Holder | None:
    """The living process that computes the run in a folder, or None."""
    return next(iter(living_claims(folder).values()), None)


def remove_dead_claims(folder: Path) -> None:
    """Remove claims of processes that are gone. A claim's name is never used again, so no living one is hit."""
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
        """Raise a ClaimedError if the claim was lost, as happens to a machine that slept for longer than the lease."""
        if read_claim(self.link) != self.holder:
            raise ClaimedError(f"run {self.link.parent.name} was taken over by another process while this one slept")

    def release(self) -> None:
        """Give the run back."""
        self._released.set()
        self.link.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold the claim on the run in a folder; those whose holders are dead are taken over.

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
