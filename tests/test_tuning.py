"""The tuning of the embedded benchmark: every tuned method has the same budget, and every trial can be planned."""

import csv
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from harness.experiment.grid import all_runs, load_experiment
from harness.experiment.recipe_origin import chosen_of
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class, method_names
from harness.experiment.settings import flat_settings, parse_overrides, read_yaml

FOLDER = Path(__file__).parents[1] / "experiments" / "embedded"
GRID = read_yaml(FOLDER / "tuning.yaml")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tune_recipes", FOLDER / "tune_recipes.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", GRID["methods"])
def test_each_method_has_as_many_trials_that_look_at_no_test_picture(script: ModuleType, method: str) -> None:
    points = script.grid_points(GRID["methods"][method], GRID["trials"])
    assert len({tuple(point) for point in points}) == GRID["trials"]
    for point in points:
        specs = script.specs_of(method, point, GRID)
        assert [spec.seed for spec in specs] == GRID["seeds"]
        assert not any(spec.is_tested for spec in specs)


def test_every_method_that_trains_is_tuned_but_one_whose_rates_follow_from_the_data() -> None:
    trained = {name for name in method_names() if method_class(name).trains}
    assert set(GRID["methods"]) == trained - {"lp_plus_plus"}


def test_a_grid_of_another_size_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="every method has 6 trials"):
        script.grid_points({"train.lr": [1, 2]}, 6)


def test_the_table_has_the_settings_of_the_grids_and_one_chosen_for_each_method(script: ModuleType) -> None:
    with (FOLDER / "tuning.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == set(GRID["methods"])
    for method in GRID["methods"]:
        own = [row for row in rows if row["method"] == method]
        points = script.grid_points(GRID["methods"][method], GRID["trials"])
        assert sorted(row["settings"] for row in own) == sorted(" ".join(point) for point in points)
        assert sum(row["chosen"] == "yes" for row in own) == 1


@pytest.mark.parametrize("method", GRID["methods"])
def test_the_recipe_of_the_small_backbone_is_the_setting_that_was_chosen(method: str) -> None:
    with (FOLDER / "tuning.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["method"] == method and row["chosen"] == "yes")
    protocol = "few_shot_validation" if method in GRID["protocols"]["few_shot_validation"] else "base_to_new_validation"
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": [method], "protocol": protocol, "seeds": [1]})
    (spec,) = all_runs(experiment)
    settings = flat_settings(spec.settings())
    chosen = flat_settings(parse_overrides(re.split(r" (?=\w+\.\w+=)", row["settings"])))
    assert {key: settings[key] for key in chosen} == chosen
    about = chosen_of(method, spec.recipe)
    if spec.recipe == "official":
        assert about is None
    else:
        assert about
        assert (about.protocol, about.trials, about.where) == (
            protocol,
            GRID["trials"],
            "experiments/embedded/tuning.csv",
        )
