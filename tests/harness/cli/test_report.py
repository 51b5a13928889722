"""`table`, `figures` and `report` as commands: files, names, mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.board import standings
from harness.cli.report import find_standings
from harness.experiment.spec import RunSpec
from harness.report.runs import experiment_runs
from tests.commands import error_line, skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def test_table_prints_and_writes_what_is_asked_for(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    fill(tmp_path, plan_runs("base_to_new"))
    done = skipbench("table", RESULTS=str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].strip() == "base_to_new, emoji, 16 shots, clip-emoji"
    assert not (tmp_path / "tables").exists()
    done = skipbench(
        "table", "--format", "md,latex,csv,html", "--standalone", "--caption", "Mine", RESULTS=str(tmp_path)
    )
    assert done.returncode == 0
    found = {path.name for path in (tmp_path / "tables").iterdir()}
    assert found == {f"results-base_to_new-16shot.{ending}" for ending in ("md", "tex", "csv", "html")}
    text = (tmp_path / "tables" / "results-base_to_new-16shot.tex").read_text()
    assert text.startswith(r"\documentclass")
    assert r"\caption{Mine}" in text


def test_an_experiment_shows_what_is_missing(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    fill(tmp_path, plan_runs("base_to_new", methods=["skip"]))
    done = skipbench("table", "--methods", "skip,coop", RESULTS=str(tmp_path))
    assert done.returncode == 0
    assert "missing; 3 of 6 runs are not computed" in done.stdout
    done = skipbench(
        "table", "--over", "skip.depth", "--format", "csv", "--out", str(tmp_path / "there"), RESULTS=str(tmp_path)
    )
    assert done.returncode == 0
    assert (tmp_path / "there" / "bench-ablation-skip.depth-base_to_new.csv").is_file()


def test_figures_and_report_write_files(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    fill(tmp_path, plan_runs("few_shot", methods=["skip"], shots=[1, 2]))
    assert skipbench("figures", "--format", "pdf", RESULTS=str(tmp_path)).returncode == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "results-few_shot-curves.pdf" in names
    words = ["figures", "--over", "skip.depth", "--protocol", "few_shot", "--shots", "1,2"]
    assert skipbench(*words, RESULTS=str(tmp_path)).returncode == 0
    assert (tmp_path / "figures" / "bench-ablation-skip.depth-few_shot.svg").is_file()
    done = skipbench("report", "--protocol", "few_shot", "--shots", "1,2", RESULTS=str(tmp_path))
    assert done.returncode == 0
    assert "bench.html" in done.stdout
    assert (tmp_path / "reports" / "bench.html").stat().st_size < 2_000_000


def test_a_report_has_standings_and_links_to_the_board(
    tmp_path: Path, plan_runs: Plan, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = plan_runs("few_shot", methods=["coop", "kgcoop"], shots=[1], seeds=[1, 2])
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path)
    found = find_standings(runs, tmp_path)
    ((_, _, (table,)),) = found.tracks
    assert found.board is None
    assert set(table.columns) == {"CoOp", "KgCoOp"}
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "index.html").write_text("")
    monkeypatch.setattr(standings, "MOST_RUNS", 3)
    found = find_standings(runs, tmp_path)
    assert (found.tracks, found.board) == ((), tmp_path / "board" / "index.html")
    assert "4 runs are for a board" in found.notes[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table"], "no run is complete in"),
        (["report"], "no run is complete in"),
        (["figures", "--seeds", "1"], "the run is not complete in"),
        (["table", "--format", "latx"], "unknown format 'latx'. Did you mean 'latex'?"),
        (["figures", "--format", "svgg"], "unknown format 'svgg'. Did you mean 'svg'?"),
        (["table", "--methods", "skipp"], "unknown method 'skipp'. Did you mean 'skip'?"),
        (["table", "--over", "skip.depth"], "no finished run of the experiment has the setting 'skip.depth'"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    assert error_line(*words, RESULTS=str(tmp_path)).startswith(f"error: {message}")


def test_a_damaged_result_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "abc"
    folder.mkdir(parents=True)
    for text in ("{", '{"id": "abc"}'):
        (folder / "result.json").write_text(text)
        assert "result.json" in error_line("table", RESULTS=str(tmp_path))


def test_a_selection_without_runs_names_what_the_nearest_finished_run_has(
    tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    fill(tmp_path, plan_runs("base_to_new", "skip.depth=2,4", "train.epochs=3", methods=["skip"]))
    over = error_line("table", "--over", "skip.depth", RESULTS=str(tmp_path))
    assert "runs have the setting 'skip.depth'" in over
    assert "the nearest train.epochs=3: repeat the METHODS" in over
    for command in ("table", "figures"):
        chosen = error_line(command, "--methods", "skip", RESULTS=str(tmp_path))
        assert "others are, the nearest with" in chosen
        assert "train.epochs=3" in chosen
    other = error_line("table", "--methods", "coop", RESULTS=str(tmp_path))
    assert "the nearest with method=skip: repeat" in other
    again = skipbench("table", "--over", "skip.depth", "train.epochs=3", RESULTS=str(tmp_path))
    assert again.returncode == 0, again.stderr
