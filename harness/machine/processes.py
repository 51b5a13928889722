"""Processes: which one this is, whether another one of this machine still lives, and how they are started."""

import multiprocessing
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

MACHINE_VARIABLE = "SKIPBENCH_MACHINE"
PREFERRED_START = ("forkserver", "spawn")


def read_text(path: str) -> str:
    """Text of a small system file; empty if it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@cache
def this_machine() -> str:
    """Identity of this machine since its last boot; containers with their own process numbers count as machines.

    The environment variable SKIPBENCH_MACHINE gives another one, for machines that cannot be told apart otherwise.
    """
    if name := os.environ.get(MACHINE_VARIABLE):
        return name
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


def start_method() -> str:
    """How a process is started that shares nothing with this one: from a server where the system has one."""
    return next(name for name in PREFERRED_START if name in multiprocessing.get_all_start_methods())
