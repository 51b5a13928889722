"""Signed-rank tests against Demšar's example, scipy and all signs written out; Holm's correction."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from harness.errors import UserError
from harness.report.statistics import signed_rank_p
from harness.statistics.wilcoxon import against_others, all_pairs, holm, mean_ranks, signed_rank, smallest_p
from tests.harness.statistics.examples import demsar, published, scores_of, turned

Differences = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=9)


def test_the_example_of_demsar() -> None:
    # Differences of C4.5+m and C4.5; two are zero, and the sizes 0.005 are tied: ranks 1.5 and 5 are negative.
    found = signed_rank(demsar().differences("C4.5+m", "C4.5"))
    assert (found.statistic, found.pairs, found.zeros) == (78 - 1.5 - 5, 12, 2)
    assert found.ties
    assert found.exact
    # Demšar, who splits the zeros, rejects at 0.05 too.
    assert found.p == pytest.approx(0.0073, abs=5e-5)


@pytest.mark.parametrize("number", [3, 8, 20, 50, 51, 200])
def test_scipy_gives_the_same_without_ties(number: int) -> None:
    differences = np.random.default_rng(number).normal(0.2, size=number)
    found = signed_rank(differences)
    assert found.p == pytest.approx(wilcoxon(differences).pvalue)
    assert found.exact == (number <= 50)


@pytest.mark.parametrize("number", [51, 60, 1000])
@pytest.mark.parametrize("digits", [0, 1, 9])
def test_the_normal_approximation_is_that_of_scipy_bit_for_bit_with_ties_and_zeros(number: int, digits: int) -> None:
    differences = np.random.default_rng(number).normal(0.2, size=number).round(digits)
    assert (digits > 0) or 0 in differences
    found = signed_rank_p(pd.Series(differences))
    assert found == float(wilcoxon(differences).pvalue)
    moved = differences[differences != 0]
    assert (mean_ranks(np.abs(moved)) == rankdata(np.abs(moved))).all()
    if len(moved) > 50:
        assert signed_rank(moved).p == float(wilcoxon(moved).pvalue)


@given(Differences)
def test_p_is_that_of_all_signs_with_ties_and_zeros(values: list[float]) -> None:
    found = signed_rank(np.array(values))
    moved = np.array([value for value in values if value])
    if not len(moved):
        assert (found.p, found.pairs) == (1.0, 0)
        return
    sizes = rankdata(abs(moved))
    sums = np.array([np.dot(signs, sizes) for signs in itertools.product((0, 1), repeat=len(moved))])
    seen = sizes[moved > 0].sum()
    expected = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
    assert found.p == pytest.approx(expected)
    assert found.p >= smallest_p(len(values)) or found.p == pytest.approx(smallest_p(len(values)))


@given(Differences)
def test_a_pair_seen_from_the_other_method_or_in_another_order_is_the_same(values: list[float]) -> None:
    pair = all_pairs(scores_of(tuple(values), (0.0,) * len(values))).pairs[0]
    turned_pair = all_pairs(scores_of((0.0,) * len(values), tuple(values))).pairs[0].turned()
    assert vars(pair) | {"one": "", "other": ""} == vars(turned_pair) | {"one": "", "other": ""}
    assert pair.turned().turned() == pair
    assert signed_rank(np.array(values)) == signed_rank(np.array(sorted(values)))
    assert pair.wins + pair.ties + pair.losses == len(values)


def test_published_numbers_separate_the_best_from_all() -> None:
    family = against_others(published(), "skip")
    found = [pair.test.p for pair in family.pairs]
    assert len(found) == 10
    assert (min(found), max(found)) == pytest.approx((2 / 2**11, 0.0098), abs=5e-5)
    assert max(pair.holm_p for pair in family.pairs) < 0.05
    assert family.name == "skip against all others"


def test_the_order_of_methods_and_data_sets_does_not_matter() -> None:
    before, after = all_pairs(published()), all_pairs(turned(published(), 1))
    for pair in before.pairs:
        other = after.pair(pair.one, pair.other)
        assert (other.test, other.wins, other.losses) == (pair.test, pair.wins, pair.losses)
        assert (other.holm_p, other.mean_difference) == pytest.approx((pair.holm_p, pair.mean_difference))


def test_no_p_below_a_twentieth_comes_from_five_data_sets() -> None:
    assert signed_rank(np.arange(1.0, 6.0)).p == smallest_p(5) == 0.0625
    assert signed_rank(np.arange(1.0, 7.0)).p == smallest_p(6) == 0.03125
    assert signed_rank(np.array([3.0])).p == 1.0


def test_holm_multiplies_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_cannot_be_tested_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert signed_rank(np.zeros(4)).p == 1.0
    with pytest.raises(UserError, match="all of them numbers"):
        signed_rank(np.array([1.0, np.nan]))
    with pytest.raises(UserError, match="there is only one method, a"):
        all_pairs(scores_of((1.0, 2.0)))
    with pytest.raises(UserError, match="no scores of method 'z'"):
        against_others(scores_of((1.0,), (2.0,)), "z")
    with pytest.raises(UserError, match=r"a against a is not among these tests \(all pairs\)"):
        all_pairs(scores_of((1.0,), (2.0,))).pair("a", "a")
