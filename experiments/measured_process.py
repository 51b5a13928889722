"""What a Python process takes, with all that it starts: for scripts that measure commands as a user starts them."""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# A process begins with the resident size of the one that starts it: a small one does, and writes what the other took.
STARTER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w") as file:
    json.dump([time.perf_counter() - start, used.ru_maxrss / 1024], file)
sys.exit(process.returncode != 0)
"""
SET_CHILD_SUBREAPER = 36  # of prctl, linux/prctl.h
LONGEST_WAIT = 60.0


class Cost(NamedTuple):
    """What a process took.

    Attributes:
        wall: seconds of the clock.
        cpu: CPU seconds of all processes.
        mib: the highest resident size of the process itself, in MiB; 0 where it was not measured.
    """

    wall: float
    cpu: float = 0.0
    mib: float = 0.0


def measured(words: Sequence[str], checkout: Path, variables: Mapping[str, str]) -> tuple[Cost, str]:
    """What a Python process took, and what it printed to its standard output.

    Args:
        words: of Python.
        checkout: of the project, where it runs.
        variables: of its environment, beside those of this process.
    """
    environment = {**os.environ, "PYTHONPATH": str(checkout), **variables}
    before, others = os.times(), children()
    with tempfile.NamedTemporaryFile() as told:
        starting = (sys.executable, "-S", "-c", STARTER, told.name)
        done = subprocess.run(
            [*starting, sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True
        )
        wait_for_orphans(others)
        after = os.times()
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        wall, mib = json.loads(Path(told.name).read_text())
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu, mib), done.stdout


def adopt_orphans() -> None:
    """Become the parent of processes that outlive theirs: the server of runs and W&B's service; Linux only."""
    if ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1):
        raise SystemExit("this system tells no CPU seconds of processes that outlive their parent")


def children() -> set[int]:
    """The processes whose parent this one is, ended ones that nobody has waited for included."""
    return {int(word) for path in Path("/proc/self/task").glob("*/children") for word in path.read_text().split()}


def wait_for_orphans(others: set[int]) -> None:
    """Wait until all children have ended but some: only then their CPU seconds are told.

    Args:
        others: children that do not belong to what is measured.
    """
    last = time.monotonic() + LONGEST_WAIT
    while orphans := children() - others:
        if time.monotonic() > last:
            raise SystemExit(f"processes of a run have not ended after {LONGEST_WAIT:g} s")
        for process in orphans:
            with suppress(ChildProcessError):
                os.waitpid(process, os.WNOHANG)
        time.sleep(0.05)
