"""Estimates of methods that are fitted to the shots or choose on validation images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.counts import class_counts
from harness.errors import UserError
from harness.estimate.estimator import Estimator
from harness.report.estimate_table import peak_cell
from harness.training.run_data import RunData, validation_shots
from tests.fitted_methods import HEAD, PROTOTYPES, SEARCHED
from tests.harness.estimate.small_runs import Make, estimated_peaks, peaks_of, run, small_spec


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    """One for all tests: it builds the model once."""
    return Estimator()


@pytest.fixture
def fitted(add_method: Callable[[str, str], None]) -> None:
    """A closed form, one with a choice, and a head that trains from what the shots give."""
    for name, code in (("prototypes", PROTOTYPES), ("searched", SEARCHED), ("head", HEAD)):
        add_method(name, code)


# The head and the prototypes know their training classes only.
SAME_CLASSES = "evaluate=[{name: val, dataset: emoji, classes: base.base.base, splits: [val]}]"


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("method", "words", "phases"),
    [
        ("prototypes", ["train.fit_views=3"], ["setup", "cache", "fit", "evaluate"]),
        ("prototypes", ["train.views=2", "train.precision=half"], ["setup", "cache", "fit", "evaluate"]),
        ("searched", ["select.shots=2"], ["setup", "cache", "fit", "select", "evaluate"]),
        ("head", ["train.views=2"], ["setup", "cache", "fit", "train", "evaluate"]),
        ("head", ["train.cache=none", "train.fit_views=2"], ["setup", "fit", "train", "evaluate"]),
    ],
)
def test_what_is_fitted_and_chosen_is_estimated_to_the_byte(
    method: str, words: list[str], phases: list[str], make_spec: Make, estimator: Estimator, tmp_path: Path
) -> None:
    spec = small_spec(make_spec, method, SAME_CLASSES, *words, shots=2)
    estimate, costs = estimator.estimate(spec, flops=False), run(spec, tmp_path)
    assert list(estimate.phases) == phases
    assert estimated_peaks(estimate) == peaks_of(costs)
    assert estimate.trainable_parameters == costs["trainable_parameters"]
    assert estimate.cache_bytes == costs["cache_bytes"]
    assert estimate.checkpoint_bytes == costs["checkpoint_bytes"]
    assert not estimate.made_up


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("method", "words", "views"),
    [
        ("zeroshot", [], 0),
        ("prototypes", [], 1),
        ("prototypes", ["train.fit_views=3"], 3),
        # Its epochs are ever new, and what it is fitted to is one more pass.
        ("head", ["train.epochs=4"], 5),
        ("head", ["train.epochs=4", "train.views=3"], 3),
        ("head", ["train.epochs=4", "train.views=3", "train.fit_views=2"], 3),
        ("head", ["train.epochs=4", "train.cache=once"], 1),
        ("clip_adapter", ["train.epochs=4"], 4),
        ("clip_adapter", ["train.epochs=4", "train.views=9", "train.batches=all_views"], 9),
        ("finetune", ["train.epochs=4", "finetune.depth=0"], 0),
    ],
)
def test_views_that_pass_the_frozen_stages_are_counted(
    method: str, words: list[str], views: int, make_spec: Make, estimator: Estimator
) -> None:
    spec = small_spec(make_spec, method, SAME_CLASSES, *words, shots=2)
    found = estimator.estimate(spec, phases=(), flops=False)
    assert found.train_images == 12
    assert found.cache_images == 12 * views


READS = (
    HEAD.replace("import torch.nn.functional as F", "from typing import Any\n\nimport torch.nn.functional as F")
    + """
    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.weight], "lr": 1 / self.weight.norm().item()}]
"""
)


def test_a_step_size_from_the_shots_is_made_up_and_stops_no_fit(
    add_method: Callable[[str, str], None],
    make_spec: Make,
    estimator: Estimator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is endless ends sooner; the loop that ends reads far less.
    monkeypatch.setattr("harness.estimate.fake_tensors.MOST_MADE_UP", 1_000)
    add_method("reads", READS)
    spec = small_spec(make_spec, "reads", SAME_CLASSES, shots=2)
    estimate = estimator.estimate(spec, flops=False)
    # Memory does not depend on a rate.
    assert not estimate.made_up
    assert estimated_peaks(estimate) == peaks_of(run(spec, tmp_path))
    until_small = "        images = images / 2\n        while images.norm() > 5:\n            images = images / 2\n"
    begin = "        one_hot = "
    add_method("reads_in_fit", HEAD.replace(begin, until_small + begin))
    estimate = estimator.estimate(small_spec(make_spec, "reads_in_fit", SAME_CLASSES, shots=2), flops=False)
    assert estimate.made_up
    assert peak_cell(estimate, "fit").startswith("≈ ")
    endless = "        while not images.norm() < 5:\n            images = images / 2\n"
    add_method("endless", HEAD.replace(begin, endless + begin))
    with pytest.raises(UserError, match="reads more than 1,000 numbers that depend on its shots"):
        estimator.estimate(small_spec(make_spec, "endless", SAME_CLASSES, shots=2), flops=False)


@pytest.mark.usefixtures("fitted")
def test_validation_pictures_of_a_choice_are_those_that_a_run_looks_at(make_spec: Make) -> None:
    def labels(*words: str) -> int:
        spec = small_spec(make_spec, "searched", SAME_CLASSES, *words, shots=2)
        counts = class_counts("emoji", "base.base.base", 2, None, choice_shots=validation_shots(spec))
        data = RunData(spec)
        assert sum(counts.choice) == len(data.validation_pictures(data.few_shot(), "val"))
        return sum(counts.choice)

    assert (labels(), labels("select.shots=3"), labels("select.shots=shots")) == (12, 18, 12)
    assert labels("select.shots=all") > 18
