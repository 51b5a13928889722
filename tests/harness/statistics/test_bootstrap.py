"""Bootstrap intervals: against formulas, scipy, and drawing single pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from harness.errors import UserError
from harness.statistics.bootstrap import over_pictures, over_units


def test_scipy_gives_the_same_interval_over_data_sets() -> None:
    values = np.random.default_rng(1).normal(1.0, 2.0, size=11)
    found = over_units(values)
    expected = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05)
    assert over_units(values, level=0.5).low > found.low


@given(st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=8))
def test_neither_order_matters_and_it_repeats(values: list[float]) -> None:
    found = over_units(np.array(values), draws=200)
    assert over_units(np.array(values[::-1]), draws=200) == found
    other = over_units(-np.array(values), draws=200)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    assert min(values) <= found.low <= found.high <= max(values)


def test_equal_values_leave_nothing_open() -> None:
    found = over_units(np.full(4, 2.5))
    assert (found.estimate, found.low, found.high, found.holds_zero) == (2.5, 2.5, 2.5, False)


def test_the_interval_over_pictures_is_that_of_a_proportion() -> None:
    generator = np.random.default_rng(2)
    correct = {"a": generator.random(400) < 0.7, "b": generator.random(900) < 0.5}
    found = over_pictures(correct)
    shares = [correct["a"].mean(), correct["b"].mean()]
    assert found.estimate == pytest.approx(50 * sum(shares))
    error = 50 * (shares[0] * (1 - shares[0]) / 400 + shares[1] * (1 - shares[1]) / 900) ** 0.5
    assert (found.low, found.high) == pytest.approx(
        (found.estimate - 1.96 * error, found.estimate + 1.96 * error), abs=0.1
    )


def test_a_difference_is_of_pairs_of_pictures() -> None:
    generator = np.random.default_rng(3)
    one = generator.random(500) < 0.7
    other = one.copy()
    other[:10] = ~other[:10]
    # Nearly all pictures are classified alike, so that the difference is much surer than either accuracy.
    found, alone = over_pictures({"a": one}, {"a": other}), over_pictures({"a": one})
    assert found.estimate == pytest.approx(100 * (one.mean() - other.mean()))
    assert found.high - found.low < (alone.high - alone.low) / 2
    back = over_pictures({"a": other}, {"a": one})
    # One picture is 0.2 points: the ends of both may be one picture apart.
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=0.21)
    assert over_pictures({"a": one}, {"a": one}).holds_zero


def test_seeds_are_averaged_and_the_order_of_data_sets_does_not_matter() -> None:
    generator = np.random.default_rng(4)
    correct = {"a": generator.random((3, 50)) < 0.5, "b": generator.random((3, 70)) < 0.6}
    found = over_pictures(correct)
    assert found.estimate == pytest.approx(50 * (correct["a"].mean() + correct["b"].mean()))
    assert over_pictures(dict(reversed(correct.items()))) == found
    assert over_pictures({name: array.mean(axis=0) for name, array in correct.items()}) == found


def test_what_gives_no_interval_is_refused() -> None:
    right = np.array([True, False])
    with pytest.raises(UserError, match="at least two"):
        over_units(np.array([1.0]))
    with pytest.raises(UserError, match="at least two, and all of them finite"):
        over_units(np.array([1.0, np.nan]))
    with pytest.raises(UserError, match="level 95 from"):
        over_units(np.array([1.0, 2.0]), level=95)
    with pytest.raises(UserError, match="same data sets of both methods"):
        over_pictures({"a": right}, {"b": right})
    with pytest.raises(UserError, match="on 2 and 3 pictures of 'a'"):
        over_pictures({"a": right}, {"a": np.ones(3)})
    with pytest.raises(UserError, match="correctness on 'a' is one value from 0 to 1"):
        over_pictures({"a": np.array([0.5, np.nan])})
    with pytest.raises(UserError, match="correctness on 'a'"):
        over_pictures({"a": np.array([])})
