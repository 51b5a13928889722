"""Intervals of a mean over few seeds, against values of tables of the t distribution."""

import pytest

from harness.statistics.intervals import half_width


@pytest.mark.parametrize(("seeds", "quantile"), [(3, 4.303), (5, 2.776), (10, 2.262)])
def test_half_the_width_is_that_of_students_t(seeds: int, quantile: float) -> None:
    assert half_width(2.0, seeds) == pytest.approx(quantile * 2.0 / seeds**0.5, abs=1e-3)


def test_two_seeds_have_no_interval() -> None:
    assert half_width(1.0, 2) is None
