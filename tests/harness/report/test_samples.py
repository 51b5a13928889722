"""Runs that differ in the seed of their k-shot sample are one setting: means, deviations, pairs and footnotes."""

import statistics
from collections.abc import Callable
from pathlib import Path

from harness.experiment.spec import RunSpec
from harness.report.cells import by_seed
from harness.report.footnotes import footnotes, seeds_note
from harness.report.method_table import method_table
from harness.report.paper_tables import ablations, paper_tables
from harness.report.run_notes import samples_note
from harness.report.runs import axis_runs, experiment_runs, folder_runs

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def planned(plan_runs: Plan, *settings: str, seeds: tuple[int, ...] = (1, 2, 3)) -> list[RunSpec]:
    return plan_runs("few_shot", *settings, methods=["coop", "skip"], seeds=list(seeds), shots=[4])


def test_the_mean_is_over_seeds_and_samples_and_tests_pair_both(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = planned(plan_runs, "data.sample_seed=1,2")
    assert len(specs) == 12
    accuracies = fill(tmp_path, specs)
    (table,) = paper_tables(folder_runs(tmp_path).runs)
    assert sorted(table.columns) == ["coop", "skip"]
    cells = {cell.column: cell for cell in table.cells if cell.row == "4"}
    for method in table.columns:
        own = [next(iter(accuracies[spec.id].values())) for spec in specs if spec.method == method]
        assert abs((cells[method].mean or 0) - statistics.fmean(own)) < 1e-9
        assert abs((cells[method].std or 0) - statistics.stdev(own)) < 1e-9
        assert (cells[method].seeds, cells[method].planned) == (6, 6)
    assert [test.pairs for tests in table.tests.values() for test in tests] == [6]
    assert "mean ± sample std over 3 seeds, " in " ".join(footnotes(table))
    assert set(method_table(folder_runs(tmp_path).runs)["seeds"]) == {"3 x 2"}
    # Where the user asks, each sample has a row.
    (each,) = ablations(axis_runs(specs, tmp_path, ["data.sample_seed"]), ["data.sample_seed"])
    assert sorted(each.rows) == [("coop", "1"), ("coop", "2"), ("skip", "1"), ("skip", "2")]


def test_samples_are_counted_by_their_images(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = planned(plan_runs, "data.sample_seed=1,2")
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path)
    two = runs.assign(sample_hash=[f"sample {seed}" for seed in runs["sample_seed"]])
    assert "over 3 seeds, 2 samples." in seeds_note(paper_tables(two)[0])
    one = seeds_note(paper_tables(runs.assign(sample_hash="the same"))[0])
    assert "over 3 seeds, 1 sample." in one
    few = runs[runs["seed"] == 1].assign(sample_hash="the same")
    assert samples_note(few) == ["emoji, 4 shots: 2 seeds of samples draw 1 sample."]


def test_other_samples_of_the_same_seeds_make_no_pairs(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    apart, together = planned(plan_runs, "data.sample_seed=7"), planned(plan_runs)
    specs = [spec for spec in apart if spec.method == "coop"] + [spec for spec in together if spec.method == "skip"]
    fill(tmp_path, specs)
    (table,) = paper_tables(experiment_runs(specs, tmp_path))
    assert [test.pairs for tests in table.tests.values() for test in tests] == [0]


def test_a_sample_that_is_asked_for_in_two_ways_counts_once(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = planned(plan_runs, "data.sample_seed=1", seeds=(1,)) + planned(plan_runs, seeds=(1, 2))
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path)
    values = by_seed(runs[runs["label"] == "skip"], "accuracy.all")
    assert list(values.index) == ["1/1", "2/2"]
