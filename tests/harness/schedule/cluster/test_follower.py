"""News of runs from their folders, made by hand."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.results.claim import Holder
from harness.results.folder import RunFolder
from harness.schedule.cluster.follower import Follower, epoch_of, last_line
from harness.training.trainer import EpochRecord

Make = Callable[..., RunSpec]


def claim(folder: RunFolder, pid: int) -> Path:
    link = folder.path / "claim-1"
    link.unlink(missing_ok=True)
    os.symlink(json.dumps(asdict(Holder("far", "node7", pid, "1"))), link)
    return link


def add_epoch(folder: RunFolder, epoch: int) -> None:
    folder.append_metrics(asdict(EpochRecord(epoch, 1.0, 0.1, 0.1, 5, 40, 1.5, 0.5)))


@pytest.fixture
def followed(make_spec: Make, tmp_path: Path) -> tuple[Follower, RunFolder]:
    spec = make_spec("skip", "train.epochs=3")
    return Follower([spec], tmp_path), RunFolder(tmp_path, spec.id)


def look(follower: Follower) -> list[dict[str, Any]]:
    return [news for _, news in follower.look()]


def test_news_of_a_run_from_its_start_to_its_end(followed: tuple[Follower, RunFolder]) -> None:
    follower, folder = followed
    assert look(follower) == []
    folder.create()
    assert look(follower) == []
    claim(folder, 1)
    assert look(follower) == [{"started": "node7"}]
    assert look(follower) == []
    for epoch in (0, 1):
        add_epoch(folder, epoch)
    (news,) = look(follower)
    assert news.pop("record")["epoch"] == 1
    assert news == {"epoch": 2, "epochs": 3, "images_per_second": 20.0}
    assert look(follower) == []
    claim(folder, 2)
    assert look(follower) == [{"started": "node7"}]
    folder.finish({"id": folder.path.name})
    assert look(follower) == [{"done": True}]
    assert follower.following == {}
    assert look(follower) == []


def test_an_old_claim_and_an_old_failure_are_no_news(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("skip")
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    link = claim(folder, 1)
    folder.note_failure({"kind": "error", "reason": "an earlier one", "attempts": []})
    follower = Follower([spec], tmp_path)
    assert look(follower) == []
    link.unlink()
    folder.failure_file.unlink()
    assert look(follower) == []
    folder.note_failure({"kind": "error", "reason": "a new one", "attempts": []})
    assert look(follower) == [{"failed": "a new one"}]
    assert follower.following == {}


def test_a_line_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "x")
    folder.create()
    assert epoch_of(last_line(folder.metrics_file)) is None
    folder.metrics_file.write_text('{"epoch": 0, "lo')
    assert epoch_of(last_line(folder.metrics_file)) is None
    folder.metrics_file.unlink()
    for epoch in range(100):
        add_epoch(folder, epoch)
    with folder.metrics_file.open("a") as file:
        file.write('{"epoch": 100')
    record = epoch_of(last_line(folder.metrics_file))
    assert record is not None
    assert record.epoch == 99
