"""Four workers on one study in PostgreSQL, one of them killed: no trial is doubled, none is lost."""

import os
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from tests.commands import skipbench, start, wait_for

pytestmark = pytest.mark.long
RATIO = "clip_adapter.residual_ratio"
SWEEP = {
    "method": "clip_adapter",
    "shots": 1,
    "seeds": [1],
    "settings": {"train": {"epochs": 2, "batch_size": 4}},
    "space": {RATIO: {"float": [0.0, 1.0], "step": 0.05}},
    "objectives": ["H", "train_memory"],
    "sampler": "grid",
    "schedule": {"devices": "cpu", "threads": 1},
}
PATIENCE = 900.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """URL of an empty database of a server that was started for this test on loopback."""
    pytest.importorskip("psycopg", reason="needs skipbench[postgresql]")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not shutil.which("runuser") or os.geteuid() != 0:
        pytest.skip("needs root and Debian's postgresql (apt-get install postgresql)")
    data = tmp_path.parent / f"{tmp_path.name}-postgres"
    data.mkdir()
    shutil.chown(data, "postgres")
    # The server must not be root, and pytest's folders are root's alone.
    for folder in data.parents:
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def postgres(*words: str) -> None:
        subprocess.run(
            ["runuser", "-u", "postgres", "--", str(folders[-1] / words[0]), *words[1:]], check=True, cwd="/"
        )

    postgres("initdb", "-D", str(data), "--auth=trust", "--no-sync")
    options = f"-p {port} -h 127.0.0.1 -k {data}"
    postgres("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        postgres("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def test_four_workers_one_killed(database: str, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SWEEP))
    words = ["sweep", str(path), "--storage", database, "--results", str(tmp_path / "results")]
    mains = [start(*words, OMP_NUM_THREADS="1") for _ in range(4)]
    wait_for(lambda: len(list((tmp_path / "results").glob("runs/*/result.json"))) >= 4, PATIENCE)
    victim = mains.pop(0)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    for main in mains:
        _, told = main.communicate(timeout=PATIENCE)
        assert main.returncode == 0, told
    (name,) = optuna.get_all_study_names(database)
    trials = optuna.load_study(study_name=name, storage=database).get_trials()
    complete = Counter(trial.params[RATIO] for trial in trials if trial.state == TrialState.COMPLETE)
    assert sorted(complete) == pytest.approx([step / 20 for step in range(21)])
    assert set(complete.values()) == {1}
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert sum(trial.state == TrialState.FAIL for trial in trials) <= 1, "the killed one's"
    assert not list((tmp_path / "results").rglob("claim-*"))
    again = skipbench(*words)
    assert again.returncode == 0
    assert len(optuna.load_study(study_name=name, storage=database).get_trials()) == len(trials)
