"""Claims: which process computes a run, so that several processes and machines may share one results folder.

A claim is a symbolic link `claim-<random>` in the run's folder. Its target is not a path but a description of its
holder: on local and on network file systems a link is created completely or not at all. A process that wants to compute
a run first creates its own claim and then lists the folder; if it finds another live claim, it withdraws its own. Of
two processes that arrive together, at least one sees the other. File locks are not used because network file systems
do not provide them reliably.
"""

import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from harness.errors import UserError
from harness.machine.processes import start_of, this_machine
from harness.results.files import file_system_time
from harness.text import plain


def lease() -> float:
    """Seconds without a heartbeat after which a claim of another machine is dead.

    Raises:
        UserError: SKIPBENCH_LEASE is no positive number.
    """
    text = os.environ.get("SKIPBENCH_LEASE", "120")
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise UserError(f"SKIPBENCH_LEASE={text}: give a number of seconds, the same on all machines")


def heartbeat() -> float:
    """Seconds between two heartbeats."""
    return lease() / 12


def silence() -> float:
    """Seconds for which a claim must stay silent before our eyes, in case only a clock has jumped."""
    return 1.5 * heartbeat()


PREFIX = "claim-"


class ClaimedError(UserError):
    """Another process computes the run."""


class TakenOverError(ClaimedError):
    """Another process has taken the run over while this one slept."""


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
        return plain(f"process {self.pid} on {self.host}")


HOLDER = TypeAdapter(Holder)


def this_process() -> Holder:
    """The calling process."""
    return Holder(this_machine(), socket.gethostname(), os.getpid(), start_of(os.getpid()) or "")


def read_claim(link: Path) -> Holder | None:
    """The holder named by a claim; None if the claim is gone or damaged."""
    try:
        return HOLDER.validate_json(os.readlink(link))
    except (OSError, ValueError):
        return None


def is_alive(link: Path, holder: Holder) -> bool:
    """Whether the holder of a claim is alive: by its process on this machine, by its heartbeat on others."""
    if holder.machine == this_machine():
        return not has_ended(holder)
    return beats(link)


_last_beats: dict[Path, tuple[int, float]] = {}
"""Claim -> its last heartbeat, and since when this process has known that one, by the monotonic clock."""


def beats(link: Path) -> bool:
    """Whether a claim was renewed lately: by the clock of the file system, and before the eyes of this process.

    A clock that was set back would let a dead claim look alive for as long; that one is dead once this process has
    seen no heartbeat for the whole lease.
    """
    beat = last_beat(link)
    if beat is None:
        _last_beats.pop(link, None)
        return False
    known, since = _last_beats.get(link, (None, 0.0))
    if known != beat:
        _last_beats[link] = beat, time.monotonic()
    elif time.monotonic() - since >= lease():
        return False
    try:
        now = file_system_time(link.parent)
    except OSError:  # a folder that we may only read
        now = time.time()
    return now - beat / 1e9 < lease()


def wait_for_silence(links: Iterable[Path]) -> None:
    """Watch claims of other machines that look dead: a clock that was set forward makes all look so.

    Raises:
        ClaimedError: one of them beats.
    """
    watched = {link: beat for link in links if (beat := last_beat(link)) is not None}
    end = time.monotonic() + silence()
    while watched and time.monotonic() < end:
        time.sleep(silence() / 10)
        for link, beat in list(watched.items()):
            now = last_beat(link)
            if now is None:
                del watched[link]
            elif now != beat:
                raise ClaimedError(f"run {link.parent.name} is being computed by {read_claim(link)}: wait for it")


def last_beat(link: Path) -> int | None:
    """When a claim was renewed last, in nanoseconds by the clock of the file system; None if it is gone."""
    try:
        return link.lstat().st_mtime_ns
    except OSError:
        return None


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
        # Anything else of such a name is not ours.
        if link.is_symlink():
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
        while not self._released.wait(heartbeat()):
            with suppress(OSError):
                os.utime(self.link, follow_symlinks=False)

    def check(self) -> None:
        """Raise a TakenOverError if the claim was lost, which happens if this machine slept for longer than the lease.

        Raises:
            OSError: the file system does not say.
        """
        try:
            os.readlink(self.link)
        except (FileNotFoundError, NotADirectoryError):
            winner = holder_of(self.link.parent)
            by = winner or "another process"
            raise TakenOverError(
                f"run {self.link.parent.name} was taken over by {by} while this process slept"
            ) from None

    def release(self) -> None:
        """Withdraw the claim."""
        self._released.set()
        self.link.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold the claim on the run in a folder; claims of dead holders are removed.

    Raises:
        ClaimedError: another process holds it.
        UserError: the folder takes no symbolic links, or SKIPBENCH_LEASE is no positive number.
    """
    lease()
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
        silent = [other for other in claims(folder) if (holder := read_claim(other)) and holder.machine != me.machine]
        wait_for_silence(silent)
        for dead in silent:
            dead.unlink(missing_ok=True)
        remove_dead_claims(folder)
        yield claim
    finally:
        claim.release()
