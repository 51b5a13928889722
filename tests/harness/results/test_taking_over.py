"""Whoever loses a run while asleep writes nothing more, at whatever line it wakes up."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.machine import processes
from harness.results import files
from harness.results.claim import TakenOverError
from harness.results.epochs import EpochRecord
from harness.results.failure import RunFailure
from harness.results.files import file_system_time, remove_leftovers, temporary_path, write_atomically
from harness.results.folder import RunFolder
from harness.results.log import last_error, logging_to
from harness.results.progress import Progress
from harness.results.record import Result
from tests.made_up_results import a_result

WRITES: dict[str, Callable[[RunFolder, RunSpec, Result], object]] = {
    "spec": lambda run, spec, _: run.prepare(spec),
    "metrics": lambda run, *_: run.append_metrics(EpochRecord(epoch=1, loss=1.0, lr=0.1)),
    "metrics cut": lambda run, *_: run.read_metrics(epochs=0),
    "progress": lambda run, *_: run.save_progress({"w": torch.ones(2)}, Progress(epoch=2)),
    "checkpoint": lambda run, *_: run.save_checkpoint({"w": torch.ones(2)}, {}),
    "sample": lambda run, *_: run.write_json("sample.json", {}),
    "predictions": lambda run, *_: run.write_predictions({}),
    "result": lambda run, _, result: run.finish(result),
}


@pytest.fixture
def result(spec: RunSpec) -> Result:
    return a_result(spec, {"base": 60.0}, {"train": {"seconds": 1.0}})


@pytest.fixture
def filled(folder: RunFolder) -> RunFolder:
    """With a failure and one epoch, as an earlier start left them."""
    folder.append_metrics(EpochRecord(epoch=0, loss=1.0, lr=0.1))
    folder.write_failure(RunFailure(reason="of an earlier start"))
    return folder


def content(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def take_over(folder: RunFolder, loser: Path) -> None:
    """What another machine does that finds a claim dead, up to the moment when it begins to compute."""
    loser.unlink()
    with RunFolder(folder.path.parents[1], folder.path.name).claimed():
        pass


@pytest.mark.parametrize("name", WRITES)
def test_who_wakes_up_before_it_writes_writes_nothing(
    name: str, filled: RunFolder, spec: RunSpec, result: Result
) -> None:
    with filled.claimed() as mine:
        take_over(filled, mine.link)
        before = content(filled)
        with pytest.raises(TakenOverError, match="was taken over by another process while this process slept"):
            WRITES[name](filled, spec, result)
        assert content(filled) == before


@pytest.mark.parametrize("name", WRITES)
def test_who_wakes_up_between_the_check_and_the_renaming_writes_nothing(
    name: str, filled: RunFolder, spec: RunSpec, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled.claimed() as mine:
        before = content(filled)
        if name == "spec":
            del before["failure.json"]
        really = Path.replace

        def sleep_then_replace(self: Path, target: Path) -> Path:
            take_over(filled, mine.link)
            return really(self, target)

        monkeypatch.setattr(Path, "replace", sleep_then_replace)
        with pytest.raises(TakenOverError):
            WRITES[name](filled, spec, result)
        monkeypatch.undo()
        assert content(filled) == before


def test_the_log_is_the_winners_then(folder: RunFolder) -> None:
    folder.log_file.write_text("2026-01-01T00:00:00Z INFO epoch 0\n")
    with pytest.raises(TakenOverError), logging_to(folder.log_file):
        raise TakenOverError("run was taken over")
    assert last_error(folder.log_file) is None
    assert folder.log_file.read_text().count("\n") == 1


def test_a_failure_is_not_written_into_a_run_that_another_process_computes(folder: RunFolder) -> None:
    with folder.claimed(), pytest.raises(UserError, match="is being computed by"):
        RunFolder(folder.path.parents[1], folder.path.name).write_failure(RunFailure(reason="mine"))
    assert not folder.failure_file.exists()


def test_a_failure_is_not_written_into_a_complete_run(folder: RunFolder, result: Result) -> None:
    folder.finish(result)
    folder.write_failure(RunFailure(reason="mine"))
    assert not folder.failure_file.exists()


def test_a_temporary_file_that_vanishes_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really, tries = Path.replace, []

    def lose_it_twice(self: Path, target: Path) -> Path:
        tries.append(self.name)
        if len(tries) <= 2:
            self.unlink()
        return really(self, target)

    monkeypatch.setattr(Path, "replace", lose_it_twice)
    write_atomically(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    assert len(set(tries)) == 3
    tries[:] = []
    monkeypatch.setattr(Path, "replace", lambda self, target: really(tmp_path / "nowhere", target))
    with pytest.raises(UserError, match=r"'.*/a' cannot be written: No such file"):
        write_atomically(tmp_path / "a", b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_no_two_temporary_files_have_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("long" * 60)
    names = {temporary_path(path).name for _ in range(100)}
    monkeypatch.setattr("harness.results.files.this_machine", lambda: "another")
    names |= {temporary_path(path).name for _ in range(100)}
    assert len(names) == 200
    assert all(len(name.encode()) < 255 for name in names)


def test_only_the_temporary_files_of_the_dead_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    mine = temporary_path(path)
    monkeypatch.setattr("harness.results.files.start_of", lambda pid: "1")
    files.writer.cache_clear()
    reused = temporary_path(path)
    monkeypatch.undo()
    files.writer.cache_clear()
    monkeypatch.setattr("harness.results.files.this_machine", lambda: "another")
    remote, old = temporary_path(path), temporary_path(path)
    monkeypatch.undo()
    notes = tmp_path / "table.csv.tmp"
    for file in (mine, reused, remote, old, notes):
        file.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    remove_leftovers(tmp_path, "other.")
    assert reused.exists()
    write_atomically(path, b"whole")
    assert {file.name for file in tmp_path.iterdir()} == {mine.name, remote.name, notes.name, path.name}


def test_the_time_of_the_file_system_leaves_no_file(tmp_path: Path) -> None:
    assert abs(file_system_time(tmp_path) - time.time()) < 60
    assert list(tmp_path.iterdir()) == []


def test_a_machine_can_be_given_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = processes.this_machine.__wrapped__()
    monkeypatch.setenv("SKIPBENCH_MACHINE", "b")
    assert processes.this_machine.__wrapped__() == "b" != own


def test_whose_folder_was_set_aside_has_lost_the_run(folder: RunFolder, tmp_path: Path) -> None:
    with folder.claimed():
        folder.path.rename(tmp_path / "aside")
        with pytest.raises(TakenOverError):
            folder.write_json("sample.json", {})
    assert not folder.path.exists()
