"""OpenworldAUC beside its definition: every pair of a base and a new image looked at."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.rescore.openworld import base_scores, openworld_auc


def by_definition(logits: np.ndarray, labels: np.ndarray, base: int) -> float:
    """The mean over all pairs, from probabilities."""
    exponents = np.exp(logits)
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    successes, pairs = 0, 0
    for one, own in zip(probabilities, labels, strict=True):
        for other, its in zip(probabilities, labels, strict=True):
            if own < base <= its:
                pairs += 1
                told_apart = max(one[:base]) > max(other[:base]) + 1e-12
                successes += told_apart and own == np.argmax(one[:base]) and its == base + np.argmax(other[base:])
    return successes / pairs


LOGITS = arrays.arrays(np.float64, st.tuples(st.integers(2, 12), st.just(5)), elements=st.integers(-3, 0))


@given(LOGITS, st.integers(1, 4), st.data())
def test_it_is_the_share_of_pairs(logits: np.ndarray, base: int, data: st.DataObject) -> None:
    logits = logits - logits.max(axis=1, keepdims=True)
    labels = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(logits), max_size=len(logits))))
    assume((labels < base).any() and (labels >= base).any())
    assert openworld_auc(logits, labels, base) == pytest.approx(by_definition(logits, labels, base))


def test_by_hand() -> None:
    # Two base classes, one new class: base images score 0.9 (right), 0.6 (wrong class); new images 0.2 and 0.8.
    shares = np.array([[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7], [0.8, 0.1, 0.1]])
    logits = np.log(shares) - np.log(shares).max(axis=1, keepdims=True)
    # Of four pairs, the right base image stands above both new images; the other base image is wrong.
    assert openworld_auc(logits, np.array([0, 0, 2, 2]), base=2) == 0.5
    # Now it is right, and above one new image of two.
    assert openworld_auc(logits, np.array([0, 1, 2, 2]), base=2) == 0.75


def test_images_that_are_nearly_certain_are_told_apart() -> None:
    logits = np.array([[0.0, -60.0], [0.0, -50.0]])
    first, second = base_scores(logits, base=1)
    assert first > second  # both probabilities are 1 in float64
    assert openworld_auc(logits, np.array([0, 1]), base=1) == 1.0
