"""Looking at the runs of a results folder: runs, show, rerun, export."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.results.claim import claimed
from harness.results.failure import FailedAttempt, RunFailure
from harness.results.folder import RunFolder
from harness.results.index import find_run, stored_runs
from harness.schedule import run_all
from harness.training.events import Event, TrainingProgress
from harness.training.run import Run
from tests.chaos import EVALUATE
from tests.commands import ROOT, error_line, skipbench


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, one failed, one interrupted after its first epoch."""
    folder = tmp_path_factory.mktemp("results")
    experiment = load_experiment(
        ROOT / "experiments" / "bench.yaml", {"methods": ["zeroshot", "clip_adapter"], "seeds": [1, 2], "shots": [1]}
    )
    changes = {"train": {"epochs": 2, "batch_size": 4}, "evaluate": EVALUATE}
    zeroshot, first, second = expand(experiment, changes)
    assert run_all([zeroshot, first], folder) == []

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(second, folder, interrupt).execute()
    (bad,) = expand(
        experiment.model_copy(update={"methods": ("skip",), "seeds": (1,)}), changes | {"data": {"flip": False}}
    )
    RunFolder(folder, bad.id).create()
    RunFolder(folder, bad.id).prepare(bad)
    why = {"kind": "killed", "reason": "it was the test"}
    attempt = FailedAttempt(**why, started=0.0, seconds=3.2, host="here", device="cpu")
    RunFolder(folder, bad.id).write_failure(RunFailure(**why, attempts=(attempt,)))
    return folder


def id_of(results: Path, name: str) -> str:
    (found,) = (run.id for run in stored_runs(results) if run.name.startswith(name))
    return found


def test_states_and_outcomes(results: Path) -> None:
    found = {run.name: (run.state, run.outcome) for run in stored_runs(results)}
    assert found["clip_adapter-emoji-1shot-seed2"] == ("interrupted", "1 of 2 epochs")
    assert found["skip-emoji-1shot-seed1"] == ("failed", "it was the test")
    assert found["zeroshot-emoji-1shot-seed1"][0] == found["clip_adapter-emoji-1shot-seed1"][0] == "done"
    assert found["zeroshot-emoji-1shot-seed1"][1].startswith("new ")


def test_runs_lists_and_filters(results: Path) -> None:
    lines = skipbench("runs", "--results", str(results)).stdout.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "2 done, 1 failed, 1 interrupted"
    lines = skipbench(
        "runs", "--method", "clip_adapter", "--interrupted", "--results", str(results)
    ).stdout.splitlines()
    assert lines[-1] == "1 interrupted"
    assert skipbench("runs", "--running", "--results", str(results)).stdout == "no such runs\n"
    folder = RunFolder(results, id_of(results, "skip"))
    with claimed(folder.path):
        listed = skipbench("runs", "--running", "--results", str(results)).stdout
    assert f"running     {folder.path.name}" in listed
    assert f"by process {os.getpid()} on " in listed


def test_show_explains_each_state(results: Path) -> None:
    done = skipbench("show", id_of(results, "clip_adapter-emoji-1shot-seed1"), "--results", str(results)).stdout
    for words in ("done", "Accuracy", "Costs", "MiB peak", "parameters trained", "epochs: 2"):
        assert words in done
    assert " 0.0 MiB peak" not in done, "what was not measured is not shown as 0"
    begun = skipbench("show", id_of(results, "clip_adapter-emoji-1shot-seed2"), "--results", str(results)).stdout
    for words in ("interrupted", "epoch 0 loss", "End of the log", "skipbench rerun"):
        assert words in begun
    failed = skipbench("show", id_of(results, "skip"), "--results", str(results)).stdout
    for words in ("failed", "Attempts", "1970-01-01 00:00:00Z here cpu, 3 s, 0 epochs", "killed: it was the test"):
        assert words in failed


def test_a_run_is_found_by_the_beginning_of_its_id(results: Path) -> None:
    run_id = id_of(results, "zeroshot")
    assert find_run(results, run_id[:10]).id == run_id
    with pytest.raises(UserError, match=f"Did you mean '{run_id}'"):
        find_run(results, run_id[:-1] + "x")
    with pytest.raises(UserError, match="no run ''"):
        find_run(results, "")
    with pytest.raises(UserError, match="holds no runs"):
        find_run(results / "elsewhere", "a")


def test_export_is_tidy_and_complete(results: Path, tmp_path: Path) -> None:
    told = skipbench("export", "--out", str(tmp_path / "all.csv"), "--results", str(results)).stdout
    table = pd.read_csv(tmp_path / "all.csv")
    assert told.startswith(f"2 rows of 2 runs, {len(table.columns)} columns")
    for run in stored_runs(results):
        if run.result:
            (row,) = table[table["id"] == run.id].to_dict("records")
            assert row["evaluation.accuracy"] == pytest.approx(run.result.evaluations[0].accuracy)
            assert row["data.shots"] == 1
            assert row["costs.phases.evaluate.seconds"] > 0
            assert row["train.epochs"] == run.result.spec.train.epochs
    assert skipbench("export", "--out", str(tmp_path / "all.parquet"), "--results", str(results)).returncode == 0
    assert pd.read_parquet(tmp_path / "all.parquet")["id"].tolist() == table["id"].tolist()
    assert "must end in .csv or .parquet" in error_line("export", "--out", "x.xlsx", "--results", str(results))


def test_rerun_goes_on_or_starts_anew_and_keeps_what_was_there(results: Path) -> None:
    begun, done = (id_of(results, f"clip_adapter-emoji-1shot-seed{seed}") for seed in (2, 1))
    before = json.loads((results / "runs" / done / "result.json").read_text())
    again = skipbench("rerun", begun, done[:9], "runtime.keep_validation_logits=true", "--results", str(results))
    assert again.returncode == 0, again.stderr
    assert json.loads((results / "runs" / begun / "result.json").read_text())["interruptions"] == 1
    kept = results / "replaced" / f"{done}-1"
    assert str(kept) in again.stdout.replace("\n", "")
    assert json.loads((kept / "result.json").read_text()) == before
    assert json.loads((results / "runs" / done / "result.json").read_text())["evaluations"] == before["evaluations"]
    # A setting of `runtime` makes no other run.
    validation = "validation-logits.safetensors"
    assert (results / "runs" / done / validation).exists()
    assert not (kept / validation).exists()
    assert not list(results.rglob("claim-*"))
    assert "would make another run" in error_line("rerun", done, "train.epochs=3", "--results", str(results))
    assert "name runs by id" in error_line("rerun", "--results", str(results))
