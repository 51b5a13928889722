"""`table`, `figures` and `report` as commands: files, names, mistakes."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import harness.cli
from harness.cli.table import parts_of
from harness.experiment.spec import RunSpec

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def skipbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command line in this process: exit code, output, errors."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("SKIPBENCH_DEBUG", "")
        monkeypatch.setattr(sys, "argv", ["skipbench", *words, "--results", str(tmp_path)])
        code = 0
        try:
            harness.cli.main()
        except SystemExit as left:
            code = int(str(left.code))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_table_prints_and_writes_what_is_asked_for(
    tmp_path: Path, plan_runs: Plan, fill: Fill, skipbench: Command
) -> None:
    fill(tmp_path, plan_runs("base_to_new"))
    code, out, _ = skipbench("table")
    assert code == 0
    assert out.splitlines()[0].strip() == "base_to_new, emoji, 16 shots, clip-emoji"
    assert not (tmp_path / "tables").exists()
    code, out, _ = skipbench("table", "--format", "md,latex,csv,html", "--standalone", "--caption", "Mine")
    assert code == 0
    found = {path.name for path in (tmp_path / "tables").iterdir()}
    assert found == {f"results-base_to_new-16shot.{ending}" for ending in ("md", "tex", "csv", "html")}
    text = (tmp_path / "tables" / "results-base_to_new-16shot.tex").read_text()
    assert text.startswith(r"\documentclass")
    assert r"\caption{Mine}" in text


def test_a_table_too_wide_for_the_terminal_is_cut_into_parts() -> None:
    frame = pd.DataFrame({"data set": ["dtd"], "": ["base"], "skip": ["[bold]76.50[/bold] ± 0.31"], "coop": ["7.00"]})
    assert len(parts_of(frame, 2, None)) == len(parts_of(frame, 2, 60)) == 1
    # 10 + 6 for the names, 14 for the first column, 6 for the second.
    assert len(parts_of(frame, 2, 36)) == 1
    assert [list(part.columns) for part in parts_of(frame, 2, 35)] == [
        ["data set", "", "skip"],
        ["data set", "", "coop"],
    ]
    # A column that is wider than the terminal is still shown.
    assert len(parts_of(frame, 2, 5)) == 2


def test_an_experiment_shows_what_is_missing(tmp_path: Path, plan_runs: Plan, fill: Fill, skipbench: Command) -> None:
    fill(tmp_path, plan_runs("base_to_new", methods=["skip"]))
    code, out, _ = skipbench("table", "--methods", "skip,coop")
    assert code == 0
    assert "missing; 3 of 6 runs are not computed" in out
    code, out, _ = skipbench("table", "--over", "skip.depth", "--format", "csv", "--out", str(tmp_path / "there"))
    assert code == 0
    assert (tmp_path / "there" / "bench-ablation-skip.depth-base_to_new.csv").is_file()


def test_figures_and_report_write_files(tmp_path: Path, plan_runs: Plan, fill: Fill, skipbench: Command) -> None:
    fill(tmp_path, plan_runs("few_shot", methods=["skip"], shots=[1, 2]))
    code, _, _ = skipbench("figures", "--format", "pdf")
    assert code == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "results-few_shot-curves.pdf" in names
    code, _, _ = skipbench("figures", "--over", "skip.depth", "--protocol", "few_shot", "--shots", "1,2")
    assert code == 0
    assert (tmp_path / "figures" / "bench-ablation-skip.depth-few_shot.svg").is_file()
    code, out, _ = skipbench("report", "--protocol", "few_shot", "--shots", "1,2")
    assert code == 0
    assert "bench.html" in out
    assert (tmp_path / "reports" / "bench.html").stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table"], "no run is complete in"),
        (["report"], "no run is complete in"),
        (["figures", "--seeds", "1"], "none of the 1 runs is complete in"),
        (["table", "--format", "latx"], "unknown format 'latx'. Did you mean 'latex'?"),
        (["figures", "--format", "svgg"], "unknown format 'svgg'. Did you mean 'svg'?"),
        (["table", "--methods", "skipp"], "unknown method 'skipp'. Did you mean 'skip'?"),
        (["table", "--over", "skip.depth"], "no finished run of the experiment has the setting 'skip.depth'"),
    ],
)
def test_mistakes_are_one_line(skipbench: Command, words: list[str], message: str) -> None:
    code, out, err = skipbench(*words)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith(f"error: {message}")
    assert out == ""


def test_a_damaged_result_is_one_line(tmp_path: Path, skipbench: Command) -> None:
    folder = tmp_path / "runs" / "abc"
    folder.mkdir(parents=True)
    for text in ("{", '{"id": "abc"}'):
        (folder / "result.json").write_text(text)
        code, _, err = skipbench("table")
        assert code == 2
        assert len(err.splitlines()) == 1
        assert "result.json" in err
