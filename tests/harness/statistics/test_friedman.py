"""Friedman's test against Demšar's example and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from harness.errors import UserError
from harness.statistics.friedman import friedman
from harness.statistics.ranks import mean_ranks, places, ranks
from tests.harness.statistics.examples import demsar, scores_of, turned


def test_the_example_of_demsar() -> None:
    found = friedman(demsar())
    assert mean_ranks(demsar()) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.chi_squared == pytest.approx(9.28, abs=5e-3)
    assert found.f == pytest.approx(3.69, abs=5e-3)
    # The critical value of F(3, 39) at 0.05 is 2.85.
    assert found.f_p < 0.05


def test_scipy_gives_the_same() -> None:
    rows = np.random.default_rng(0).integers(0, 6, size=(5, 9)).astype(float)
    expected = friedmanchisquare(*rows)
    found = friedman(scores_of(*map(tuple, rows)), correct_ties=True)
    assert (found.chi_squared, found.chi_squared_p) == pytest.approx((expected.statistic, expected.pvalue))
    # These ranks have ties, for which Demšar's formula does not correct.
    assert friedman(scores_of(*map(tuple, rows))).chi_squared < found.chi_squared
    without = np.random.default_rng(0).normal(size=(5, 9))
    expected = friedmanchisquare(*without)
    found = friedman(scores_of(*map(tuple, without)))
    assert (found.chi_squared, found.chi_squared_p) == pytest.approx((expected.statistic, expected.pvalue))


def test_one_order_on_all_data_sets_and_no_order_at_all() -> None:
    found = friedman(scores_of((3.0, 3.0, 9.0), (2.0, 2.0, 8.0), (1.0, 1.0, 7.0)))
    assert (found.chi_squared, found.f, found.f_p) == (6.0, math.inf, 0.0)
    for correct in (False, True):
        found = friedman(scores_of((1.0, 5.0), (1.0, 5.0), (1.0, 5.0)), correct)
        assert (found.chi_squared, found.chi_squared_p, found.f, found.f_p) == (0.0, 1.0, 0.0, 1.0)


def test_equal_scores_share_ranks_and_places() -> None:
    # 0.1 + 0.2 and 0.3 differ in their last bits.
    scores = scores_of((0.1 + 0.2, 5.0), (0.3, 6.0), (0.2, 6.0))
    assert ranks(scores).tolist() == [[1.5, 3.0], [1.5, 1.5], [3.0, 1.5]]
    assert mean_ranks(scores).tolist() == [2.25, 1.5, 2.25]
    assert places(mean_ranks(scores)).tolist() == [2.0, 1.0, 2.0]


def test_the_order_of_methods_and_data_sets_does_not_matter() -> None:
    before, after = friedman(demsar()), friedman(turned(demsar(), 3))
    assert vars(before) == pytest.approx(vars(after))


def test_mean_ranks_need_several_methods_and_data_sets() -> None:
    with pytest.raises(UserError, match="there are 2 methods on 1 data set"):
        friedman(scores_of((1.0,), (2.0,)))
    with pytest.raises(UserError, match="there is 1 method on 2 data sets"):
        friedman(scores_of((1.0, 2.0)))
