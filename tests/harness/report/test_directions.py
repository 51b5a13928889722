"""Transfer in both directions: only where both were measured, with the numbers of the single tables."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.report.directions import direction_maps, direction_tables
from harness.report.latex import to_latex
from harness.report.paper_tables import paper_tables
from harness.report.render import to_html
from harness.report.runs import experiment_runs
from harness.report.table import TARGETS

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
PAIR = ["emoji-food", "emoji-travel"]


@pytest.fixture
def specs(tmp_path: Path, plan_runs: Plan, fill: Fill) -> list[RunSpec]:
    """Runs of three sources, of which two were tested on each other."""
    both = [
        spec
        for source, target in (PAIR, PAIR[::-1], ["emoji-faces", "emoji-food"])
        for spec in plan_runs("cross_dataset", datasets=[source], targets=[target])
    ]
    fill(tmp_path, both)
    return both


def test_both_directions_stand_in_one_table(tmp_path: Path, specs: list[RunSpec]) -> None:
    tables = paper_tables(experiment_runs(specs, tmp_path))
    (both,) = direction_tables(tables)
    assert both.name == "cross_dataset-both-directions-16shot"
    assert both.title.startswith("cross_dataset, both directions, 16 shots")
    assert both.rows == [
        ("emoji-food, emoji-travel", "emoji-food → emoji-travel"),
        ("emoji-food, emoji-travel", "emoji-travel → emoji-food"),
    ]
    single = {
        (str(table.runs["dataset"].iloc[0]), cell.row, cell.column): (cell.mean, cell.std, cell.rank)
        for table in tables
        for cell in table.cells
        if cell.block == TARGETS
    }
    for cell in both.cells:
        assert (cell.mean, cell.std, cell.rank) == single[(*cell.row.split(" → "), cell.column)]
    assert "emoji-food → emoji-travel" in to_html(both)
    assert "$\\rightarrow$" in to_latex(both)


def test_the_map_shows_accuracies_and_gains(tmp_path: Path, specs: list[RunSpec]) -> None:
    tables = paper_tables(experiment_runs(specs, tmp_path))
    (both,) = direction_tables(tables)
    (found,) = direction_maps(tables)
    assert found.columns == tuple(row for _, row in both.rows)
    means = {(cell.column, cell.row): cell.mean or 0.0 for cell in both.cells}
    for method, values, texts in zip(found.rows, found.values, found.texts, strict=True):
        for column, value, text in zip(found.columns, values, texts, strict=True):
            assert value == pytest.approx(means[method, column] - means["zeroshot", column])
            assert text[0] == f"{means[method, column]:.1f}"
    assert [len(text) for text in found.texts[found.rows.index("zeroshot")]] == [1, 1]


def test_one_direction_alone_gives_nothing(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("cross_dataset", datasets=["emoji-food"], targets=["emoji-travel"])
    fill(tmp_path, specs)
    tables = paper_tables(experiment_runs(specs, tmp_path))
    assert direction_tables(tables) == []
    assert direction_maps(tables) == []


def test_zero_shot_clip_alone_is_no_transfer(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = [
        spec
        for source, target in (PAIR, PAIR[::-1])
        for spec in plan_runs("cross_dataset", datasets=[source], targets=[target], methods=["zeroshot"])
    ]
    fill(tmp_path, specs)
    assert direction_tables(paper_tables(experiment_runs(specs, tmp_path))) == []
