"""Nemenyi's test after Friedman's: how far mean ranks of two methods must be apart (Demšar, JMLR 7, 2006)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.errors import UserError, nearest
from harness.statistics.friedman import need_several
from harness.statistics.ranks import best_first, mean_ranks
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
        """Whether the mean ranks of two methods are at least the critical difference apart.

        Raises:
            UserError: there is no such method.
        """
        for name in (one, other):
            if name not in self.methods:
                raise UserError(f"no mean rank of method '{name}'.{nearest(name, self.methods)}")
        apart = abs(self.mean_ranks[self.methods.index(one)] - self.mean_ranks[self.methods.index(other)])
        return apart >= self.critical_difference


def nemenyi(scores: Scores, alpha: float = 0.05) -> Nemenyi:
    """Mean ranks, critical difference and cliques.

    Raises:
        UserError: fewer than two methods or data sets, or alpha outside (0, 1).
    """
    need_several(*scores.values.shape)
    order, mean = best_first(scores), mean_ranks(scores)
    methods = tuple(scores.methods[place] for place in order)
    sorted_ranks = tuple(float(mean[place]) for place in order)
    critical = critical_difference(len(methods), len(scores.units), alpha)
    groups = tuple(tuple(methods[place] for place in group) for group in cliques(sorted_ranks, critical))
    return Nemenyi(methods, sorted_ranks, critical, groups, alpha, len(scores.units))


def critical_difference(methods: int, units: int, alpha: float = 0.05) -> float:
    """The difference of mean ranks that is significant at `alpha`: q sqrt(k (k + 1) / (6 N)).

    Args:
        methods: k, at least 2.
        units: N, the number of data sets.
        alpha: level of significance.

    Raises:
        UserError: fewer than two methods, no data set, or alpha outside (0, 1).
    """
    if methods < 2 or units < 1:
        raise UserError("a critical difference needs at least 2 methods and 1 data set")
    if not 0 < alpha < 1:
        raise UserError(f"the level of significance is {alpha}: it lies between 0 and 1, such as 0.05")
    return studentized(methods, alpha) * math.sqrt(methods * (methods + 1) / (6 * units))


def cliques(mean_ranks: Sequence[float], critical: float) -> tuple[tuple[int, ...], ...]:
    """Largest groups whose mean ranks are less than `critical` apart, as places in `mean_ranks`; at least two each."""
    order = sorted(range(len(mean_ranks)), key=lambda place: mean_ranks[place])
    found: list[tuple[int, ...]] = []
    end = 0
    for start in range(len(order)):
        near = [at for at in range(start, len(order)) if apart(mean_ranks, order[start], order[at]) < critical]
        last = max(near, default=start)
        # A group that ends where the one before ends is part of it.
        if last > start and last > end:
            found.append(tuple(order[start : last + 1]))
        end = max(end, last)
    return tuple(found)


def apart(mean_ranks: Sequence[float], one: int, other: int) -> float:
    """Distance of two mean ranks."""
    return abs(mean_ranks[one] - mean_ranks[other])


@lru_cache
def studentized(methods: int, alpha: float) -> float:
    """q of Nemenyi's test: the studentized range statistic with infinite degrees of freedom, by the root of 2."""
    # Imported here because it takes a second, and most commands compare nothing.
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - alpha, methods, math.inf)) / math.sqrt(2)
