"""Calibration errors worked by hand and beside the recorded one; the temperature beside a search over a grid."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.rescore.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Temperature,
    adaptive_bins,
    calibration_error,
    confidences,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from harness.rescore.scores import predictions
from harness.results.logits import KeptLogits, LogitsFacts
from harness.training.evaluate import expected_calibration_error, score

# Ten images, two of them in each of four bins of a quarter, and two more in the last one.
CONFIDENCE = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
RIGHT = np.array([0, 0, 1, 0, 1, 1, 1, 0, 1, 1], bool)


def kept(logits: np.ndarray, labels: np.ndarray) -> KeptLogits:
    names = tuple(str(number) for number in range(logits.shape[1]))
    facts = LogitsFacts(run="r", evaluation="e", dataset="d", classes="all", splits=("test",), class_names=names)
    return KeptLogits.of(facts, logits.astype(np.float32), labels)


def test_a_reliability_table_by_hand() -> None:
    bins = reliability(CONFIDENCE, RIGHT, bins=4)
    assert [(one.low, one.high, one.images) for one in bins] == [
        (0.0, 0.25, 2), (0.25, 0.5, 2), (0.5, 0.75, 2), (0.75, 1.0, 4),
    ]  # fmt: skip
    assert [one.confidence for one in bins] == pytest.approx([0.15, 0.4, 0.65, 0.925])
    assert [one.accuracy for one in bins] == pytest.approx([0.0, 0.5, 1.0, 0.75])
    # 2/10 * 0.15 + 2/10 * 0.1 + 2/10 * 0.35 + 4/10 * 0.175
    assert calibration_error(bins) == pytest.approx(0.19)
    empty = reliability(np.array([0.9, 0.95]), np.array([True, False]), bins=2)
    assert (empty[0].images, empty[0].gap) == (0, 0.0)
    assert calibration_error(empty) == pytest.approx(0.925 - 0.5)


def test_equally_many_images_by_hand() -> None:
    bins = adaptive_bins(CONFIDENCE, RIGHT, bins=5)
    assert [one.images for one in bins] == [2, 2, 2, 2, 2]
    # (0.15, 0), (0.4, 1/2), (0.65, 1), (0.85, 1/2), (1, 1)
    assert calibration_error(bins) == pytest.approx((0.15 + 0.1 + 0.35 + 0.35 + 0.0) / 5)
    assert (bins[1].low, bins[1].high) == (0.3, 0.5)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=30), st.data())
def test_the_order_of_images_does_not_matter(pairs: list[tuple[float, bool]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(pairs))))
    confidence, right = np.array([one for one, _ in pairs]), np.array([one for _, one in pairs])
    for make in (reliability, adaptive_bins):
        bins, again = make(confidence, right, 5), make(confidence[order], right[order], 5)
        assert calibration_error(bins) == pytest.approx(calibration_error(again), abs=1e-12)
        assert sum(one.images for one in bins) == len(pairs)
        assert 0 <= calibration_error(bins) <= 1


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=1, max_size=50))
def test_it_is_the_error_that_runs_record(pairs: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([one for one, _ in pairs]), np.array([one for _, one in pairs])
    recorded = expected_calibration_error(torch.from_numpy(confidence), torch.from_numpy(right).double())
    assert calibration_error(reliability(confidence, right)) == pytest.approx(recorded, abs=1e-12)


def test_kept_logits_give_the_recorded_numbers() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(30, 3, (400, 10)).astype(np.float32), rng.integers(0, 10, 400)
    recorded = score(torch.from_numpy(logits), torch.from_numpy(labels), [str(number) for number in range(10)])
    one = kept(logits, labels)
    right = predictions(one.logits) == labels
    assert 100 * right.mean() == recorded.accuracy
    error = 100 * calibration_error(reliability(confidences(one.logits), right))
    assert error == pytest.approx(recorded.ece, abs=0.3)  # an image may change its bin by rounding


def test_confidence_is_the_highest_softmax() -> None:
    logits = np.array([[0.0, math.log(0.5), math.log(0.25)], [-1.0, 0.0, -1.0]])
    assert confidences(logits)[0] == pytest.approx(1 / 1.75)
    assert confidences(logits, 2.0)[1] == pytest.approx(1 / (1 + 2 * math.exp(-0.5)))


def test_a_temperature_beside_a_grid() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 300)
    logits = rng.normal(0, 1, (300, 6))
    logits[np.arange(300), labels] += 1.5
    logits = kept(4 * logits, labels).logits  # too confident
    found = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(math.log(0.5), math.log(10), 4000))
    best = grid[np.argmin([negative_log_likelihood(logits, labels, value) for value in grid])]
    assert found.value == pytest.approx(best, rel=2e-3)
    assert (found.images, found.is_bound) == (300, False)
    # Twice the logits need twice the temperature.
    assert fit_temperature(2 * logits, labels).value == pytest.approx(2 * found.value, rel=1e-4)
    right = predictions(logits) == labels
    after = calibration_error(reliability(confidences(logits, found.value), right))
    assert after < calibration_error(reliability(confidences(logits), right)) / 2


def test_no_temperature_is_best_where_no_image_is_wrong() -> None:
    logits = np.array([[0.0, -1.0], [-2.0, 0.0]])
    found = fit_temperature(logits, np.array([0, 1]))
    assert (found.value, found.is_bound) == (LOWEST_TEMPERATURE, True)
    # Where labels have lower logits than the others, the hotter, the likelier.
    assert fit_temperature(logits, np.array([1, 0])) == Temperature(
        pytest.approx(HIGHEST_TEMPERATURE, rel=0.01), 2, True
    )


def test_the_likelihood_by_hand() -> None:
    logits, labels = np.array([[0.0, -1.0, -2.0]]), np.array([1])
    expected = 1 + math.log(1 + math.exp(-1) + math.exp(-2))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected)
