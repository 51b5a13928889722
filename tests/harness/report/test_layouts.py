"""Protocols that choose settings have the tables of those that they stand for, and an unknown one has none."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.experiment.spec import RunSpec
from harness.report.figures import paper_figures
from harness.report.paper_tables import paper_tables
from harness.report.runs import experiment_runs
from harness.report.table import Table
from tests.commands import error_line, skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def table_of(specs: list[RunSpec], results: Path) -> Table:
    (found,) = paper_tables(experiment_runs(specs, results))
    return found


def spread(mean: float, seeds: pd.Series, digits: int) -> str:
    deviation = f" ± {seeds.std(ddof=1):.{digits}f}" if len(seeds) > 1 else ""
    return f"{mean:.{digits}f}{deviation}"


def line_of(printed: str, *words: str) -> str:
    """The one line that begins with some words."""
    (found,) = (line for line in printed.splitlines() if line.split()[: len(words)] == list(words))
    return found


@pytest.mark.parametrize(
    ("protocol", "setting"),
    [("base_to_new_validation", ()), ("base_to_new_held_out", ("data.held_out=1/4",))],
)
def test_variants_of_base_to_new_have_its_table(
    protocol: str, setting: tuple[str, ...], tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    specs = plan_runs(protocol, *setting)
    found = fill(tmp_path, specs)
    table = table_of(specs, tmp_path)
    assert table.rows[:3] == [("emoji", "base"), ("emoji", "new"), ("emoji", "H")]
    assert "source" not in {block for block, _ in table.rows}
    bench = skipbench("bench", "zeroshot,coop,skip", "--protocol", protocol, *setting, "--results", str(tmp_path))
    assert bench.returncode == 0
    assert line_of(bench.stdout, "method").split()[3:6] == ["base", "new", "H"]
    assert "--all-runs shows them" in error_line("table", "--results", str(tmp_path))
    printed = skipbench("table", "--all-runs", "--results", str(tmp_path)).stdout
    methods = line_of(printed, "data", "set").split()[2:]
    cells = re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?", line_of(printed, "H"))
    assert sorted(methods) == ["coop", "skip", "zeroshot"]
    for method, in_table in zip(methods, cells, strict=True):
        frame = pd.DataFrame([found[spec.id] for spec in specs if spec.method == method])
        h = 2 / (1 / frame["base"].mean() + 1 / frame["new"].mean())
        of_seeds = 2 / (1 / frame["base"] + 1 / frame["new"])
        assert in_table == spread(h, of_seeds, 2)
        assert spread(h, of_seeds, 1) in line_of(bench.stdout, method)


@pytest.mark.parametrize(
    ("protocol", "setting"), [("few_shot_validation", ()), ("few_shot_held_out", ("data.held_out=1/4",))]
)
def test_variants_of_few_shot_have_its_table_and_curves(
    protocol: str, setting: tuple[str, ...], tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    specs = plan_runs(protocol, *setting, methods=["coop", "skip"], shots=[4, 8])
    found = fill(tmp_path, specs)
    table = table_of(specs, tmp_path)
    assert [row for row in table.rows if row[0] != "costs"] == [("emoji", "4"), ("emoji", "8")]
    own = pd.Series([found[s.id]["all"] for s in specs if (s.method, s.data.shots) == ("skip", 8)])
    (cell,) = (cell for cell in table.cells if (cell.block, cell.row, cell.column) == ("emoji", "8", "skip"))
    assert cell.mean == pytest.approx(own.mean())
    assert f"{protocol}-curves" in {figure.name for figure in paper_figures([table], tmp_path)}
    words = ("bench", "coop,skip", "--protocol", protocol, "--shots", "4,8", *setting, "--results", str(tmp_path))
    assert spread(own.mean(), own, 1) in line_of(skipbench(*words).stdout, "8", "skip")
    assert spread(own.mean(), own, 2) in skipbench("table", "--all-runs", "--results", str(tmp_path)).stdout


def test_runs_of_an_unknown_protocol_are_an_error_and_never_laid_out_as_another(
    tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    (spec,) = plan_runs("base_to_new", methods=["skip"], seeds=[1])
    other = spec.model_copy(update={"protocol": "base_to_nev"})
    fill(tmp_path, [spec, other])
    expected = f"error: run {other.id}: unknown protocol 'base_to_nev'. Did you mean 'base_to_new'?"
    for command in ("table", "figures", "report"):
        assert error_line(command, "--results", str(tmp_path)).startswith(expected)
    # What needs no layout still has it.
    assert f"done        {other.id} base_to_nev" in skipbench("runs", "--results", str(tmp_path)).stdout
    assert "base_to_nev" in skipbench("export", "--results", str(tmp_path)).stdout
