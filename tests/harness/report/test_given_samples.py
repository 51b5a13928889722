"""Tables tell samples apart: where they come from, how many they are, and what may be averaged and paired."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes, seeds_note
from harness.report.method_table import method_table
from harness.report.paper_tables import paper_tables
from harness.report.run_notes import samples_note, sources_note
from harness.report.runs import experiment_runs, folder_runs

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with a file for each of three seeds, all of them different."""
    folder = tmp_path / "indices" / "emoji"
    folder.mkdir(parents=True)
    for seed in (1, 2, 3):
        (folder / f"shot_4-seed_{seed}.json").write_text(json.dumps({"train": [], "seed": seed}))
    return folder


def planned(plan_runs: Plan, *settings: str, methods: tuple[str, ...] = ("coop", "skip")) -> list[RunSpec]:
    return plan_runs("few_shot", *settings, methods=list(methods), seeds=[1, 2, 3], shots=[4])


def test_given_samples_are_told(tmp_path: Path, samples: Path, plan_runs: Plan, fill: Fill) -> None:
    pattern = f"{samples.parent}/{{dataset}}/shot_{{shots}}-seed_{{seed}}.json"
    specs = planned(plan_runs, f"data.index={pattern}")
    fill(tmp_path, specs)
    (table,) = paper_tables(experiment_runs(specs, tmp_path))
    assert sorted(table.columns) == ["coop", "skip"]
    assert "over 3 seeds, 3 samples." in seeds_note(table)
    assert f"k-shot samples: data.index={pattern}." in footnotes(table)
    assert set(method_table(folder_runs(tmp_path).runs)["seeds"]) == {"3"}


def test_seeds_on_one_sample_are_told(tmp_path: Path, samples: Path, plan_runs: Plan, fill: Fill) -> None:
    one = f"data.index={samples}/shot_4-seed_2.json"
    specs = planned(plan_runs, one)
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path).assign(sample_hash="the same")
    (table,) = paper_tables(runs)
    assert sorted(table.columns) == ["coop", "skip"]
    assert sources_note(runs) == [f"k-shot samples: {one.replace('/emoji/', '/{dataset}/')}."]
    assert "over 3 seeds, 1 sample." in seeds_note(table)
    assert samples_note(runs) == ["emoji, 4 shots: 3 seeds, one sample: all seeds share their shots."]
    assert set(method_table(runs)["seeds"]) == {"3 (1 sample)"}


def test_a_run_that_had_its_sample_under_another_name_is_called_as_it_is_planned(
    tmp_path: Path, samples: Path, plan_runs: Plan, fill: Fill
) -> None:
    fill(tmp_path, planned(plan_runs, f"data.index={samples.parent}", methods=("coop",)))
    one = planned(plan_runs, f"data.index={samples}/shot_4-seed_1.json", methods=("coop",))
    fill(tmp_path, one[1:])
    assert set(experiment_runs(one, tmp_path)["label"]) == {"coop"}
    assert set(experiment_runs(one, tmp_path)["state"]) == {"done"}


def test_files_named_one_by_one_are_those_of_their_pattern(
    tmp_path: Path, samples: Path, plan_runs: Plan, fill: Fill
) -> None:
    specs = [
        spec
        for seed in (1, 2, 3)
        for spec in planned(plan_runs, f"data.index={samples}/shot_4-seed_{seed}.json", methods=("coop",))
        if spec.seed == seed
    ]
    fill(tmp_path, specs)
    (table,) = paper_tables(folder_runs(tmp_path).runs)
    assert [(cell.column, cell.seeds) for cell in table.cells if cell.row == "4"] == [("coop", 3)]


def test_drawn_and_given_samples_are_neither_averaged_nor_paired(
    tmp_path: Path, samples: Path, plan_runs: Plan, fill: Fill
) -> None:
    specs = [
        *planned(plan_runs, methods=("coop",)),
        *planned(plan_runs, "data.sampling=dassl", methods=("coop",)),
        *planned(plan_runs, f"data.index={samples}", methods=("coop",)),
    ]
    accuracies = fill(tmp_path, specs)
    (table,) = paper_tables(folder_runs(tmp_path).runs)
    cells = {cell.column: cell for cell in table.cells if cell.row == "4"}
    assert sorted(cells) == ["coop #1", "coop #2", "coop #3"]
    means = {
        round(sum(next(iter(accuracies[spec.id].values())) for spec in specs[start : start + 3]) / 3, 9)
        for start in (0, 3, 6)
    }
    assert {round(cell.mean or 0, 9) for cell in cells.values()} == means
    assert {cell.seeds for cell in cells.values()} == {3}
    assert [test.pairs for tests in table.tests.values() for test in tests] == [0, 0]
    assert "drawn as the official code does (data.sampling=dassl) (coop #" in sources_note(table.runs)[0]


def test_samples_that_are_drawn_as_usual_need_no_word(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = planned(plan_runs)
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path)
    assert sources_note(runs) == []
    assert "over 3 seeds." in seeds_note(paper_tables(runs)[0])


def test_the_methods_whose_seeds_share_a_sample_are_named(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = planned(plan_runs)
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path)
    one = runs.assign(sample_hash=runs["sample_hash"].where(runs["method"] == "skip", "the same"))
    assert samples_note(one) == ["emoji, 4 shots: 3 seeds, one sample: all seeds share their shots (coop)."]
