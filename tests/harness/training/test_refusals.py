"""A method that cannot take part in one evaluation takes part in the others; one that can in none is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import UserError
from harness.estimate.estimator import Estimator
from harness.experiment.spec import EvalSpec, RunSpec
from harness.results.epochs import read_epochs
from harness.results.metrics import metric_values
from harness.results.record import Refusal, read_result
from harness.training.events import Event, Notice
from harness.training.refusals import find_refusals, served
from harness.training.run import Run
from methods.base import Method, OtherClassesError
from tests.commands import skipbench

Plan = Callable[..., list[RunSpec]]
BASE, NEW, SEEN = (EvalSpec(name=name, dataset="emoji") for name in ("base", "new", "seen"))
OWN_CLASSES = "coop.class_specific=true"


class OnlyItsOwn:
    """Stands in for a method that was trained on the classes a and b."""

    def check_classes(self, texts: tuple[str, ...]) -> None:
        if texts != ("a", "b"):
            raise OtherClassesError(f"not for {len(texts)} classes")


def refusals_of(*evaluations: EvalSpec, texts: dict[str, list[str]]) -> tuple[Refusal, ...]:
    return find_refusals(cast(Method, OnlyItsOwn()), evaluations, lambda item: texts[item.name])


def test_the_others_are_served() -> None:
    found = refusals_of(BASE, NEW, SEEN, texts={"base": ["a", "b"], "new": ["c"], "seen": ["a", "b"]})
    assert found == (Refusal(evaluation="new", reason="not for 1 classes"),)
    assert served([BASE, NEW, SEEN], found) == [BASE, SEEN]
    assert refusals_of(BASE, texts={"base": ["a", "b"]}) == ()


def test_a_method_that_can_take_part_in_none_is_refused() -> None:
    with pytest.raises(OtherClassesError, match="not for 1 classes"):
        refusals_of(BASE, NEW, texts={"base": ["c"], "new": ["c", "d"]})


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Path, list[str]]:
    """A finished run of a method that is not for new classes, on validation images after its epoch; its notices."""
    from harness.experiment.grid import expand, load_experiment
    from harness.experiment.recipes import EXPERIMENTS
    from harness.experiment.settings import parse_overrides

    grid = {"methods": ["coop"], "shots": [1], "seeds": [1], "protocol": "base_to_new_validation"}
    words = [OWN_CLASSES, "train.epochs=1", "train.batch_size=4", "train.validate_every=1", "wandb.mode=disabled"]
    (spec,) = expand(load_experiment(EXPERIMENTS / "bench.yaml", grid), parse_overrides(words))
    results, told = tmp_path_factory.mktemp("refusing"), list[str]()

    def hear(event: Event) -> None:
        told.extend([event.text] if isinstance(event, Notice) else [])

    Run(spec, results, hear).execute()
    return spec, results / "runs" / spec.id, told


def test_a_run_records_what_its_method_refuses(refusing: tuple[RunSpec, Path, list[str]]) -> None:
    _, folder, told = refusing
    result = read_result(folder / "result.json")
    assert [item.name for item in result.evaluations] == ["base"]
    assert [item.evaluation for item in result.refusals] == ["new"]
    assert "learns a context for each of its 12 classes" in result.refusals[0].reason
    assert [item.name for item in result.spec.evaluate] == ["base", "new"], "the id is that of the whole protocol"
    values = metric_values(result)
    assert "accuracy.base" in values
    assert not {"accuracy.new", "accuracy", "ece", "H"} & values.keys()
    assert f"coop is not evaluated on 'new': {result.refusals[0].reason}" in told
    assert set(json.loads((folder / "predictions.json").read_text())) == {"base"}


def test_validation_after_epochs_leaves_it_out(refusing: tuple[RunSpec, Path, list[str]]) -> None:
    _, folder, _ = refusing
    assert [record.accuracies.keys() for record in read_epochs(folder / "metrics.jsonl")] == [{"base"}]


def test_what_is_refused_costs_nothing_in_an_estimate(plan_runs: Plan) -> None:
    (both,) = plan_runs("base_to_new", OWN_CLASSES, methods=["coop"], seeds=[1])
    only_base = both.model_copy(update={"evaluate": both.evaluate[:1]})
    estimator = Estimator()
    assert [item.evaluation for item in estimator.refusals(both)] == ["new"]
    assert estimator.refusals(only_base) == ()
    peaks = [estimator.estimate(spec, phases=["evaluate"], flops=False).phases for spec in (both, only_base)]
    assert peaks[0]["evaluate"].num_bytes == peaks[1]["evaluate"].num_bytes
    with pytest.raises(UserError, match=r"coop: class_specific=true learns a context"):
        estimator.refusals(both.model_copy(update={"evaluate": both.evaluate[1:]}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["objectives=H"], "coop has no H under base_to_new_validation"),
        (["objectives=accuracy"], "coop has no accuracy under"),
        (["objectives=accuracy.base", "limits={accuracy.new: 50}"], "coop has no accuracy.new under"),
    ],
)
def test_a_sweep_says_at_once_that_an_objective_does_not_exist(changes: list[str], told: str, tmp_path: Path) -> None:
    words: list[Any] = ["sweep", "coop", OWN_CLASSES, *changes, "--trials", "1", "--results", tmp_path]
    done = skipbench(*map(str, words))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {told}")
    assert "cannot be evaluated on 'new' (class_specific=true" in line
    assert line.endswith("judge it by accuracy.base")
    assert not list(tmp_path.glob("**/*.db"))
    assert not (tmp_path / "runs").exists()
