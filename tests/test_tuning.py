"""The tuning of the embedded benchmark: every tuned method has the same budget, and every trial can be planned."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from harness.experiment.registry import method_class, method_names
from harness.experiment.settings import read_yaml

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
