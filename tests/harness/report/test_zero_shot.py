"""Cells below zero-shot CLIP in the same evaluation: marked wherever they are shown, and ranked as before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes
from harness.report.latex import to_latex
from harness.report.method_table import footnote, method_table
from harness.report.paper_tables import ablations, paper_tables
from harness.report.render import to_html, to_markdown
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Table
from harness.report.zero_shot import BELOW_NOTE, is_below, is_zero_shot
from harness.results.record import parse_result
from tests.made_up_results import result_json

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]
LEVELS = {"zeroshot": (60.0, 50.0), "coop": (70.0, 45.0), "skip": (59.0, 66.0)}


def finish_all(results: Path, specs: list[RunSpec], finish: Finish, **changes: tuple[float, float]) -> None:
    for spec in specs:
        base, new = {**LEVELS, **changes}[spec.method]
        finish(results, spec, {"base": base, "new": new})


def below_in(table: Table) -> set[tuple[str, str, str]]:
    return {(cell.block, cell.row, cell.column) for cell in table.cells if cell.below}


def only_table(specs: list[RunSpec], results: Path) -> Table:
    (table,) = paper_tables(experiment_runs(specs, results))
    return table


def change(results: Path, spec: RunSpec, path: tuple[str | int, ...], value: Any) -> None:
    """Set a key of a result."""
    file = results / "runs" / spec.id / "result.json"
    content = json.loads(file.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(content))


def test_cells_averages_and_h_below_zero_shot_are_marked(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs("base_to_new", datasets=["emoji", "emoji-food"], seeds=[1, 2])
    finish_all(tmp_path, specs, finish)
    table = only_table(specs, tmp_path)
    blocks = ("emoji", "emoji-food", "average")
    # H: 54.545 of zero-shot, 2 * 70 * 45 / 115 = 54.783 of coop, 62.304 of skip.
    assert below_in(table) == {found for block in blocks for found in ((block, "new", "coop"), (block, "base", "skip"))}
    finish_all(tmp_path, specs, finish, coop=(70.0, 44.0))
    # 2 * 70 * 44 / 114 = 54.035.
    assert ("average", "H", "coop") in below_in(only_table(specs, tmp_path))


def test_a_mark_stands_in_every_form_with_one_footnote_and_ranks_stay(
    tmp_path: Path, plan_runs: Plan, finish: Finish
) -> None:
    specs = plan_runs("base_to_new", seeds=[1])
    finish_all(tmp_path, specs, finish)
    table = only_table(specs, tmp_path)
    assert footnotes(table).count(BELOW_NOTE) == 1
    assert "| 59.00 ↓ |" in to_markdown(table)
    assert r"$\downarrow$ " in to_latex(table)
    assert "<sup>↓</sup>" in to_html(table)
    ranks = {cell.column: cell.rank for cell in table.cells if cell.row == "base"}
    assert ranks == {"coop": 1, "zeroshot": 2, "skip": 0}
    runs = experiment_runs(specs, tmp_path)
    rows = method_table(runs).set_index("method")
    assert rows.loc["skip", ["base", "new", "H"]].tolist() == ["59.0 ↓", "66.0", "62.3"]
    assert BELOW_NOTE in footnote(runs)


def test_without_zero_shot_nothing_is_marked(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs("base_to_new", seeds=[1])
    finish_all(tmp_path, specs, finish)
    few = [spec for spec in specs if spec.method != "zeroshot"]
    assert not below_in(only_table(few, tmp_path))
    runs = experiment_runs(few, tmp_path)
    assert BELOW_NOTE not in footnote(runs)
    assert not method_table(runs)["base"].str.contains("↓").any()


def test_equal_is_not_below_and_neither_are_last_bits() -> None:
    assert not is_below(60.0, 60.0)
    assert not is_below(60.0 - 1e-12, 60.0)
    assert is_below(59.99, 60.0)


@pytest.mark.parametrize(
    ("path", "value", "is_marked"),
    [
        (("evaluations", 0, "pictures_hash"), "0", True),  # that of zero-shot is not known
        (("weights_sha256",), "0", True),
        (("evaluations", 0, "template"), "other {}", False),  # and asked for as finetune, not zeroshot
        (("evaluations", 0, "classes"), "all", False),
        (("evaluations", 0, "splits"), ["val"], False),
    ],
)
def test_another_evaluation_is_no_reference(
    path: tuple[str | int, ...], value: Any, is_marked: bool, tmp_path: Path, plan_runs: Plan, finish: Finish
) -> None:
    specs = plan_runs("base_to_new", seeds=[1])
    finish_all(tmp_path, specs, finish)
    (skip,) = (spec for spec in specs if spec.method == "skip")
    change(tmp_path, skip, path, value)
    assert (("emoji", "base", "skip") in below_in(only_table(specs, tmp_path))) == is_marked


def test_other_pictures_or_weights_are_no_reference(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs("base_to_new", seeds=[1])
    for path in (("evaluations", 0, "pictures_hash"), ("weights_sha256",)):
        finish_all(tmp_path, specs, finish)
        for spec in specs:
            change(tmp_path, spec, path, "1" if spec.method == "skip" else "0")
        assert below_in(only_table(specs, tmp_path)) == {("emoji", "new", "coop")}


def test_each_wording_has_its_own_zero_shot(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    wordings = ("a {}.", "the {}.")
    specs = [
        spec
        for wording in wordings
        for spec in plan_runs("base_to_new", f"data.templates={wording}", methods=["zeroshot", "skip"], seeds=[1])
    ]
    base = {("zeroshot", wordings[0]): 60.0, ("zeroshot", wordings[1]): 50.0}
    for spec in specs:
        finish(tmp_path, spec, {"base": base.get((spec.method, str(spec.data.templates)), 55.0), "new": 70.0})
    marked = {column for _, row, column in below_in(only_table(specs, tmp_path)) if row == "base"}
    assert len(marked) == 1
    first = next(spec for spec in specs if spec.method == "skip")
    runs = experiment_runs(specs, tmp_path)
    assert marked == set(runs.loc[runs["id"] == first.id, "label"])
    (table,) = ablations(axis_runs(specs, tmp_path, ["data.templates"]), ["data.templates"])
    assert {(cell.block, cell.row, cell.column) for cell in table.cells if cell.below} == {
        ("skip", "a {}.", "base"), ("skip", "a {}.", "H")
    }  # fmt: skip


def test_what_learns_or_chooses_is_not_zero_shot(plan_runs: Plan) -> None:
    (spec,) = plan_runs("few_shot", methods=["zeroshot"], seeds=[1], shots=[4])

    def result(**facts: Any) -> bool:
        phases = facts.pop("phases", {"train": {"seconds": 0.0}})
        return is_zero_shot(
            parse_result(json.dumps(result_json(spec, {"all": 50.0}, phases, **facts)), Path("made up"))
        )

    assert result()
    assert not result(phases={"fit": {"seconds": 0.1}})
    assert not result(phases={"select": {"seconds": 0.1}})
    assert not result(selection={"chosen": {"alpha": 1.0}, "accuracy": 50.0, "candidates": 2, "images": 9})
    assert not result(costs={"phases": {}, "trainable_parameters": 1, "total_parameters": 2})
