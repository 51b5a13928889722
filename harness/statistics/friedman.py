"""Friedman's test: whether any of several methods differs from the others at all.

Friedman (1940); Iman and Davenport (1980); both as in Demšar, "Statistical comparisons of classifiers over multiple
data sets", JMLR 7 (2006).
"""

import math
from dataclasses import dataclass

import numpy as np

from harness.errors import UserError
from harness.statistics.ranks import ranks
from harness.statistics.scores import DECIMALS, Scores
from harness.text import counted


@dataclass(frozen=True)
class Friedman:
    """Friedman's test over all methods.

    Attributes:
        methods, units: how many.
        chi_squared: Friedman's statistic, with methods - 1 degrees of freedom.
        chi_squared_p: its p-value, by the chi-squared distribution.
        f: the less conservative statistic of Iman and Davenport, with methods - 1 and (methods - 1) (units - 1)
            degrees of freedom; infinite if all data sets give the same order.
        f_p: its p-value.
    """

    methods: int
    units: int
    chi_squared: float
    chi_squared_p: float
    f: float
    f_p: float


def friedman(scores: Scores, correct_ties: bool = False) -> Friedman:
    """Friedman's test.

    Args:
        scores: of at least two methods on at least two data sets.
        correct_ties: divide by the correction for ties, as scipy does; Demšar's formula, the default, does not, and is
            the more cautious one. Without ties both are the same.

    Raises:
        UserError: fewer than two methods or data sets.
    """
    # Imported here because it takes a second, and most commands compare nothing.
    from scipy.stats import chi2, f

    methods, units = scores.values.shape
    need_several(methods, units)
    within = ranks(scores)
    mean = within.mean(axis=1)
    spread = float((mean**2).sum() - methods * (methods + 1) ** 2 / 4)
    statistic = max(0.0, round(12 * units / (methods * (methods + 1)) * spread, DECIMALS))
    if correct_ties:
        sizes = [np.unique(column, return_counts=True)[1] for column in within.T]
        share = 1 - sum(float((size**3 - size).sum()) for size in sizes) / (units * methods * (methods**2 - 1))
        # If every data set has all methods equal, nothing differs and there is nothing to divide by.
        statistic = statistic / share if share > 0 else 0.0
    left = round(units * (methods - 1) - statistic, DECIMALS)
    ratio = (units - 1) * statistic / left if left > 0 else math.inf
    degrees = (methods - 1, (methods - 1) * (units - 1))
    return Friedman(
        methods, units, statistic, float(chi2.sf(statistic, methods - 1)), ratio, float(f.sf(ratio, *degrees))
    )


def need_several(methods: int, units: int) -> None:
    """Refuse what mean ranks cannot compare.

    Raises:
        UserError: fewer than two methods or data sets.
    """
    if methods < 2 or units < 2:
        raise UserError(
            f"mean ranks compare at least 2 methods over at least 2 data sets: there "
            f"{'is' if methods == 1 else 'are'} {counted(methods, 'method')} on {counted(units, 'data set')}"
        )
