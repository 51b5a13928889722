"""How far rounding moves methods, in tables: the row, the mark of what is as far apart as seeds, and the notes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes
from harness.report.paper_tables import ablations, paper_tables
from harness.report.rounding import with_rounding
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Cell, Table
from harness.results.rounding import Rounding, read_rounding, rounding_file, save_rounding
from tests.commands import skipbench

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]
ACCURACIES = {"zeroshot": (50.0,), "coop": (60.0, 62.0), "skip": (70.0, 74.0)}


def keep(results: Path, spec: RunSpec, score_moves: float) -> None:
    moves = {"base": 1.0, "new": 0.5}
    made = Rounding(
        run=spec.id, metric="H", moves=2, threads=1, score=60.0, score_moves=score_moves, accuracy_moves=moves,
        weights_apart=0.1,
    )  # fmt: skip
    save_rounding(results, made)


def computed(results: Path, plan_runs: Plan, finish: Finish, *settings: str, **changes: Any) -> list[RunSpec]:
    """Runs whose base and new accuracies, and so their H, are the same numbers."""
    specs = plan_runs("base_to_new", *settings, seeds=[1, 2], **changes)
    for spec in specs:
        accuracy = ACCURACIES[spec.method][spec.seed - 1]
        finish(results, spec, {item.name: accuracy for item in spec.evaluate})
    return specs


def cells_of(table: Table, row: str) -> dict[str, Cell]:
    return {cell.column: cell for cell in table.cells if cell.row == row}


def test_rounding_as_far_as_the_seeds_is_marked_and_not_ranked(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = computed(tmp_path, plan_runs, finish)
    # The seeds of skip lie 4 points apart: their sample standard deviation is the square root of 8, 2.83.
    for spec, moves in zip([spec for spec in specs if spec.method == "skip"], (0.5, 2.9), strict=True):
        keep(tmp_path, spec, moves)
    (plain,) = paper_tables(experiment_runs(specs, tmp_path))
    assert cells_of(plain, "H")["skip"].rank == 1
    assert not cells_of(plain, "H by rounding")
    (table,) = paper_tables(with_rounding(experiment_runs(specs, tmp_path), tmp_path))
    moved = cells_of(table, "H by rounding")
    assert {name: cell.mean for name, cell in moved.items()} == {"zeroshot": 0.0, "coop": None, "skip": 2.9}
    for row in ("base", "new", "H"):
        cells = cells_of(table, row)
        assert [(cells[name].mark, cells[name].rank) for name in ("zeroshot", "coop", "skip")] == [
            ("", 2), ("", 1), ("≈", 0),
        ]  # fmt: skip
    text = " ".join(footnotes(table))
    assert "≈: rounding moves it by the standard deviation of its seeds or more, so not ranked: skip." in text
    assert "authors' own choices" not in text
    # Numbers stay what they are.
    assert [cell.mean for cell in table.cells if cell.row != "H by rounding"] == [cell.mean for cell in plain.cells]


def test_rounding_below_the_spread_of_the_seeds_changes_nothing(
    tmp_path: Path, plan_runs: Plan, finish: Finish
) -> None:
    specs = computed(tmp_path, plan_runs, finish)
    keep(tmp_path, specs[-1], 2.8)
    (table,) = paper_tables(with_rounding(experiment_runs(specs, tmp_path), tmp_path))
    assert cells_of(table, "H")["skip"].rank == 1
    assert cells_of(table, "H by rounding")["skip"].mean == 2.8
    text = " ".join(footnotes(table))
    assert "Measured in part (runs): skip 1 of 2." in text
    assert "≈" not in text


def test_every_setting_of_an_ablation_has_its_own(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = computed(tmp_path, plan_runs, finish, "skip.depth=2,3", methods=["skip"])
    for spec in specs:
        keep(tmp_path, spec, {2: 3.5, 3: 0.1}[spec.options["depth"]])
    (table,) = ablations(with_rounding(axis_runs(specs, tmp_path, ["skip.depth"]), tmp_path), ["skip.depth"])
    cells = {(cell.row, cell.column): cell for cell in table.cells}
    assert [cells[depth, "H by rounding"].mean for depth in ("2", "3")] == [3.5, 0.1]
    assert [cells[depth, "H"].mark for depth in ("2", "3")] == ["≈", ""]


def test_a_measurement_that_cannot_be_one_is_an_error(tmp_path: Path, plan_runs: Plan) -> None:
    spec, other, *_ = plan_runs("base_to_new")
    assert read_rounding(tmp_path, spec.id) is None
    keep(tmp_path, spec, 1.0)
    path = rounding_file(tmp_path, spec.id)
    good = path.read_text()
    path.write_text(good.replace('"score_moves": 1.0', '"score_moves": -1.0'))
    with pytest.raises(UserError, match=r"score_moves.*measure again with `skipbench stability`"):
        read_rounding(tmp_path, spec.id)
    path.write_text(good.replace(spec.id, other.id))
    with pytest.raises(UserError, match="is about another run"):
        read_rounding(tmp_path, spec.id)


def test_the_option_of_the_command(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = computed(tmp_path, plan_runs, finish)
    keep(tmp_path, specs[-1], 2.9)
    done = skipbench("table", "--column", "rounding", "--results", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = (line for line in done.stdout.splitlines() if "H by rounding" in line and "2.90" in line)
    assert line.split()[-3:] == ["–", "2.90", "0.00"] or sorted(line.split()[-3:]) == ["0.00", "2.90", "–"]
    wrong = skipbench("table", "--column", "roundin", "--results", str(tmp_path))
    assert wrong.returncode != 0
    assert "unknown column 'roundin'. Did you mean 'rounding'?" in wrong.stderr
