"""The table of a transfer matrix: numbers, and differences to choosing there and to the recipe."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.latex import to_latex
from harness.report.render import to_csv, to_markdown
from harness.report.table import Table
from harness.report.transfer_table import RECIPE, TO_OWN, TO_RECIPE, Runs, transfer_table

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]
RATIOS = {"4": 0.25, "16": 0.75, None: 0.2}


def matrix(plan_runs: Plan, protocol: str = "base_to_new") -> dict[tuple[str | None, str], list[RunSpec]]:
    """Runs of a matrix over shots, whose settings differ by where they were chosen."""
    about: dict[str, Any] = {"methods": ["clip_adapter"], "seeds": [1, 2], "recipe": "official"}
    return {
        (row, column): plan_runs(protocol, f"clip_adapter.residual_ratio={ratio}", **about, shots=[int(column)])
        for row, ratio in RATIOS.items()
        for column in ("4", "16")
    }


def mean_of(table: Table, block: str, row: str, column: str) -> float | None:
    (cell,) = (cell for cell in table.cells if (cell.block, cell.row, cell.column) == (block, row, column))
    return cell.mean


@pytest.fixture
def runs(tmp_path: Path, plan_runs: Plan, finish: Finish) -> Runs:
    found = matrix(plan_runs)
    for number, specs in enumerate(found.values()):
        for spec in specs:
            finish(tmp_path, spec, {"base": 50.0 + 3 * number + spec.seed, "new": 60.0 - number})
    return found


def test_numbers_are_those_of_the_runs_and_differences_are_theirs(tmp_path: Path, runs: Runs) -> None:
    table = transfer_table("shots", runs, tmp_path)
    expected = {}
    for number, (row, column) in enumerate(runs):
        base, new = statistics.fmean([51.0 + 3 * number, 52.0 + 3 * number]), 60.0 - number
        expected[row, column] = 2 * base * new / (base + new)
    names = {"4": "4 shots", "16": "16 shots", None: RECIPE}
    for (row, column), value in expected.items():
        assert mean_of(table, "H", names[row], names[column]) == pytest.approx(value)
        if row:
            difference = mean_of(table, TO_RECIPE, names[row], names[column])
            assert difference == pytest.approx(value - expected[None, column])
        own = mean_of(table, TO_OWN, names[row], names[column])
        assert own == pytest.approx(value - expected[column, column])
    assert table.columns == ["4 shots", "16 shots"]
    assert table.title == "transfer of clip_adapter over shots, base_to_new, emoji, clip-emoji"


def test_a_missing_run_gives_dashes_and_no_zero(tmp_path: Path, runs: Runs) -> None:
    for spec in runs["16", "16"]:
        (tmp_path / "runs" / spec.id / "result.json").unlink()
    table = transfer_table("shots", runs, tmp_path)
    assert mean_of(table, "H", "16 shots", "16 shots") is None
    assert [mean_of(table, TO_OWN, row, "16 shots") for row in ("4 shots", "16 shots", RECIPE)] == [None] * 3
    assert mean_of(table, TO_RECIPE, "4 shots", "16 shots") is not None
    assert "–" in to_markdown(table)


def test_accuracy_where_nothing_sums_up(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    found = matrix(plan_runs, "few_shot")
    for specs in found.values():
        for spec in specs:
            finish(tmp_path, spec, {"all": 40.0 + spec.seed + 10 * spec.options["residual_ratio"]})
    table = transfer_table("shots", found, tmp_path)
    assert mean_of(table, "accuracy", "4 shots", "16 shots") == pytest.approx(44.0)
    assert mean_of(table, TO_OWN, "4 shots", "16 shots") == pytest.approx(-5.0)


def test_every_format_holds_the_numbers(tmp_path: Path, runs: Runs) -> None:
    table = transfer_table("shots", runs, tmp_path)
    for text in (to_markdown(table), to_csv(table), to_latex(table)):
        assert "minus chosen there" in text
        assert "the recipe itself" in text
