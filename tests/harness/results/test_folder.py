"""A run's folder: nothing is half-written, nothing is lost, and a second process stays out."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.errors import UserError
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.machine.costs import PhaseCosts
from harness.results.epochs import EpochRecord
from harness.results.files import check_writable, load_tensors, save_tensors
from harness.results.folder import RunFolder
from harness.results.progress import Progress
from harness.results.record import CacheFacts, DamagedError, Prediction, Result, read_result
from tests.commands import ROOT
from tests.made_up_results import a_result

FORK = multiprocessing.get_context("fork")
EARLIER = ROOT / "tests/harness/results/earlier_versions"
FilesUpTo = Callable[[int], AbstractContextManager[None]]


def an_epoch(epoch: int, **facts: Any) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=1 / (epoch + 1), lr=0.1, **facts)


@pytest.fixture
def result(spec: RunSpec) -> Result:
    return a_result(spec, {"base": 60.0}, {"train": {"seconds": 1.0}})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_folder_holds_the_spec_and_nothing_half_written(tmp_path: Path, spec: RunSpec) -> None:
    run = RunFolder(tmp_path / "new" / "results", spec.id)
    run.create()
    run.prepare(spec)
    assert run.path == tmp_path / "new" / "results" / "runs" / spec.id
    assert parse_run_spec(yaml.safe_load((run.path / "spec.yaml").read_text())) == spec
    (run.path / "result.json.tmp").write_text("{half")
    (run.path / "log.txt").write_text("kept")
    run.create()
    with run.claimed():
        run.prepare(spec)
    assert names(run.path) == {"spec.yaml", "log.txt"}


def test_a_results_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* choose another with RESULTS="):
        RunFolder(tmp_path / "file", "abc").create()
    with pytest.raises(UserError, match=r"cannot be written .* choose another with RESULTS="):
        check_writable(tmp_path / "file" / "results")


def test_only_a_result_makes_a_run_complete(folder: RunFolder, result: Result) -> None:
    assert not folder.is_complete
    folder.append_metrics(an_epoch(0))
    folder.save_progress({"w": torch.ones(2)}, Progress(epoch=1))
    folder.save_checkpoint({"w": torch.ones(2)}, {})
    folder.write_json("sample.json", {})
    (folder.path / "result.json.tmp").write_text("{}")
    assert not folder.is_complete
    folder.finish(result)
    assert folder.is_complete
    assert read_result(folder.result_file) == folder.read_result() == result
    # What only an unfinished run needs is gone, the rest stays.
    assert folder.load_progress() is None
    assert folder.checkpoint_file.is_file()
    assert folder.read_metrics() == [an_epoch(0)]


def test_a_result_that_cannot_be_written_leaves_the_run_incomplete_with_its_progress(
    folder: RunFolder, result: Result, files_up_to: FilesUpTo
) -> None:
    folder.append_metrics(an_epoch(0))
    folder.save_progress({"w": torch.ones(2)}, Progress(epoch=1))
    with files_up_to(1000), pytest.raises(UserError, match=r"result\.json' cannot be written"):
        folder.finish(result.model_copy(update={"name": "x" * 100_000}))
    assert not folder.is_complete
    assert folder.load_progress() is not None


def test_metrics(folder: RunFolder) -> None:
    assert folder.read_metrics() == []
    assert folder.read_metrics(epochs=3) == []
    assert folder.recorded_epochs == 0
    records = [an_epoch(epoch) for epoch in range(4)]
    for record in records:
        folder.append_metrics(record)
    assert folder.read_metrics() == records
    assert folder.recorded_epochs == 4
    lines = folder.metrics_file.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record.line() for record in records]


def test_metrics_are_cut_to_the_saved_epochs(folder: RunFolder) -> None:
    records = [an_epoch(epoch) for epoch in range(4)]
    for record in records:
        folder.append_metrics(record)
    assert folder.read_metrics(epochs=2) == records[:2]
    assert folder.read_metrics() == records[:2]
    folder.append_metrics(records[2])
    assert folder.read_metrics() == records[:3]
    assert folder.read_metrics(epochs=0) == []
    assert folder.metrics_file.read_bytes() == b""


@pytest.mark.parametrize("kept", [1, 9, -2])
def test_a_cut_last_line_is_left_out_and_removed(folder: RunFolder, kept: int) -> None:
    folder.append_metrics(an_epoch(0))
    whole = json.dumps(an_epoch(1).line()) + "\n"
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write(whole[:kept])
    assert folder.read_metrics() == [an_epoch(0)]
    folder.read_metrics(epochs=5)
    folder.append_metrics(an_epoch(1))
    assert [record.epoch for record in folder.read_metrics()] == [0, 1]


@pytest.mark.parametrize("garbage", [b"{\n", b"\x00\xff\xfe\n", b"[1, 2]\n", b'{"epoch": 1}\n', b"\n"])
def test_garbage_before_the_last_line_is_told_and_not_cut(folder: RunFolder, garbage: bytes) -> None:
    lines = [json.dumps(an_epoch(epoch).line()).encode() + b"\n" for epoch in range(3)]
    folder.metrics_file.write_bytes(lines[0] + garbage + lines[2])
    for epochs in (None, 2):
        with pytest.raises(UserError, match=rf"metrics\.jsonl' is damaged in line 2: .* --anew {folder.path.name}`$"):
            folder.read_metrics(epochs)
    assert folder.recorded_epochs == 3


def test_lines_of_earlier_versions_are_rewritten_as_they_were() -> None:
    paths = sorted(EARLIER.glob("*/metrics.jsonl"))
    assert len(paths) == 15
    for path in paths:
        lines = path.read_text().splitlines()
        records = [EpochRecord.model_validate_json(line) for line in lines]
        assert [json.dumps(record.line()) for record in records] == lines


def test_accuracies_of_an_epoch_are_keys_of_its_line(folder: RunFolder) -> None:
    record = an_epoch(0, accuracies={"base": 50.0, "new": 40.0}, images=12, train_seconds=2.0, cache_seconds=1.0)
    assert {"accuracy.base", "accuracy.new"} <= record.line().keys()
    assert "accuracies" not in record.line()
    folder.append_metrics(record)
    assert folder.read_metrics() == [record]
    assert record.images_per_second == 4.0
    assert an_epoch(0).images_per_second == 0.0


def test_predictions_round_trip(folder: RunFolder) -> None:
    assert folder.read_predictions() == {}
    predictions = {"base": [Prediction(path="a/é.png", label="cat", predicted="dog", confidence=0.25)], "new": []}
    folder.write_predictions(predictions)
    assert folder.read_predictions() == predictions


@pytest.mark.parametrize("text", ["", "[1, 2]", "null", '{"base": 3}', '{"base": [{"path": "a"}]}'])
def test_damaged_predictions_are_named(folder: RunFolder, text: str) -> None:
    (folder.path / "predictions.json").write_text(text)
    with pytest.raises(UserError, match=r"predictions\.json' is damaged .* remove it, and reports leave .* out$"):
        folder.read_predictions()


def test_progress_round_trip(folder: RunFolder) -> None:
    assert folder.load_progress() is None
    square = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "w": square.clone().requires_grad_(),
        "turned": square.T,
        "half": square.half(),
        "brain": square.bfloat16(),
        "mask": torch.tensor([True, False]),
        "count": torch.tensor(7),
        "none": torch.empty(0, 3),
    }
    progress = Progress(
        epoch=2,
        phases={"train": PhaseCosts(seconds=0.1, images=3, peak_tensor_bytes=7)},
        flops={"train": 1e9},
        starts=3,
        alone=False,
        cache=CacheFacts(cache_location="file", cache_bytes=5),
    )
    for epoch in range(2):
        folder.append_metrics(an_epoch(epoch))
    folder.save_progress({"w": torch.zeros(9)}, Progress(epoch=1))
    folder.save_progress(tensors, progress)
    saved = folder.load_progress()
    assert saved is not None
    loaded, found = saved
    assert found == progress
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_damaged_progress_is_named(folder: RunFolder, keep: int) -> None:
    folder.save_progress({"w": torch.ones(100)}, Progress(epoch=2))
    path = folder.path / "progress.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedError, match=r"progress\.safetensors' is damaged \(it is no complete file of tensors\)$"):
        folder.load_progress()


def test_the_size_of_a_checkpoint_is_that_of_its_file(folder: RunFolder, tmp_path: Path) -> None:
    size = folder.save_checkpoint({"w": torch.ones(100)}, {"id": "x"})
    assert size == folder.checkpoint_file.stat().st_size > 400
    assert save_tensors(tmp_path / "t", {"w": torch.ones(200)}, {"id": "x"}) - size == 400
    tensors, about = load_tensors(folder.checkpoint_file)
    assert about == {"id": "x"}
    assert torch.equal(tensors["w"], torch.ones(100))


def try_claim(root: Path, run_id: str, connection: Connection) -> None:
    """In another process: say whether the folder could be claimed, then hold it until told to go."""
    try:
        with RunFolder(root, run_id).claimed():
            connection.send("claimed")
            connection.poll(30)
    except UserError as error:
        connection.send(str(error))


def start_claimer(folder: RunFolder) -> tuple[Any, Connection, str]:
    mine, its = FORK.Pipe()
    process = FORK.Process(target=try_claim, args=(folder.path.parents[1], folder.path.name, its))
    process.start()
    assert mine.poll(30)
    return process, mine, mine.recv()


def test_a_second_process_is_refused_until_the_first_lets_go(folder: RunFolder) -> None:
    with folder.claimed():
        process, _, answer = start_claimer(folder)
        process.join()
        assert answer.startswith(f"run {folder.path.name} is being computed by process {os.getpid()} on ")
    process, connection, answer = start_claimer(folder)
    assert answer == "claimed"
    with pytest.raises(UserError, match=f"by process {process.pid} on "), folder.claimed():
        pass
    connection.send("go")
    process.join()
    with folder.claimed():
        pass


def test_a_killed_process_holds_no_claim(folder: RunFolder) -> None:
    process, _, answer = start_claimer(folder)
    assert answer == "claimed"
    process.kill()
    process.join()
    with folder.claimed():
        pass


def test_a_folder_is_set_aside_under_a_free_number(folder: RunFolder, spec: RunSpec) -> None:
    root = folder.path.parents[1]
    for removed, number in ((None, 1), (None, 2), (1, 3), (None, 4), (4, 4)):
        if removed:
            shutil.rmtree(root / "replaced" / f"{spec.id}-{removed}")
        folder.create()
        folder.prepare(spec)
        assert folder.set_aside(root) == root / "replaced" / f"{spec.id}-{number}"
    (root / "replaced" / f"{spec.id}-of-mine").mkdir()
    folder.create()
    assert folder.set_aside(root).name == f"{spec.id}-5"
