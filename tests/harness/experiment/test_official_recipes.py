"""The official recipes train as the authors of the methods did; `official_recipes.yaml` holds facts and sources."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import SelectSpec

PROTOCOLS = ("base_to_new", "few_shot", "cross_dataset", "domain_generalization")
FACTS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "official_recipes.yaml").read_text())
UNLESS_NAMED = {
    "batches": "random",
    "keep_remainder": False,
    "lr_image": None,
    "lr_min": 0.0,
    "optimizer": "sgd",
    "schedule": "epoch",
    "views": None,
}


@cache
def paper(protocol: str) -> tuple[RunSpec, ...]:
    """The runs of the paper under a protocol that train something."""
    specs = expand(load_experiment(EXPERIMENTS / "paper" / f"{protocol}.yaml"))
    return tuple(spec for spec in specs if spec.method != "zeroshot")


def belongs(spec: RunSpec, facts: dict[str, Any]) -> bool:
    """Whether the authors used a configuration for a run."""
    return (
        spec.method == facts["method"]
        and spec.protocol in facts["protocols"]
        and spec.data.dataset in facts.get("datasets", [spec.data.dataset])
        and spec.data.dataset not in facts.get("not_datasets", [])
        and spec.data.shots in facts.get("shots", [spec.data.shots])
    )


@pytest.mark.parametrize("facts", FACTS["configurations"], ids=lambda facts: facts["source"])
def test_runs_train_as_their_official_configuration_says(facts: dict[str, Any]) -> None:
    specs = [spec for protocol in PROTOCOLS for spec in paper(protocol) if belongs(spec, facts)]
    assert specs, "the configuration is that of no run"
    for spec in specs:
        assert spec.options == facts["options"], spec.name
        for key, value in {**UNLESS_NAMED, **FACTS["all"]["train"], **facts["train"]}.items():
            assert getattr(spec.train, key) == value, (spec.name, key)
        named = spec.data.templates
        assert (named if isinstance(named, str) else list(named)) == facts.get("templates", "zeroshot")
        assert list(spec.data.crop_scale) == facts.get("crop_scale", FACTS["all"]["crop_scale"])
        assert spec.data.flip == FACTS["all"]["flip"]
        assert spec.select == SelectSpec(**facts.get("select", {}))
        # The authors train in half precision; ours is the default, and `train.precision=half` is theirs.
        assert spec.train.precision == "fp32"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_run_of_the_paper_has_one_official_configuration(protocol: str) -> None:
    for spec in paper(protocol):
        assert sum(belongs(spec, facts) for facts in FACTS["configurations"]) == 1, spec.name


def test_zeroshot_trains_nowhere_and_uses_the_usual_prompts() -> None:
    specs = [spec for name in PROTOCOLS for spec in expand(load_experiment(EXPERIMENTS / "paper" / f"{name}.yaml"))]
    specs = [spec for spec in specs if spec.method == "zeroshot"]
    assert len(specs) == 11 + 55 + 1 + 1
    assert {(spec.train.epochs, spec.data.templates, spec.seed) for spec in specs} == {(0, "zeroshot", 1)}
