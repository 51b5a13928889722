"""Ctrl-C at any moment: one line, no traceback, exit code 130, and no process is left."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.commands import descendants, parents, start, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")


def listens(pid: int) -> bool:
    """Whether a process has come so far that it handles SIGTERM; before, the interpreter itself is starting."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


@pytest.mark.parametrize(("seed", "times"), [(1, 1), (3, 2)])
def test_one_line_and_no_process_is_left(seed: int, times: int, tmp_path: Path) -> None:
    main = start("bench", "skip", "--seeds", "1,2", "--results", str(tmp_path))
    wait_for(lambda: listens(main.pid))
    chance = random.Random(seed)
    # From the first imports of this process to the runs of its workers.
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.0, 2.0))
    else:
        wait_for(lambda: len(descendants(main.pid)) > 1)
        time.sleep(chance.uniform(0.0, 1.0))
    family = descendants(main.pid)
    for _ in range(times):
        os.killpg(main.pid, signal.SIGINT)
        time.sleep(0.2)
    out, told = main.communicate(timeout=120)
    # The empty line ends that of a terminal's ^C.
    assert told.lstrip("\n") == "error: stopped; the same command goes on from the last finished epoch\n"
    assert "Traceback" not in out
    assert main.returncode == 130
    wait_for(lambda: not set(family) & parents().keys(), 60)
    assert not list(tmp_path.rglob("claim-*"))
