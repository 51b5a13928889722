"""Ablations of a grid: a row for every combination of values, a dash where a method has none."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from harness.experiment.spec import RunSpec
from harness.report.paper_tables import ablations
from harness.report.runs import axis_runs, grid_runs
from harness.report.table import Table

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def means(table: Table, column: str) -> dict[tuple[str, str], float | None]:
    return {(cell.block, cell.row): cell.mean for cell in table.cells if cell.column == column}


def test_rows_are_combinations_in_the_order_in_which_they_are_run(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", "skip.depth=4,2", "train.lr=1e-3,2e-3")
    found = fill(tmp_path, specs)
    axes = ["skip.depth", "train.lr"]
    (table,) = ablations(grid_runs(specs, tmp_path, axes), axes)
    assert table.headers == ("method", "skip.depth, train.lr")
    assert table.rows == [
        ("zeroshot", "–, –"),
        *(("coop", f"–, {lr}") for lr in ("0.001", "0.002")),
        *(("skip", f"{depth}, {lr}") for depth in (4, 2) for lr in ("0.001", "0.002")),
    ]
    frame = pd.DataFrame(
        {"method": spec.method, "depth": spec.options.get("depth", 0), "lr": spec.train.lr, **found[spec.id]}
        for spec in specs
    )
    own = frame[(frame["method"] == "skip") & (frame["depth"] == 2) & (frame["lr"] == 0.002)]
    assert len(own) == 3
    assert means(table, "new")["skip", "2, 0.002"] == own["new"].mean()
    # Costs of training are columns, though zero-shot CLIP has none.
    assert table.columns[:4] == ["base", "new", "H", "train s"]
    assert means(table, "train s")["zeroshot", "–, –"] is None


def test_shots_have_tables_of_their_own_and_missing_runs_are_seen(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", "skip.depth=2,4", methods=["skip"], shots=[4, 16])
    fill(tmp_path, [spec for spec in specs if spec.options["depth"] == 2])
    tables = ablations(grid_runs(specs, tmp_path, ["skip.depth"]), ["skip.depth"])
    assert [table.name for table in tables] == [f"ablation-skip.depth-base_to_new-{shots}shot" for shots in (4, 16)]
    for table in tables:
        states = {cell.row: cell.state for cell in table.cells if cell.column == "H"}
        assert states == {"2": "done", "4": "missing"}


def test_backbones_are_rows(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("few_shot", methods=["skip"], backbone="clip-emoji,ViT-B-16:random", recipe="official", shots=[1])
    found = fill(tmp_path, specs)
    (table,) = ablations(grid_runs(specs, tmp_path, ["backbone"]), ["backbone"])
    for backbone in ("clip-emoji", "ViT-B-16:random"):
        own = pd.Series([found[spec.id]["all"] for spec in specs if spec.backbone == backbone])
        assert means(table, "1")["skip", backbone] == own.mean()


def test_runs_of_a_folder_are_in_the_order_of_their_values(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    fill(tmp_path, plan_runs("base_to_new", "skip.depth=4,2", "train.precision=fp32,bf16", methods=["skip"]))
    plan = plan_runs("base_to_new", methods=["skip"])
    runs = axis_runs(plan, tmp_path, ["skip.depth", "train.precision"])
    assert list(dict.fromkeys(runs["axis"])) == ["2, bf16", "2, fp32", "4, bf16", "4, fp32"]
    assert list(dict.fromkeys(axis_runs(plan, tmp_path, ["skip.depth"])["axis"])) == ["2", "4"]
