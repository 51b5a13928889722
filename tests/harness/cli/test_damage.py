"""A damaged run is named with its reason, the others are shown, and the exit code says so."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from tests.commands import error_line, skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


class Damaged(NamedTuple):
    """A results folder.

    Attributes:
        root: the folder.
        good: runs that are as they should be.
        reasons: id of a damaged run -> part of its reason.
    """

    root: Path
    good: list[RunSpec]
    reasons: dict[str, str]


@pytest.fixture
def damaged(tmp_path: Path, plan_runs: Plan, fill: Fill) -> Damaged:
    """Three good runs of zero-shot CLIP and CoOp, and all kinds of damage."""
    good = plan_runs("base_to_new", methods=["zeroshot", "coop"], seeds=[1, 2])
    fill(tmp_path, good)
    bad = plan_runs("base_to_new", methods=["skip"], seeds=[1, 2, 3, 4])
    fill(tmp_path, bad[:1])
    # Cut by a full disk, its spec still there.
    cut = RunFolder(tmp_path, bad[0].id)
    cut.write_spec(bad[0])
    cut.result_file.write_bytes(cut.result_file.read_bytes()[:500])
    texts = {"list": "[1, 2]", "null": "null", "foreign": '{"name": "of another program", "version": 3}'}
    for name, text in texts.items():
        folder = tmp_path / "runs" / name
        folder.mkdir()
        (folder / "result.json").write_text(text)
    binary = tmp_path / "runs" / "binary"
    binary.mkdir()
    (binary / "spec.yaml").write_bytes(b"\x00\xff\xfe\x01")
    (tmp_path / "runs" / "empty").mkdir()
    # Interrupted, and garbage where it would go on from.
    garbage = RunFolder(tmp_path, bad[1].id)
    garbage.create()
    garbage.prepare(bad[1])
    garbage.log_file.write_text("2026-01-01T00:00:00Z INFO epoch 0\n")
    garbage.metrics_file.write_text('garbage\n{"epoch": 1, "loss": 1.0, "lr": 0.1}\n')
    # Interrupted while it wrote a line: that is no damage.
    torn = RunFolder(tmp_path, bad[2].id)
    torn.create()
    torn.prepare(bad[2])
    torn.log_file.write_text("2026-01-01T00:00:00Z INFO epoch 0\n")
    torn.metrics_file.write_text('{"epoch": 0, "loss": 1.0, "lr": 0.1}\n{"epoch": 1, "lo')
    reasons = {
        bad[0].id: "result.json' is not the result of a run (Invalid JSON: EOF",
        "list": "list/result.json' is not the result of a run (Input should be an object",
        "null": "null/result.json' is not the result of a run (Input should be an object",
        "foreign": "foreign/result.json' is not the result of a run (id: Field required",
        "binary": "binary/spec.yaml' is damaged (",
        bad[1].id: "metrics.jsonl' is damaged in line 1: ",
    }
    return Damaged(tmp_path, good, reasons)


def check_stderr(printed: str, reasons: dict[str, str]) -> None:
    """One line for every damaged run, and nothing else."""
    lines = printed.splitlines()
    assert all(line.startswith("damaged: '") for line in lines), printed
    for reason in reasons.values():
        assert sum(reason in line for line in lines) == 1, reason
    assert len(lines) == len(reasons)


def test_runs_lists_them_all(damaged: Damaged) -> None:
    done = skipbench("runs", "--results", str(damaged.root))
    assert done.returncode == 1
    check_stderr(done.stderr, damaged.reasons)
    lines = done.stdout.splitlines()
    assert lines[-1] == "3 done, 1 interrupted, 1 missing, 6 damaged"
    for run_id, reason in damaged.reasons.items():
        (line,) = (line for line in lines if run_id in line.split()[:2])
        assert line.startswith("damaged")
        assert reason in line
    only = skipbench("runs", "--damaged", "--results", str(damaged.root))
    assert only.returncode == 1
    assert only.stdout.splitlines()[-1] == "6 damaged"
    # Where none of them is asked for, all is well.
    good = skipbench("runs", "--done", "--results", str(damaged.root))
    assert (good.returncode, good.stderr) == (0, "")


def test_table_shows_the_rest(damaged: Damaged) -> None:
    done = skipbench("table", "--format", "csv", "--results", str(damaged.root))
    assert done.returncode == 1
    check_stderr(done.stderr, damaged.reasons)
    frame = pd.read_csv(damaged.root / "tables" / "results-base_to_new-16shot.csv").set_index(["row", "column"])
    assert frame.loc[("H", "coop"), "seeds"] == 2
    # Runs whose spec is still known are dashes, with the reason below the table.
    assert frame.loc[("H", "skip"), "state"] == "failed"
    assert "failed; 2 of 6 runs (skip-emoji-16shot-seed1: " in done.stdout


def test_figures_report_and_export_show_the_rest(damaged: Damaged) -> None:
    for command, file in (
        ("figures", "figures/results-base_to_new-16shot-accuracy-time.svg"),
        ("report", "reports/results.html"),
    ):
        done = skipbench(command, "--results", str(damaged.root))
        assert done.returncode == 1, command
        check_stderr(done.stderr, damaged.reasons)
        assert "CoOp" in (damaged.root / file).read_text()
    done = skipbench("export", "--out", str(damaged.root / "all.csv"), "--results", str(damaged.root))
    assert done.returncode == 1
    check_stderr(done.stderr, damaged.reasons)
    assert set(pd.read_csv(damaged.root / "all.csv")["id"]) == {spec.id for spec in damaged.good}


def test_an_experiment_names_the_damaged_runs_that_are_its_own(damaged: Damaged) -> None:
    ids = list(damaged.reasons)
    of_skip = {run_id: damaged.reasons[run_id] for run_id in (ids[0], ids[-1])}
    for command in ("table", "figures", "report"):
        words = (command, "--methods", "coop,skip", "--seeds", "1,2", "--results", str(damaged.root))
        done = skipbench(*words)
        assert done.returncode == 1, command
        check_stderr(done.stderr, of_skip)
        done = skipbench(command, "--methods", "coop", "--seeds", "1,2", "--results", str(damaged.root))
        assert (done.returncode, done.stderr) == (0, "")
    done = skipbench("table", "--over", "coop.n_ctx", "--methods", "coop", "--results", str(damaged.root))
    assert done.returncode == 1
    check_stderr(done.stderr, damaged.reasons)


def test_bench_of_complete_runs_prints_the_table_of_those_that_can_be_read(damaged: Damaged) -> None:
    first = next(iter(damaged.reasons))
    done = skipbench("bench", "zeroshot,coop,skip", "--seeds", "1", "--results", str(damaged.root))
    assert done.returncode == 1
    check_stderr(done.stderr, {first: damaged.reasons[first]})
    assert "coop" in done.stdout
    assert "3 of 3 runs are complete already." in done.stdout


def test_comparisons_name_the_damaged_runs_of_both_sides(damaged: Damaged) -> None:
    one, other = damaged.root / "one.yaml", damaged.root / "other.yaml"
    one.write_text("methods: [coop, skip]\nseeds: [1]\n")
    other.write_text("methods: [coop]\nseeds: [2]\n")
    done = skipbench("compare", str(one), str(other), "--results", str(damaged.root))
    assert done.returncode == 1
    first = next(iter(damaged.reasons))
    check_stderr(done.stderr, {first: damaged.reasons[first]})
    assert "accuracy (%) and costs" in done.stdout


def test_a_damaged_run_that_is_asked_for_is_one_line(damaged: Damaged) -> None:
    good = damaged.good[0].id
    for run_id, reason in damaged.reasons.items():
        shown = error_line("show", run_id, "--results", str(damaged.root))
        assert shown.startswith(f"error: run {run_id} is damaged: '")
        assert reason in shown
        compared = error_line("compare", good, run_id, "--results", str(damaged.root))
        assert compared.startswith(f"error: run {run_id} cannot be compared (damaged: '")
        assert reason in compared


def test_where_nothing_is_left_the_reason_is_in_the_error(tmp_path: Path, plan_runs: Plan) -> None:
    (spec,) = plan_runs("base_to_new", methods=["skip"], seeds=[1])
    folder = tmp_path / "runs" / spec.id
    folder.mkdir(parents=True)
    for text in ("{", '{"id": "abc"}'):
        (folder / "result.json").write_text(text)
        for command in ("table", "figures", "report"):
            message = error_line(command, "--results", str(tmp_path))
            assert message.startswith(f"error: no run is complete in '{tmp_path}': ")
            assert "Damaged: '" in message
            assert "result.json' is not the result of a run" in message
        message = error_line("table", "--methods", "skip", "--seeds", "1", "--results", str(tmp_path))
        assert message.startswith("error: the run is not complete in")
        assert "Damaged: '" in message


def test_damaged_files_of_a_finished_run_are_left_out_of_its_page(damaged: Damaged) -> None:
    coop = RunFolder(damaged.root, next(spec.id for spec in damaged.good if spec.method == "coop"))
    (coop.path / "predictions.json").write_text("[1, 2]")
    coop.metrics_file.write_text("\x00\n" + coop.metrics_file.read_text())
    words = ("--methods", "coop", "--seeds", "1,2", "--results", str(damaged.root))
    done = skipbench("report", *words)
    assert done.returncode == 1
    check_stderr(
        done.stderr,
        {"predictions": "predictions.json' is damaged (", "metrics": f"{coop.path.name}/metrics.jsonl' is damaged"},
    )
    assert coop.path.name in (damaged.root / "reports" / "bench.html").read_text()
    # Nothing else needs them.
    assert skipbench("table", *words).returncode == 0


def test_rerun_of_a_damaged_run_computes_it_anew_and_keeps_what_was_there(
    tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    few = "evaluate=[{name: base, dataset: emoji, classes: base.base.base.base, splits: [test]}]"
    (spec,) = plan_runs("base_to_new", few, methods=["zeroshot"])
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    folder.write_spec(spec)
    folder.result_file.write_text("")
    done = skipbench("rerun", spec.id, "--results", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert folder.read_result().id == spec.id
    assert (tmp_path / "replaced" / f"{spec.id}-1" / "result.json").read_text() == ""
