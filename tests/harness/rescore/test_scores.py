"""Predictions, top-k and confusions, beside counting by hand and by sorting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.rescore.scores import (
    balanced_accuracy,
    class_accuracies,
    confusion_matrix,
    is_among_highest,
    predictions,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 3])
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 3])


def test_a_confusion_matrix_by_hand() -> None:
    confusion = confusion_matrix(LABELS, PREDICTED, 4)
    assert confusion.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    # Class 2 has no images: it is in no mean.
    assert class_accuracies(confusion)[[0, 1, 3]].tolist() == [0.75, 0.5, 1.0]
    assert np.isnan(class_accuracies(confusion)[2])
    assert balanced_accuracy(confusion) == pytest.approx((0.75 + 0.5 + 1.0) / 3)


# Few different values, so that there are ties.
LOGITS = arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(-2, 0))


@given(LOGITS, st.integers(1, 6), st.data())
def test_among_the_highest_as_a_stable_sort_says(logits: np.ndarray, k: int, data: st.DataObject) -> None:
    labels = np.array(
        data.draw(st.lists(st.integers(0, logits.shape[1] - 1), min_size=len(logits), max_size=len(logits)))
    )
    found = is_among_highest(logits, labels, k)
    for row, label, one in zip(logits, labels, found, strict=True):
        ranked = sorted(range(len(row)), key=lambda place: -row[place])
        assert one == (label in ranked[:k])
    assert (is_among_highest(logits, labels, 1) == (predictions(logits) == labels)).all()
