"""The chaos tests in full: twenty runs and thirty kills, W&B's among them; eight runs whose machines fall asleep."""

from pathlib import Path

import pytest

from tests.chaos import Chaos, Crowd, assert_nothing_left, assert_same_results, write_experiment
from tests.commands import skipbench

pytestmark = [pytest.mark.long, pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")]


@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_runs_and_thirty_kills(seed: int, tmp_path: Path) -> None:
    methods = ["skip", "coop", "clip_adapter", "maple"]
    experiment = write_experiment(tmp_path / "chaos.yaml", methods, seeds=5, epochs=4)
    calm = skipbench("run", str(experiment), "--results", str(tmp_path / "calm"), WANDB_MODE="disabled")
    assert calm.returncode == 0, calm.stderr
    chaos = Chaos(experiment, tmp_path / "disturbed", kills=30, seed=seed, pause=(0.2, 4.0))
    done = chaos.run(WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert chaos.killed.count("main") >= 5
    assert chaos.killed.count("worker") >= 5
    assert_same_results(tmp_path / "disturbed", tmp_path / "calm")
    assert_nothing_left(tmp_path / "disturbed")
    assert chaos.survivors() == []


@pytest.mark.parametrize("seed", [1])
def test_eight_runs_on_three_machines_that_die_sleep_and_wake_up(seed: int, tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "chaos.yaml", ["skip", "coop"], seeds=4, epochs=4)
    calm = skipbench("run", str(experiment), "--results", str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stderr
    crowd = Crowd(experiment, tmp_path / "disturbed", schedulers=3, seed=seed, lease=3.0)
    crowd.disturb(times=60)
    done = skipbench("run", str(experiment), "--results", str(tmp_path / "disturbed"))
    print(dict(crowd.done), f"takeovers: {crowd.takeovers}")
    assert done.returncode == 0, done.stderr
    assert not [line for line in crowd.printed if "Traceback" in line or "cannot be written" in line]
    assert crowd.takeovers > 0
    assert_same_results(tmp_path / "disturbed", tmp_path / "calm")
    assert_nothing_left(tmp_path / "disturbed")
    assert crowd.survivors() == []
