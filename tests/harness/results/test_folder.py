"""Results on disk: nothing is half-written, nothing is lost, and a second process stays out."""

import json
import multiprocessing
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.errors import UserError
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.results.files import check_writable, load_tensors, save_tensors, saved_bytes, to_json, write_atomically
from harness.results.folder import RunFolder
from harness.results.frame import results_frame
from harness.results.record import read_result

FORK = multiprocessing.get_context("fork")


def a_spec(seed: int = 1) -> RunSpec:
    evaluate = [{"name": "base", "dataset": "emoji", "classes": "base"}]
    return parse_run_spec({"method": "skip", "seed": seed, "evaluate": evaluate})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path, a_spec().id)
    run.create()
    run.prepare(a_spec())
    return run


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """While it lasts, no file can grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data in (b"old", b"", b"new"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == {"a.json"}


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    with files_up_to(1000), pytest.raises(UserError, match=r"a\.json' cannot be written: File too large"):
        write_atomically(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"a.json"}


def test_no_temporary_stays_when_the_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.json" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=r"a\.json' cannot be written: Is a directory"):
        write_atomically(tmp_path / "a.json", b"new")
    assert names(tmp_path) == {"a.json"}


def test_a_missing_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file"):
        write_atomically(tmp_path / "gone" / "a.json", b"new")


def test_a_file_in_place_of_the_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "a.json", b"new")


def test_json_is_readable_and_has_no_nan() -> None:
    assert to_json({"b": "é", "a": [1.5, None]}) == '{\n "b": "é",\n "a": [\n  1.5,\n  null\n ]\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"a": float("nan")})


def test_a_new_folder_holds_the_spec_and_nothing_half_written(tmp_path: Path) -> None:
    spec = a_spec()
    run = RunFolder(tmp_path / "new" / "results", spec.id)
    run.create()
    run.prepare(spec)
    assert run.path == tmp_path / "new" / "results" / "runs" / spec.id
    assert parse_run_spec(yaml.safe_load((run.path / "spec.yaml").read_text())) == spec
    (run.path / "result.json.tmp").write_text("{half")
    (run.path / "log.txt").write_text("kept")
    run.create()
    run.prepare(spec)
    assert names(run.path) == {"spec.yaml", "log.txt"}


def test_a_results_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* choose another with RESULTS="):
        RunFolder(tmp_path / "file", "abc").create()
    with pytest.raises(UserError, match=r"cannot be written .* choose another with RESULTS="):
        check_writable(tmp_path / "file" / "results")


def test_a_writable_results_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "results")
    assert names(tmp_path / "new" / "results") == set()


def test_only_a_result_makes_a_run_complete(folder: RunFolder) -> None:
    assert not folder.is_complete
    folder.append_metrics({"epoch": 0})
    folder.save_progress({"w": torch.ones(2)}, {"epoch": 1})
    folder.save_checkpoint({"w": torch.ones(2)}, {})
    folder.write_json("sample.json", {})
    (folder.path / "result.json.tmp").write_text("{}")
    assert not folder.is_complete
    folder.finish({"id": "x"})
    assert folder.is_complete
    assert read_result(folder.result_file) == {"id": "x"}
    # What only an unfinished run needs is gone, the rest stays.
    assert folder.load_progress() is None
    assert folder.checkpoint_file.is_file()
    assert folder.read_metrics() == [{"epoch": 0}]


def test_a_result_that_cannot_be_written_leaves_the_run_incomplete_with_its_progress(folder: RunFolder) -> None:
    folder.save_progress({"w": torch.ones(2)}, {"epoch": 1})
    with files_up_to(1000), pytest.raises(UserError, match=r"result\.json' cannot be written"):
        folder.finish({"long": "x" * 100_000})
    assert not folder.is_complete
    assert folder.load_progress() is not None


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"id": ')
    with pytest.raises(UserError, match=r"result\.json' is damaged .* remove its folder"):
        read_result(path)


def test_a_result_of_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(b"\xff\x00\xfe")
    with pytest.raises(UserError, match=r"result\.json' is damaged"):
        read_result(path)


def test_metrics(folder: RunFolder) -> None:
    assert folder.read_metrics() == []
    assert folder.read_metrics(epochs=3) == []
    records = [{"epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(4)]
    for record in records:
        folder.append_metrics(record)
    assert folder.read_metrics() == records
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records


def test_metrics_are_cut_to_the_saved_epochs(folder: RunFolder) -> None:
    records = [{"epoch": epoch, "loss": 0.5} for epoch in range(4)]
    for record in records:
        folder.append_metrics(record)
    assert folder.read_metrics(epochs=2) == records[:2]
    assert folder.read_metrics() == records[:2]
    folder.append_metrics(records[2])
    assert folder.read_metrics() == records[:3]
    assert folder.read_metrics(epochs=0) == []
    assert (folder.path / "metrics.jsonl").read_bytes() == b""


@pytest.mark.parametrize("kept", [1, 9, -2])
def test_a_cut_last_line_is_left_out_and_removed(folder: RunFolder, kept: int) -> None:
    folder.append_metrics({"epoch": 0, "loss": 0.5})
    whole = json.dumps({"epoch": 1, "loss": 0.25}) + "\n"
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write(whole[:kept])
    assert folder.read_metrics() == [{"epoch": 0, "loss": 0.5}]
    folder.read_metrics(epochs=5)
    folder.append_metrics({"epoch": 1, "loss": 0.25})
    assert [record["epoch"] for record in folder.read_metrics()] == [0, 1]


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
    about = {"epoch": 2, "phases": {"train": {"seconds": 0.1, "peak": None}}, "name": "é"}
    folder.save_progress({"w": torch.zeros(9)}, {"epoch": 1})
    folder.save_progress(tensors, about)
    saved = folder.load_progress()
    assert saved is not None
    loaded, told = saved
    assert told == about
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_damaged_progress_is_named(folder: RunFolder, keep: int) -> None:
    folder.save_progress({"w": torch.ones(100)}, {"epoch": 2})
    path = folder.path / "progress.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"progress\.safetensors' is damaged .* remove it to start the run anew"):
        folder.load_progress()


def test_tensors_of_someone_else_are_no_progress(folder: RunFolder) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, folder.path / "progress.safetensors")
    with pytest.raises(UserError, match="is damaged"):
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


def start_claimer(root: Path) -> tuple[Any, Connection, str]:
    mine, its = FORK.Pipe()
    process = FORK.Process(target=try_claim, args=(root, a_spec().id, its))
    process.start()
    assert mine.poll(30)
    return process, mine, mine.recv()


def test_a_second_process_is_refused_until_the_first_lets_go(folder: RunFolder, tmp_path: Path) -> None:
    with folder.claimed():
        process, _, answer = start_claimer(tmp_path)
        process.join()
        assert answer.startswith(f"run {a_spec().id} is being computed by process {os.getpid()} on ")
    process, connection, answer = start_claimer(tmp_path)
    assert answer == "claimed"
    with pytest.raises(UserError, match=f"by process {process.pid} on "), folder.claimed():
        pass
    connection.send("go")
    process.join()
    with folder.claimed():
        pass


def test_a_killed_process_holds_no_claim(folder: RunFolder, tmp_path: Path) -> None:
    process, _, answer = start_claimer(tmp_path)
    assert answer == "claimed"
    process.kill()
    process.join()
    with folder.claimed():
        pass


def make_result(run_id: str, method: str, seed: int, accuracies: dict[str, float]) -> dict[str, Any]:
    spec = {
        "method": method,
        "backbone": "clip-emoji",
        "protocol": "base_to_new",
        "seed": seed,
        "recipe": "official",
        "data": {"dataset": "emoji", "shots": 16},
        "train": {"precision": "fp32", "cache": "fresh"},
    }
    costs = {
        "phases": {"train": {"seconds": 2.5, "images": 10}, "evaluate": {"seconds": 1.0, "images": 7}},
        "trainable_parameters": 5,
        "checkpoint_bytes": 99,
    }
    evaluations = [{"name": name, "accuracy": value, "ece": value / 10} for name, value in accuracies.items()]
    return {"id": run_id, "spec": spec, "costs": costs, "evaluations": evaluations, "environment": {"device": "cpu"}}


def test_results_as_a_table(tmp_path: Path) -> None:
    for run_id, method, seed, accuracies in (
        ("b", "skip", 1, {"base": 80.0, "new": 60.0}),
        ("a", "zeroshot", 2, {"base": 50.0, "new": 55.0}),
        ("c", "finetune", 1, {"all": 70.0}),
    ):
        run = RunFolder(tmp_path, run_id)
        run.create()
        run.prepare(a_spec())
        run.finish(make_result(run_id, method, seed, accuracies))
    RunFolder(tmp_path, "unfinished").create()

    frame = results_frame(tmp_path)
    assert list(frame["id"]) == ["a", "b", "c"]
    row = frame.set_index("id").loc["b"]
    expected = {
        "method": "skip",
        "dataset": "emoji",
        "backbone": "clip-emoji",
        "protocol": "base_to_new",
        "shots": 16,
        "seed": 1,
        "recipe": "official",
        "precision": "fp32",
        "cache": "fresh",
        "device": "cpu",
        "accuracy.base": 80.0,
        "accuracy.new": 60.0,
        "ece.base": 8.0,
        "train.seconds": 2.5,
        "evaluate.images": 7,
        "trainable_parameters": 5,
        "checkpoint_bytes": 99,
    }
    assert {key: row[key] for key in expected} == expected
    assert frame.set_index("id")["accuracy.all"].isna().to_dict() == {"a": True, "b": True, "c": False}

    chosen = results_frame(tmp_path, ["c", "unfinished", "unknown", "a"])
    assert list(chosen["id"]) == ["c", "a"]


def test_no_results_are_an_empty_table(tmp_path: Path) -> None:
    assert results_frame(tmp_path).empty
    assert results_frame(tmp_path / "gone").empty


@pytest.mark.parametrize("about", [{}, {"id": "ü", "spec": {"text": 'a "b" \\ c', "n": 1.5}}])
def test_the_size_of_a_file_is_known_before_it_is_written(about: dict[str, Any], tmp_path: Path) -> None:
    tensors = {
        "b.weight": torch.randn(3, 5),
        "a.half": torch.randn(7).half(),
        "z.count": torch.zeros((), dtype=torch.int64),
        "mask": torch.ones(9, dtype=torch.bool),
        "a.weight": torch.randn(1000),
    }
    for names in (list(tensors), ["mask"], []):
        some = {name: tensors[name] for name in names}
        assert saved_bytes(some, about) == save_tensors(tmp_path / "some.safetensors", some, about)
