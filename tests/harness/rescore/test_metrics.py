"""Each metric of kept logits: where it is defined, and under which name it is found."""

from collections.abc import Callable

import numpy as np
import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.rescore.calibration import Temperature
from harness.rescore.metrics import RESCORE_METRICS, Scored, find_rescore_metrics
from harness.rescore.run import difference_note
from harness.results.logits import KeptLogits, LogitsFacts
from harness.results.metrics import METRICS
from tests.made_up_results import a_result

Plan = Callable[..., list[RunSpec]]
NAMES = ("a", "b", "c", "d", "e", "f")
LABELS = np.array([0, 1, 2, 3, 4, 5, 0, 1])


def scored_of(spec: RunSpec, name: str, temperature: Temperature | None = None, accuracy: float = 87.5) -> Scored:
    """Eight images of six classes; all but the last one are classified right, with growing confidence."""
    result = a_result(spec, {item.name: accuracy for item in spec.evaluate}, {})
    facts = LogitsFacts(
        run=spec.id, evaluation=name, dataset="emoji", classes="all", splits=("test",), class_names=NAMES
    )
    logits = np.zeros((8, 6), np.float32)
    logits[np.arange(8), [*LABELS[:-1], 0]] = 1 + np.arange(8)
    evaluation = next(item for item in result.evaluations if item.name == name)
    return Scored(result, evaluation, KeptLogits.of(facts, logits, LABELS), temperature)


def values_of(scored: Scored) -> dict[str, float | None]:
    return {name: metric.value(scored) for name, metric in RESCORE_METRICS.items()}


def test_values_and_where_they_are_defined(plan_runs: Plan) -> None:
    (spec,) = plan_runs("base_to_new_together", methods=["zeroshot"], seeds=[1])
    assert [(item.name, item.classes) for item in spec.evaluate] == [
        ("base", "base"), ("new", "new"), ("together", "all"),
    ]  # fmt: skip
    found = values_of(scored_of(spec, "together"))
    assert found["accuracy"] == 87.5
    assert found["balanced_accuracy"] == pytest.approx(100 * (1 + 0.5 + 4) / 6)
    assert found["top5"] == 100  # the label of the wrong image stands second
    # Base: five images, one wrong; new: three. The new ones score lowest: their base classes are improbable.
    assert found["openworld_auc"] == pytest.approx(100 * 4 / 5)
    assert found["temperature"] is None
    assert found["ece_after_temperature"] is None
    with_one = values_of(scored_of(spec, "together", Temperature(2.0, 10)))
    assert with_one["temperature"] == 2.0
    assert with_one["ece_after_temperature"] != with_one["ece"] == found["ece"]
    # One of base images alone has no pairs.
    assert values_of(scored_of(spec, "base"))["openworld_auc"] is None
    (spec,) = plan_runs("few_shot", methods=["zeroshot"], seeds=[1])
    assert values_of(scored_of(spec, "all"))["openworld_auc"] is None


def test_an_accuracy_that_is_not_the_recorded_one_is_said(plan_runs: Plan) -> None:
    (spec,) = plan_runs("few_shot", methods=["zeroshot"], seeds=[1])
    assert difference_note(scored_of(spec, "all")) == []
    (line,) = difference_note(scored_of(spec, "all", accuracy=75.0))
    assert line.startswith(f"run {spec.id}, all: the kept logits get 7 of 8 images right, 6 were recorded")


def test_metrics_are_found_by_name() -> None:
    assert find_rescore_metrics([]) == list(RESCORE_METRICS.values())
    assert [metric.name for metric in find_rescore_metrics(["top5", "ece"])] == ["top5", "ece"]
    with pytest.raises(UserError, match=r"unknown metric 'top_5'. Did you mean 'top5'?"):
        find_rescore_metrics(["top_5"])


def test_what_results_have_too_has_the_same_title() -> None:
    for name in RESCORE_METRICS.keys() & METRICS.keys():
        assert RESCORE_METRICS[name].title == METRICS[name].title
