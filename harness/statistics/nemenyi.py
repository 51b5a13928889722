"""Nemenyi's test after Friedman's: how far mean ranks of two methods must be apart (Demšar, JMLR 7, 2006)."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.statistics.scores import Scores


@dataclass(frozen=True)
class Nemenyi:
    """What a critical-difference diagram shows.

    Attributes:
        methods: names, best mean rank first; of equals, by name.
        mean_ranks: of these methods, in the same order.
        critical_difference: mean ranks that are at least so far apart are separable.
        cliques: largest groups of methods none of which is separable from another, best first, at least two each.
        alpha: level of significance of the whole family of pairs.
        units: number of data sets.
    """

    methods: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]
    alpha: float
    units: int

    def separable(self, one: str, other: str) -> bool:
        """Whether the mean ranks of two methods are at least the critical difference apart."""
        raise NotImplementedError


def nemenyi(scores: Scores, alpha: float = 0.05) -> Nemenyi:
    """Mean ranks, critical difference and cliques.

    Raises:
        UserError: fewer than two methods or data sets, or alpha outside (0, 1).
    """
    raise NotImplementedError


def critical_difference(methods: int, units: int, alpha: float = 0.05) -> float:
    """The difference of mean ranks that is significant at `alpha`: q sqrt(k (k + 1) / (6 N)).

    Args:
        methods: k, at least 2.
        units: N, the number of data sets.
        alpha: level of significance.

    Raises:
        UserError: fewer than two methods, no data set, or alpha outside (0, 1).
    """
    raise NotImplementedError


def cliques(mean_ranks: Sequence[float], critical: float) -> tuple[tuple[int, ...], ...]:
    """Largest groups whose mean ranks are less than `critical` apart, as places in `mean_ranks`; at least two each."""
    raise NotImplementedError
