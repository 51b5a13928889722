"""Ranks, averages and paired tests, against numbers known elsewhere."""

import math

import pandas as pd
import pytest

from harness.report.statistics import (
    average_of_seeds,
    paired_tests,
    ranks,
    signed,
    signed_rank_p,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 3.0, 2.0], [0, 1, 2]),
        ([3.0, 3.0, 2.0, 2.0, 1.0], [1, 1, 2, 2, 0]),
        # Rounded to two digits both are 70.00.
        ([70.001, 70.002], [2, 1]),
        # Equal but for the last bits of their sums.
        ([(0.1 + 0.2) * 100, 30.0, 20.0], [1, 1, 2]),
        ([NAN, 5.0, 4.0], [0, 1, 2]),
        ([5.0, NAN], [0, 0]),
        ([5.0], [0]),
        ([], []),
    ],
)
def test_ranks(values: list[float], expected: list[int]) -> None:
    assert ranks(values) == expected


def test_an_average_is_over_all_data_sets_or_nothing() -> None:
    wide = pd.DataFrame({"a": {1: 10.0, 2: 20.0}, "b": {1: 30.0, 2: NAN}})
    assert average_of_seeds(wide, ["a", "b"]).to_dict() == {1: 20.0}
    assert average_of_seeds(wide, ["a", "b", "c"]).empty
    assert average_of_seeds(wide, []).empty


def test_signed_ranks_are_those_of_the_table() -> None:
    # All six differences of one sign: p = 2 / 2^6.
    assert signed_rank_p(pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])) == pytest.approx(0.03125)
    # Ranks against the sum: only the smallest of seven is negative, W = 1: p = 2 * 2 / 2^7.
    assert signed_rank_p(pd.Series([-1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])) == pytest.approx(0.03125)
    # Pairs without a difference say nothing: they are left out, and neither shared among the signs nor ranked.
    ten = [1.0, 2.0, -3.0, 4.0, 5.0, 6.0, 7.0]
    assert signed_rank_p(pd.Series([*ten, 0.0, 0.0, 0.0])) == signed_rank_p(pd.Series(ten)) == pytest.approx(10 / 2**7)
    assert signed_rank_p(pd.Series([1.0] * 5)) is None
    assert signed_rank_p(pd.Series([0.0] * 6)) == 1.0


def test_paired_tests_pair_what_both_have_and_count_it() -> None:
    values = pd.DataFrame(
        {
            "best": [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0],
            "worse": [9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0],
            "few": [1.0, 1.0, 1.0, NAN, NAN, NAN, NAN],
            "none": [NAN] * 7,
        }
    )
    found = {test.other: test for test in paired_tests(values, "best")}
    assert set(found) == {"worse", "few"}
    assert (found["worse"].pairs, found["worse"].worse) == (7, True)
    assert found["worse"].p == pytest.approx(2 / 2**7)
    assert (found["few"].pairs, found["few"].p, found["few"].worse) == (3, None, False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0, "+0.0"), (0.0, "+0.0"), (-0.04, "+0.0"), (-0.06, "-0.1"), (0.06, "+0.1"), (-12.34, "-12.3")],
)
def test_a_difference_that_rounds_to_zero_is_not_negative(value: float, text: str) -> None:
    assert signed(value, 1) == text
