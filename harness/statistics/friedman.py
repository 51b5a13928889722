"""Friedman's test: whether any of several methods differs from the others at all.

Friedman (1940); Iman and Davenport (1980); both as in Demšar, "Statistical comparisons of classifiers over multiple data
sets", JMLR 7 (2006).
"""

from dataclasses import dataclass

from harness.statistics.scores import Scores


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
    raise NotImplementedError
