"""The bootstrap interval beside drawing images one by one, and beside the binomial distribution."""

import numpy as np
import pytest
from scipy.stats import binom

from harness.rescore.bootstrap import bootstrap_interval


def test_it_is_that_of_images_drawn_one_by_one() -> None:
    scores = np.random.default_rng(5).choice([0.0, 1 / 3, 2 / 3, 1.0], size=300)
    rng = np.random.default_rng(6)
    means = [rng.choice(scores, size=300).mean() for _ in range(4000)]
    assert bootstrap_interval(scores, draws=20_000) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_of_right_and_wrong_it_is_binomial() -> None:
    scores = np.array([1.0] * 70 + [0.0] * 30)
    exact = binom.ppf([0.025, 0.975], 100, 0.7) / 100
    assert bootstrap_interval(scores, draws=50_000) == pytest.approx(exact, abs=0.011)
    assert bootstrap_interval(scores) == bootstrap_interval(scores[::-1])


def test_without_doubt_there_is_no_interval() -> None:
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)
