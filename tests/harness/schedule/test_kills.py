"""Killed at random moments, an experiment ends with the results of an undisturbed one, and leaves nothing behind.

Here a few runs and kills; tests/long/test_many_kills.py has twenty runs and thirty kills.
"""

from pathlib import Path

import pytest

from tests.chaos import Chaos, assert_nothing_left, assert_same_results, write_experiment
from tests.commands import skipbench


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_killed_at_random_and_nothing_is_lost(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "chaos.yaml", ["skip", "coop"], seeds=2, epochs=3)
    calm = skipbench("run", str(experiment), "--results", str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stderr
    chaos = Chaos(experiment, tmp_path / "disturbed", kills=3, seed=1, pause=(0.5, 3.0))
    done = chaos.run()
    assert done.returncode == 0, done.stderr
    assert len(chaos.killed) == 3
    assert_same_results(tmp_path / "disturbed", tmp_path / "calm")
    assert_nothing_left(tmp_path / "disturbed")
    assert chaos.survivors() == []
