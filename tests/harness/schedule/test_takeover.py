"""A machine that sleeps while another takes its run over: the run ends with its right result, and both say so."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.chaos import assert_nothing_left, assert_same_results, write_experiment
from tests.commands import descendants, skipbench, start, wait_for

LEASE = "2"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_whoever_takes_over_ends_the_run_and_whoever_wakes_up_says_that_it_lost_it(tmp_path: Path) -> None:
    chance = random.Random(1)
    experiment = write_experiment(tmp_path / "one.yaml", ["skip"], seeds=1, epochs=6)
    assert skipbench("run", str(experiment), "--results", str(tmp_path / "calm")).returncode == 0
    disturbed = tmp_path / "disturbed"
    words = ("run", str(experiment), "--results", str(disturbed))
    sleeper = start(*words, SKIPBENCH_MACHINE="sleeper", SKIPBENCH_LEASE=LEASE)
    (metrics,) = wait_for(lambda: list(disturbed.glob("runs/*/metrics.jsonl")))
    time.sleep(chance.uniform(0.0, 0.1))
    family = descendants(sleeper.pid)
    for process in family:
        os.kill(process, signal.SIGSTOP)
    complete = (metrics.parent / "result.json").exists()
    lost = {path.name for path in metrics.parent.glob("claim-*")}

    def wake_up() -> None:
        wait_for(lambda: (now := {path.name for path in metrics.parent.glob("claim-*")}) and not now & lost)
        time.sleep(chance.uniform(0.0, 0.5))
        for process in family:
            os.kill(process, signal.SIGCONT)

    waker = threading.Thread(target=wake_up)
    waker.start()
    winner = skipbench(*words, SKIPBENCH_LEASE=LEASE)
    waker.join()
    out, told = sleeper.communicate(timeout=120)
    assert not complete, "it was to be stopped in the middle"
    assert (winner.returncode, winner.stderr) == (0, "")
    assert sleeper.returncode == 0, told
    (line,) = told.splitlines()
    assert line.startswith(f"note: run {metrics.parent.name} was taken over by ")
    assert line.endswith(" while this process slept")
    assert "[1/1] skip-emoji-1shot-seed1 done" in out
    assert_same_results(disturbed, tmp_path / "calm")
    assert_nothing_left(disturbed)
