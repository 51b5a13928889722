"""The private names of optuna that sweeps need: a release that changes them fails here, and the message says which."""

import sqlite3
from pathlib import Path

import optuna
import pytest

from harness.tune import storage
from harness.tune.pending import QUEUED, point_of
from harness.tune.storage import heartbeat, heartbeat_recorder, open_storage

# As `open_study` does: what is experimental in optuna is covered by tests here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),
]


def study_in(url: str) -> optuna.Study:
    return optuna.create_study(storage=open_storage(url))


def heartbeats(path: Path) -> int:
    with sqlite3.connect(path) as database:
        return int(database.execute("SELECT COUNT(*) FROM trial_heartbeats").fetchone()[0])


def test_optuna_records_a_heartbeat_in_a_database(tmp_path: Path) -> None:
    study = study_in(f"sqlite:///{tmp_path / 'optuna.db'}")
    trial = study.ask()
    assert hasattr(study, "_storage"), "optuna changed: Study._storage is gone"
    assert hasattr(trial, "_trial_id"), "optuna changed: Trial._trial_id is gone"
    record = heartbeat_recorder(study, trial)
    assert record, "optuna changed: RDBStorage is no storages._heartbeat.BaseHeartbeat any more"
    assert heartbeats(tmp_path / "optuna.db") == 0
    record()
    assert heartbeats(tmp_path / "optuna.db") == 1, "optuna changed: record_heartbeat(trial id) writes no heartbeat"


def test_optuna_keeps_the_settings_of_a_queued_trial() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 3})
    assert point_of(study.trials[0]) == {"x": 3}, f"optuna changed: a queued trial has no '{QUEUED}' any more"


def test_a_journal_keeps_no_heartbeats_and_no_stale_trials(tmp_path: Path) -> None:
    study = study_in(f"journal:{tmp_path / 'journal.log'}")
    assert heartbeat_recorder(study, study.ask()) is None
    optuna.storages.fail_stale_trials(study)
    assert [trial.state for trial in study.get_trials()] == [optuna.trial.TrialState.RUNNING]


def test_a_heartbeat_is_seen_at_once_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(storage, "HEARTBEAT", 0.01)
    monkeypatch.setattr(storage, "heartbeat_recorder", lambda study, trial: lambda: seen.append(1))
    study = optuna.create_study()
    with heartbeat(study, study.ask()):
        assert seen
        while len(seen) < 3:
            storage.time.sleep(0.01)
    ended = len(seen)
    storage.time.sleep(0.05)
    assert len(seen) == ended
