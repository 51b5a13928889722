"""The index of a results folder: every run, how it stands and why, damaged ones included."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results.claim import claimed
from harness.results.epochs import EpochRecord
from harness.results.failure import FailedAttempt, RunFailure
from harness.results.folder import RunFolder
from harness.results.index import StoredRun, find_id, find_run, planned_runs, runs_if_any, stored_runs
from tests.made_up_results import result_json, write_result

MakeSpec = Callable[..., RunSpec]


def look_at(folder: RunFolder) -> StoredRun:
    """The run as the index has it after what was done to its folder."""
    return StoredRun(folder)


def test_a_run_passes_through_its_states(folder: RunFolder, spec: RunSpec) -> None:
    root = folder.path.parents[1]
    assert look_at(folder).state == "missing"
    with claimed(folder.path):
        running = look_at(folder)
        assert running.state == "running"
        assert running.outcome.startswith("0 of 10 epochs, by process ")
    folder.append_metrics(EpochRecord(epoch=0, loss=1.0, lr=0.1))
    folder.log_file.write_text("2026-01-01T00:00:00Z INFO x\n")
    interrupted = look_at(folder)
    assert (interrupted.state, interrupted.outcome, interrupted.reason) == ("interrupted", "1 of 10 epochs", "")
    folder.log_file.write_text("2026-01-01T00:00:00Z ERROR no data\n")
    failed = look_at(folder)
    assert (failed.state, failed.outcome, failed.failure) == ("failed", "no data", None)
    attempt = FailedAttempt(kind="killed", reason="memory ran out", started=0.0, seconds=1.0)
    folder.write_failure(RunFailure(kind="killed", reason="memory ran out", attempts=(attempt,)))
    failed = look_at(folder)
    assert (failed.state, failed.reason) == ("failed", "memory ran out")
    assert failed.failure is not None
    assert failed.failure.attempts == (attempt,)
    write_result(root, result_json(spec, {"base": 61.234}, {}))
    done = look_at(folder)
    assert (done.state, done.outcome, done.reason, done.failure) == ("done", "base 61.23", "", None)
    assert done.spec == spec
    assert done.settings == spec.settings()
    assert (done.id, done.name) == (spec.id, spec.name)


DAMAGED_RESULTS = [
    (b'{"id": ', "EOF while parsing"),
    (b"[1, 2]", "Input should be an object"),
    (b"null", "Input should be an object"),
    (b'{"name": "of another program"}', "id: Field required"),
    (b"\x00\xff", "Invalid JSON"),
]


@pytest.mark.parametrize(("text", "reason"), DAMAGED_RESULTS)
def test_a_damaged_result_is_a_damaged_run(text: bytes, reason: str, folder: RunFolder, spec: RunSpec) -> None:
    folder.result_file.write_bytes(text)
    run = look_at(folder)
    assert run.state == "damaged"
    assert run.outcome == run.reason
    assert reason in run.reason
    assert str(folder.result_file) in run.reason
    assert "\n" not in run.reason
    # What is known otherwise is still known.
    assert run.spec == spec
    (planned,) = planned_runs([spec], folder.path.parents[1])
    assert (planned.state, planned.reason) == ("damaged", run.reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\x00\xff\xfe", "is damaged"),
        (b"a: [", "is damaged"),
        (b"[" * 5000, "is damaged"),
        (b"[1, 2]", "is not the spec of a run"),
        (b"null", "is not the spec of a run"),
        (b"", "is not the spec of a run"),
        (b"method: skip\n", "is not the spec of a run ('evaluate' is missing)"),
        (b"method: skip\nof_tomorrow: 1\nevaluate: [{name: a, dataset: emoji}]\n", "(unknown key 'of_tomorrow'."),
    ],
)
def test_a_damaged_spec_is_a_damaged_run(text: bytes, reason: str, folder: RunFolder, spec: RunSpec) -> None:
    path = folder.path / "spec.yaml"
    path.write_bytes(text)
    run = look_at(folder)
    assert (run.state, run.spec, run.settings) == ("damaged", None, {})
    assert run.reason.startswith(f"'{path}' is ")
    assert reason in run.reason
    assert run.reason.endswith(": remove its folder to start the run anew")
    # The result of a complete run says what the spec was.
    write_result(folder.path.parents[1], result_json(spec, {"base": 61.0}, {}))
    run = look_at(folder)
    assert (run.state, run.spec) == ("done", spec)


def test_damaged_metrics_are_told_where_a_run_would_go_on_from_them(folder: RunFolder, spec: RunSpec) -> None:
    folder.log_file.write_text("2026-01-01T00:00:00Z INFO x\n")
    folder.metrics_file.write_text("garbage\n" + json.dumps(EpochRecord(epoch=1, loss=1.0, lr=0.1).line()) + "\n")
    run = look_at(folder)
    assert (run.state, run.epochs) == ("damaged", [])
    assert "metrics.jsonl' is damaged in line 1" in run.reason
    # A line that was cut by the end of its process is no damage.
    folder.metrics_file.write_text(json.dumps(EpochRecord(epoch=0, loss=1.0, lr=0.1).line()) + '\n{"epoch": 1, "lo')
    run = look_at(folder)
    assert (run.state, run.outcome) == ("interrupted", "1 of 10 epochs")
    # A failed run keeps its reason.
    folder.metrics_file.write_text("garbage\n\n")
    folder.log_file.write_text("2026-01-01T00:00:00Z ERROR no data\n")
    assert look_at(folder).outcome == "no data"


def test_a_result_in_the_folder_of_another_run_is_damage(tmp_path: Path, make_spec: MakeSpec) -> None:
    one, other = make_spec("skip"), make_spec("coop")
    folder = write_result(tmp_path, result_json(one, {"base": 61.0}, {}))
    folder.rename(folder.with_name(other.id))
    (run,) = stored_runs(tmp_path)
    assert run.state == "damaged"
    assert f"holds the result of run {one.id}" in run.reason


def test_a_folder_without_files_is_a_missing_run(tmp_path: Path) -> None:
    (tmp_path / "runs" / "abc").mkdir(parents=True)
    (run,) = stored_runs(tmp_path)
    assert (run.state, run.spec, run.result, run.reason) == ("missing", None, None, "")
    assert run.outcome == "0 of ? epochs"


def test_all_runs_come_by_id_and_files_between_them_are_none(tmp_path: Path) -> None:
    for run_id in ("b", "a", "c"):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    assert [run.id for run in stored_runs(tmp_path)] == ["a", "b", "c"]
    assert [run.id for run in runs_if_any(tmp_path)] == ["a", "b", "c"]


def test_a_folder_without_runs_is_an_error_where_runs_are_asked_for(tmp_path: Path) -> None:
    assert list(runs_if_any(tmp_path / "gone")) == []
    with pytest.raises(UserError, match=r"gone' holds no runs: name the folder with --results"):
        list(stored_runs(tmp_path / "gone"))
    with pytest.raises(UserError, match="holds no runs"):
        find_run(tmp_path / "gone", "a")


def test_planned_runs_are_those_of_the_specs_in_their_order(tmp_path: Path, make_spec: MakeSpec) -> None:
    specs = [make_spec("skip", seed=2), make_spec("skip", seed=1)]
    write_result(tmp_path, result_json(specs[1], {"base": 50.0}, {}))
    found = list(planned_runs(specs, tmp_path))
    assert [run.id for run in found] == [spec.id for spec in specs]
    assert [run.state for run in found] == ["missing", "done"]
    assert found[0].spec == specs[0]


def test_ids_are_found_by_their_beginning() -> None:
    ids = ["8e01", "8e02", "8e", "762107", *(f"c{n}" for n in range(7))]
    where = Path("there")
    assert find_id(ids, "76", where) == "762107"
    # An id that others begin with.
    assert find_id(ids, "8e", where) == "8e"
    with pytest.raises(UserError, match=r"^'8e0' is the beginning of 2 run ids: 8e01, 8e02$"):
        find_id(ids, "8e0", where)
    with pytest.raises(UserError, match=r"is the beginning of 7 run ids: c0, c1, c2, c3, c4, \.\.\.$"):
        find_id(ids, "c", where)
    with pytest.raises(UserError, match=r"^no run '762108' in 'there'\. Did you mean '762107'\?"):
        find_id(ids, "762108", where)
    with pytest.raises(UserError, match=r"^no run '' in 'there'"):
        find_id(ids, "", where)


def test_results_that_nobody_keeps_are_gone(tmp_path: Path, make_spec: MakeSpec) -> None:
    specs = [make_spec("skip", seed=seed) for seed in (1, 2, 3)]
    for spec in specs:
        write_result(tmp_path, result_json(spec, {"base": 50.0}, {}))
    seen = []
    for run in planned_runs(specs, tmp_path):
        assert run.result
        gone = [known() is None for known in seen]
        assert gone == [True] * len(gone)
        seen.append(weakref.ref(run))
        del run
