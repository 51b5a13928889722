"""What sets a run apart from its recipe: nothing if nothing was changed, else each change, and nothing else."""

from collections.abc import Callable

import pytest

import harness.experiment.differences as module
from harness.experiment.differences import differences, in_short, short
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipe_origin import settings_of_recipe
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec

Make = Callable[..., RunSpec]


@pytest.mark.parametrize("protocol", ["base_to_new", "few_shot_validation"])
def test_the_recipe_as_it_is_differs_in_nothing(protocol: str) -> None:
    changes = {"methods": ["all"], "protocol": protocol, "shots": [1, 16]}
    specs = expand(load_experiment(EXPERIMENTS / "bench.yaml", changes))
    assert {spec.method for spec in specs} == set(method_names())
    assert {spec.name: differences(spec) for spec in specs if differences(spec)} == {}


def test_each_change_is_found_and_nothing_of_the_task_or_the_place(make_spec: Make) -> None:
    words = ("skip.depth=4", "train.lr=0.123456789", "data.sampling=dassl", "select.shots=2", "train.validate_every=1")
    spec = make_spec("skip", *words, "runtime.threads=1", "wandb.tags=[a]", shots=4, seed=7)
    assert differences(spec) == {
        "skip.depth": 4,
        "train.lr": 0.123456789,
        "train.validate_every": 1,
        "select.shots": 2,
        "data.sampling": "dassl",
    }
    assert in_short("skip", differences(spec))[:2] == ["depth=4", "train.lr=0.1235"]


def test_the_recipe_is_told_unless_it_is_the_usual_one(make_spec: Make) -> None:
    spec = make_spec("zeroshot")
    assert differences(spec.model_copy(update={"recipe": "ensemble"}))["recipe"] == "ensemble"
    assert "recipe" not in differences(spec.model_copy(update={"recipe": "official"}))
    assert differences(spec.model_copy(update={"recipe": "gone"})) == {}
    assert differences(spec.model_copy(update={"method": "gone"})) == {}


def test_values_are_short() -> None:
    assert short(0.000123456) == "0.0001235"
    assert short(True) == "true"
    assert short(["a" * 50]).endswith("a…")
    assert len(short(["a" * 50])) == 40


def test_it_is_found_once_for_all_seeds(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [make_spec("skip", "train.epochs=3", "train.lr=0.0421", seed=seed) for seed in (1, 2, 3)]
    asked = []

    def counting(spec: RunSpec) -> Settings:
        asked.append(spec)
        return settings_of_recipe(spec)

    monkeypatch.setattr(module, "settings_of_recipe", counting)
    assert [differences(spec) for spec in specs] == [{"skip.depth": 3, "train.epochs": 3, "train.lr": 0.0421}] * 3
    assert len(asked) == 1
    differences(specs[0]).clear()
    assert differences(specs[0])
