"""News of runs from their folders, made by hand."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.results.claim import Holder
from harness.results.epochs import EpochRecord
from harness.results.failure import RunFailure
from harness.results.folder import RunFolder
from harness.schedule.cluster.follower import Follower, last_record
from harness.training.events import Done, Event, Failed, Started, TrainingProgress

Make = Callable[..., RunSpec]


def claim(folder: RunFolder, pid: int) -> Path:
    link = folder.path / "claim-1"
    link.unlink(missing_ok=True)
    os.symlink(json.dumps(asdict(Holder("far", "node7", pid, "1"))), link)
    return link


def add_epoch(folder: RunFolder, epoch: int) -> None:
    record = EpochRecord(
        epoch=epoch, loss=1.0, lr=0.1, lr_image=0.1, steps=5, images=40, train_seconds=1.5, cache_seconds=0.5
    )
    folder.append_metrics(record)


@pytest.fixture
def followed(make_spec: Make, tmp_path: Path) -> tuple[Follower, RunFolder]:
    spec = make_spec("skip", "train.epochs=3")
    return Follower([spec], tmp_path), RunFolder(tmp_path, spec.id)


def look(follower: Follower) -> list[Event]:
    return [event for _, event in follower.look()]


def test_news_of_a_run_from_its_start_to_its_end(followed: tuple[Follower, RunFolder]) -> None:
    follower, folder = followed
    assert look(follower) == []
    folder.create()
    assert look(follower) == []
    claim(folder, 1)
    assert look(follower) == [Started("node7")]
    assert look(follower) == []
    for epoch in (0, 1):
        add_epoch(folder, epoch)
    (event,) = look(follower)
    assert isinstance(event, TrainingProgress)
    assert event.record is not None
    assert (event.record.epoch, event.record.images_per_second) == (1, 20.0)
    assert (event.epoch, event.epochs) == (2, 3)
    assert look(follower) == []
    claim(folder, 2)
    assert look(follower) == [Started("node7")]
    folder.result_file.write_text("{}")
    assert look(follower) == [Done()]
    assert follower.following == {}
    assert look(follower) == []


def test_an_old_claim_and_an_old_failure_are_no_news(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("skip")
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    folder.write_failure(RunFailure(reason="an earlier one"))
    link = claim(folder, 1)
    follower = Follower([spec], tmp_path)
    assert look(follower) == []
    link.unlink()
    folder.failure_file.unlink()
    assert look(follower) == []
    folder.write_failure(RunFailure(reason="a new one"))
    assert look(follower) == [Failed("a new one")]
    assert follower.following == {}


def test_a_line_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "x")
    folder.create()
    assert last_record(folder.metrics_file) is None
    folder.metrics_file.write_text('{"epoch": 0, "lo')
    assert last_record(folder.metrics_file) is None
    folder.metrics_file.unlink()
    for epoch in range(100):
        add_epoch(folder, epoch)
    with folder.metrics_file.open("a") as file:
        file.write('{"epoch": 100')
    record = last_record(folder.metrics_file)
    assert record is not None
    assert record.epoch == 99
