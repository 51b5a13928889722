"""Which numbers a row's test, its average and its state are made of."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes
from harness.report.paper_tables import ablation, paper_tables
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Cell, Table

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]
Fill = Callable[..., dict[str, dict[str, float]]]


def table_of(results: Path, specs: list[RunSpec]) -> Table:
    (found,) = paper_tables(experiment_runs(specs, results))
    return found


def cell(table: Table, block: str, row: str, column: str) -> Cell:
    (found,) = (one for one in table.cells if (one.block, one.row, one.column) == (block, row, column))
    return found


def test_every_row_is_tested_by_its_own_numbers(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    """CoOp is better on base in every pair, Skip Tuning on new, and neither always by H."""
    specs = plan_runs("base_to_new", methods=["coop", "skip"], seeds=list(range(1, 8)))
    for spec in specs:
        lead = 1.0 + spec.seed / 10
        base, new = (
            (60.0 + lead, 50.0) if spec.method == "coop" else (60.0, 50.0 + lead * (2 if spec.seed < 5 else 0.1))
        )
        finish(tmp_path, spec, {"base": base, "new": new})
    table = table_of(tmp_path, specs)
    found = {row: tests[0] for (_, row), tests in table.tests.items()}
    assert (found["base"].best, found["base"].other, found["base"].worse) == ("coop", "skip", True)
    assert (found["new"].best, found["new"].other, found["new"].worse) == ("skip", "coop", True)
    assert found["H"].p is not None
    assert found["H"].p > 0.05
    assert [cell(table, "emoji", row, "skip").worse for row in ("base", "new", "H")] == [True, False, False]
    assert [cell(table, "emoji", row, "coop").worse for row in ("base", "new", "H")] == [False, True, False]


def test_an_ablation_holds_the_seeds_of_its_experiment_only(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    found = fill(tmp_path, plan_runs("base_to_new", "skip.depth=0,3", methods=["skip"], seeds=[1, 2, 3]))
    plan = plan_runs("base_to_new", methods=["skip"], seeds=[1])
    runs = axis_runs(plan, tmp_path, ["skip.depth"])
    assert set(runs["seed"]) == {1}
    assert len(runs) == 2
    table = ablation(runs, ["skip.depth"])
    assert cell(table, "skip", "3", "base").mean == pytest.approx(found[plan[0].id]["base"])
    assert cell(table, "skip", "3", "base").std is None
    with pytest.raises(UserError, match="other settings than the experiment too, the nearest seed=1"):
        axis_runs(plan_runs("base_to_new", methods=["skip"], seeds=[4]), tmp_path, ["skip.depth"])


def test_runs_that_are_begun_are_not_computed(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop", "skip"], seeds=[1, 2])
    fill(tmp_path, specs[:2])
    for spec in specs[2:3]:
        (tmp_path / "runs" / spec.id).mkdir(parents=True)
        (tmp_path / "runs" / spec.id / "progress.safetensors").write_bytes(b"")
    assert "–: missing; 2 of 4 runs are not computed, 1 of them interrupted." in footnotes(table_of(tmp_path, specs))
    fill(tmp_path, specs[3:])
    table = table_of(tmp_path, specs)
    assert "–: missing; 1 of 4 runs is not computed, 1 of them interrupted." in footnotes(table)
    assert cell(table, "emoji", "base", "skip").seeds == 1
    assert cell(table, "emoji", "base", "skip").planned == 2


def test_settings_that_differ_between_seeds_are_never_averaged(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    one = plan_runs("base_to_new", "skip.depth=0", methods=["skip"], seeds=[1])
    other = plan_runs("base_to_new", "skip.depth=3", methods=["skip"], seeds=[2])
    found = fill(tmp_path, [*one, *other])
    table = table_of(tmp_path, [*one, *other])
    assert table.columns == ["skip (depth=0)", "skip (depth=3)"]
    assert cell(table, "emoji", "base", "skip (depth=3)").mean == found[other[0].id]["base"]


def test_the_memory_of_a_run_is_that_of_its_highest_phase(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop"], seeds=[1])
    fill(tmp_path, specs)
    path = tmp_path / "runs" / specs[0].id / "result.json"
    for place, phase in enumerate(("setup", "cache", "train", "evaluate")):
        result = json.loads(path.read_text())
        result["costs"]["phases"][phase]["peak_tensor_bytes"] = (90 + place) * 2**20
        path.write_text(json.dumps(result))
        assert cell(table_of(tmp_path, specs), "costs", "run MiB", "coop").mean == 90 + place


def test_one_seed_of_a_method_that_trains_is_one_pair(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop"], seeds=list(range(1, 8)))
    for method, pairs in (("skip", 1), ("zeroshot", 7)):
        both = [*specs, *plan_runs("base_to_new", methods=[method], seeds=[1])]
        fill(tmp_path, both)
        (test,) = table_of(tmp_path, both).tests["emoji", "base"]
        # What trains nothing is the same for every seed.
        assert test.pairs == pairs
