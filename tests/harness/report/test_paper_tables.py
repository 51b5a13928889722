"""Every layout's numbers against plain pandas, and what becomes of missing, failed and tuned runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.experiment.tuned import TunedSpec
from harness.report.footnotes import footnotes
from harness.report.paper_tables import ablation, file_name, paper_tables
from harness.report.published import with_published
from harness.report.published_rows import PUBLISHED
from harness.report.runs import axis_runs, experiment_runs, folder_runs, leaderboard
from harness.report.table import Cell, Table

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
SETS = ["emoji", "emoji-food", "emoji-faces"]


def raw(results: Path) -> pd.DataFrame:
    """Accuracies as they lie on disk, a line an evaluation: nothing of the code under test is used."""
    lines = []
    for path in results.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        spec = result["spec"]
        about = {"method": spec["method"], "seed": spec["seed"], "shots": spec["data"]["shots"]}
        about |= {"dataset": spec["data"]["dataset"], "train_s": result["costs"]["phases"]["train"]["seconds"]}
        lines += [{**about, "name": item["name"], "value": item["accuracy"]} for item in result["evaluations"]]
    return pd.DataFrame(lines)


def find(table: Table, block: str, row: str, column: str) -> Cell:
    (cell,) = (cell for cell in table.cells if (cell.block, cell.row, cell.column) == (block, row, column))
    return cell


def only(tables: list[Table]) -> Table:
    (table,) = tables
    return table


def check(cell: Cell, seeds: pd.Series, mean: float | None = None) -> None:
    assert cell.mean == pytest.approx(seeds.mean() if mean is None else mean)
    assert cell.seeds == len(seeds)
    if len(seeds) > 1:
        assert cell.std == pytest.approx(seeds.std(ddof=1))
    else:
        assert cell.std is None


def test_base_to_new_against_pandas(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", datasets=SETS)
    fill(tmp_path, specs)
    table = only(paper_tables(experiment_runs(specs, tmp_path)))
    assert table.rows[:3] == [("emoji", "base"), ("emoji", "new"), ("emoji", "H")]
    assert table.columns == ["zeroshot", "coop", "skip"]
    wide = raw(tmp_path).pivot(index=["method", "dataset", "seed"], columns="name", values="value")
    for method in table.columns:
        for dataset in [*SETS, "average"]:
            own = wide.loc[method] if dataset == "average" else wide.loc[method].loc[[dataset]]
            seeds = own.groupby("seed").mean()
            base, new = seeds["base"].mean(), seeds["new"].mean()
            check(find(table, dataset, "base", method), seeds["base"])
            check(find(table, dataset, "new", method), seeds["new"])
            h = 2 / (1 / seeds["base"] + 1 / seeds["new"])
            check(find(table, dataset, "H", method), h, mean=2 / (1 / base + 1 / new))
    costs = raw(tmp_path).drop_duplicates(["method", "dataset", "seed"]).groupby(["method", "seed"])["train_s"].mean()
    check(find(table, "costs", "train s", "skip"), costs["skip"])
    assert find(table, "costs", "train s", "zeroshot").mean is None
    # Paired over 3 data sets x 3 seeds; zero-shot's one value stands for every seed.
    assert {test.pairs for test in table.tests["average", "H"]} == {9}
    assert "average H: 9 pairs" in " ".join(footnotes(table))


def test_few_shot_against_pandas(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("few_shot", datasets=SETS[:2], shots=[4, 1])
    fill(tmp_path, specs)
    table = only(paper_tables(experiment_runs(specs, tmp_path)))
    assert table.rows[:6] == [(block, shots) for block in (*SETS[:2], "average") for shots in ("1", "4")]
    values = raw(tmp_path)
    for method in table.columns:
        for shots in (1, 4):
            own = values[(values["method"] == method) & (values["shots"] == shots)]
            for dataset in SETS[:2]:
                check(find(table, dataset, str(shots), method), own[own["dataset"] == dataset]["value"])
            check(find(table, "average", str(shots), method), own.groupby("seed")["value"].mean())
    of_most = values[(values["shots"] == 4) & (values["method"] == "skip")].groupby("seed")["train_s"].mean()
    check(find(table, "costs", "train s at 4 shots", "skip"), of_most)


@pytest.mark.parametrize("protocol", ["cross_dataset", "domain_generalization"])
def test_targets_against_pandas(protocol: str, tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs(protocol)
    fill(tmp_path, specs)
    table = only(paper_tables(experiment_runs(specs, tmp_path)))
    values = raw(tmp_path)
    targets = [name for name in dict.fromkeys(item.name for item in specs[0].evaluate) if name != "emoji"]
    expected = [("source", "emoji"), *(("targets", name) for name in [*targets, "average"])]
    assert [row for row in table.rows if row[0] != "costs"] == expected
    for method in table.columns:
        own = values[values["method"] == method]
        check(find(table, "source", "emoji", method), own[own["name"] == "emoji"]["value"])
        for name in targets:
            check(find(table, "targets", name, method), own[own["name"] == name]["value"])
        # The source is no part of the average.
        seeds = own[own["name"] != "emoji"].groupby("seed")["value"].mean()
        check(find(table, "targets", "average", method), seeds)


def test_an_ablation_against_pandas(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    wanted = {}
    for depth in (4, 2, 10):
        # The recipe's depth is 3; 10 blocks there are not, so its results are only made up.
        specs = plan_runs("base_to_new", f"skip.depth={min(depth, 4)}", methods=["skip"])
        if depth == 10:
            specs = [spec.model_copy(update={"options": {**spec.options, "depth": 10}}) for spec in specs]
        wanted[depth] = fill(tmp_path, specs, seed=depth)
    plan = plan_runs("base_to_new", methods=["skip"])
    fill(tmp_path, plan_runs("base_to_new", "skip.depth=2", "train.epochs=1", methods=["skip"]))
    table = ablation(axis_runs(plan, tmp_path, ["skip.depth"]), ["skip.depth"])
    assert table.rows == [("skip", "2"), ("skip", "4"), ("skip", "10")]
    assert table.columns[:3] == ["base", "new", "H"]
    for depth, found in wanted.items():
        frame = pd.DataFrame(found.values())
        check(find(table, "skip", str(depth), "base"), frame["base"])
        h = 2 / (1 / frame["base"] + 1 / frame["new"])
        check(find(table, "skip", str(depth), "H"), h, mean=2 / (1 / frame["base"].mean() + 1 / frame["new"].mean()))
    best = max(wanted, key=lambda depth: pd.DataFrame(wanted[depth].values())["base"].mean())
    assert find(table, "skip", str(best), "base").rank == 1
    with pytest.raises(UserError, match=r"has the setting 'skip.dept'"):
        axis_runs(plan, tmp_path, ["skip.dept"])


def test_missing_and_failed_runs_are_dashes_with_a_word(
    tmp_path: Path, plan_runs: Plan, fill: Fill, finish: Callable[..., None]
) -> None:
    specs = plan_runs("base_to_new", datasets=SETS[:2])
    lacking = {("coop", "emoji-food"), ("skip", "emoji")}
    some = [s for s in specs if (s.method, s.data.dataset) not in lacking]
    one = next(s for s in some if s.method == "skip" and s.seed == 2)
    fill(tmp_path, [s for s in some if s is not one])
    for spec in specs:
        if (spec.method, spec.data.dataset) == ("skip", "emoji"):
            folder = tmp_path / "runs" / spec.id
            folder.mkdir(parents=True)
            (folder / "log.txt").write_text("2026-01-01T00:00:00Z ERROR out of memory\n")
    table = only(paper_tables(experiment_runs(specs, tmp_path)))
    missing, failed = find(table, "emoji-food", "base", "coop"), find(table, "emoji", "H", "skip")
    assert (missing.mean, missing.state, missing.rank) == (None, "missing", 0)
    assert (failed.mean, failed.state) == (None, "failed")
    fewer = find(table, "emoji-food", "new", "skip")
    assert (fewer.seeds, fewer.planned) == (2, 3)
    # An average over fewer data sets compares with nothing.
    assert find(table, "average", "base", "coop").mean is None
    assert find(table, "average", "base", "zeroshot").mean is not None
    cost = find(table, "costs", "run MiB", "coop")
    assert (cost.mean, cost.state) == (None, "missing")
    assert find(table, "costs", "run MiB", "zeroshot").mean == 9.0
    note = " ".join(footnotes(table))
    assert "missing; 4 of 14 runs are not computed" in note
    assert "failed; 3 of 14 runs (skip-emoji-16shot-seed1: out of memory;" in note
    assert "(n): n seeds only" in note


@pytest.mark.parametrize(("protocol", "row"), [("base_to_new", "base"), ("few_shot", "16")])
def test_a_failure_on_one_data_set_is_none_on_another(
    protocol: str, row: str, tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    done = plan_runs(protocol, datasets=["emoji"], methods=["skip"], seeds=[1])
    failed = plan_runs(protocol, datasets=["emoji-food"], methods=["coop"], seeds=[1])
    fill(tmp_path, done)
    folder = tmp_path / "runs" / failed[0].id
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("2026-01-01T00:00:00Z ERROR out of memory\n")
    table = only(paper_tables(experiment_runs([*done, *failed], tmp_path)))
    assert find(table, "emoji-food", row, "coop").state == "failed"
    assert find(table, "emoji", row, "coop").state == "missing"
    assert find(table, "emoji-food", row, "skip").state == "missing"
    assert "–: there is no such run. –‡: failed; 1 of 2 runs" in " ".join(footnotes(table))


def test_no_row_is_tested_on_too_few_pairs(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs)
    table = only(paper_tables(experiment_runs(specs, tmp_path)))
    assert not any(cell.worse for cell in table.cells)
    assert "No paired test against the best (emoji base: 3 pairs" in " ".join(footnotes(table))


def test_what_is_clearly_worse_is_marked(tmp_path: Path, plan_runs: Plan, finish: Callable[..., None]) -> None:
    specs = plan_runs("base_to_new", datasets=SETS, methods=["coop", "skip"])
    for spec in specs:
        better = 5 + spec.seed if spec.method == "skip" else 0
        finish(tmp_path, spec, {"base": 60.0 + better, "new": 50.0 + better})
    table = only(paper_tables(experiment_runs(specs, tmp_path)))
    assert {(cell.block, cell.row, cell.column) for cell in table.cells if cell.worse} == {
        ("average", row, "coop") for row in ("base", "new", "H")
    }
    (test,) = table.tests["average", "H"]
    assert test.p == pytest.approx(2 / 2**9)


def test_runs_of_a_folder_that_differ_in_a_setting_are_columns_of_their_own(
    tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    for depth in (2, 4):
        fill(tmp_path, plan_runs("base_to_new", f"skip.depth={depth}", methods=["skip", "zeroshot"], seeds=[1, 2])[:2])
    fill(tmp_path, plan_runs("few_shot", methods=["coop"], seeds=[1]))
    few, base = sorted(paper_tables(folder_runs(tmp_path).runs), key=lambda table: table.name, reverse=True)
    assert base.columns == ["skip (depth=2)", "skip (depth=4)"]
    assert few.columns == ["coop"]
    assert {cell.seeds for cell in base.cells if cell.block == "emoji"} == {2}


def test_precision_is_part_of_the_name_where_it_differs(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    fill(tmp_path, plan_runs("base_to_new", methods=["skip"], seeds=[1]))
    fill(tmp_path, plan_runs("base_to_new", "train.precision=bf16", methods=["skip", "coop"], seeds=[1]))
    assert set(only(paper_tables(folder_runs(tmp_path).runs)).columns) == {"skip (fp32)", "skip (bf16)", "coop (bf16)"}


def test_names_of_files_have_no_slashes() -> None:
    words = ("cross_dataset", "folder:/data/my pets", "16shot", "ViT-B-16:/models/a.pt", "")
    assert file_name(words) == "cross_dataset-folder-data-my-pets-16shot-ViT-B-16-models-a.pt"


def test_leaderboards_are_apart(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop", "skip"])
    fill(tmp_path, specs)
    about = TunedSpec(study="skip-emoji-1", trials=50, data="base_to_new_validation of emoji", seeds=(1, 2))
    tuned = [spec.model_copy(update={"tuned": about, "seed": spec.seed}) for spec in specs]
    assert not {spec.id for spec in tuned} & {spec.id for spec in specs}, "a tuned run is a run of its own"
    fill(tmp_path, tuned, seed=1)
    runs = folder_runs(tmp_path).runs
    assert sorted({leaderboard(tuned) for tuned in runs["tuned"]}) == ["fixed", "tuned"]
    fixed, other = sorted(paper_tables(runs), key=lambda table: table.name)
    assert [table.leaderboard for table in (fixed, other)] == ["fixed", "tuned"]
    assert [table.name for table in (fixed, other)] == ["base_to_new-16shot", "base_to_new-16shot-tuned"]
    assert {cell.seeds for table in (fixed, other) for cell in table.cells} == {3}
    words = "50 trials on base_to_new_validation of emoji, seeds 1,2 (study skip-emoji-1)"
    assert f"Tuned: coop, skip: {words}." in footnotes(other)


def published_table(tmp_path: Path, plan_runs: Plan, fill: Fill, **changes: Any) -> tuple[Table, Path]:
    specs = plan_runs("base_to_new", methods=["skip"], backbone="ViT-B-16-quickgelu", **changes)
    fill(tmp_path, specs)
    return only(paper_tables(experiment_runs(specs, tmp_path))), tmp_path


def test_published_numbers_stand_beside_ours_marked_and_not_ranked(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    table, _ = published_table(tmp_path, plan_runs, fill, datasets=["dtd", "eurosat"])
    found = with_published(table)
    assert found.columns == ["skip", "skip†"]
    theirs = pd.read_csv(PUBLISHED / "base_to_new.csv")
    theirs = theirs[(theirs["method"] == "skip") & theirs["source"].str.startswith("Skip Tuning")].set_index(
        ["dataset", "metric"]
    )["value"]
    for dataset in ("dtd", "eurosat"):
        for metric in ("base", "new", "H"):
            cell = find(found, dataset, metric, "skip†")
            assert (cell.mean, cell.published, cell.rank) == (theirs[dataset, metric], True, 0)
    # Their average is over eleven data sets, ours over two.
    assert find(found, "average", "H", "skip†").mean is None
    assert any("arXiv:2412.11509" in sentence for sentence in footnotes(found))
    assert with_published(table, "none") is table
    assert {"promptsrc†", "skip†"} < set(with_published(table, "all").columns)


def test_tables_show_one_printed_series_of_each_published_method(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    table, _ = published_table(tmp_path, plan_runs, fill, datasets=["dtd"])
    columns = with_published(table, "all").columns
    # Several sources print CoOp; re-runs and what is not printed have no column, and a variant says so.
    assert len([name for name in columns if name.startswith("coop")]) == 1
    assert {"coprompt (own paper)†", "PromptKD (transductive)†"} <= set(columns)
    assert not [name for name in columns if "re-run" in name]


def test_published_numbers_are_of_one_backbone_and_16_shots(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    other_shots, _ = published_table(tmp_path / "a", plan_runs, fill, datasets=["dtd"], shots=[4])
    assert with_published(other_shots) is other_shots
    specs = plan_runs("base_to_new", methods=["skip"], datasets=["dtd"])
    fill(tmp_path / "b", specs)
    embedded = only(paper_tables(experiment_runs(specs, tmp_path / "b")))
    assert with_published(embedded) is embedded
