"""Bayesian signed-rank test with a region of practical equivalence.

Benavoli, Corani, Demšar and Zaffalon, "Time for a change: a tutorial for comparing multiple classifiers through
Bayesian analysis", JMLR 18 (2017). It answers what a p-value does not: how probable it is that one method is
practically better, and that two are practically equal.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.errors import UserError
from harness.statistics.scores import DECIMALS, Numbers, Scores

ROPE = 0.5
"""Points of difference that count as none: the region of practical equivalence is -0.5 to 0.5."""
PRIOR_STRENGTH = 0.5
"""Of the one pseudo-observation, at a difference of 0, that the prior consists of, as in the paper."""


@dataclass(frozen=True)
class Posterior:
    """Probabilities that sum to 1; each repeats exactly, since the draws have a fixed seed.

    Attributes:
        better: that the first method is practically better.
        equivalent: that the difference is within the region.
        worse: that the first method is practically worse.
        rope: half the width of the region, in points.
    """

    better: float
    equivalent: float
    worse: float
    rope: float


def bayesian_signed_rank(differences: Numbers, rope: float = ROPE, draws: int = 50_000, seed: int = 0) -> Posterior:
    """Posterior of the difference between two methods over data sets.

    Args:
        differences: (units,), in points, positive where the first method is better.
        rope: half the width of the region of practical equivalence, in points.
        draws: from the posterior, at least 2.
        seed: of the draws.

    Raises:
        UserError: no differences, one that is no number, a negative region, or too few draws.
    """
    known = np.asarray(differences, dtype=np.float64)
    if known.ndim != 1 or not len(known) or not np.isfinite(known).all():
        raise UserError("a Bayesian test takes one difference for each data set, at least one, all of them numbers")
    if rope < 0 or draws < 2:
        raise UserError("a region of practical equivalence is at least 0 points wide, and needs at least 2 draws")
    # Sorted, so that the order of data sets does not matter; with the same weights both ways round, so that that of
    # the two methods does not either: the posterior of the negative differences is exactly the other way round.
    ascending = np.sort(known)
    weights = drawn_weights(len(known), draws // 2, seed)
    won = sum(winners(weights, np.concatenate([[0.0], one]), rope) for one in (ascending, ascending[::-1]))
    worse, equivalent, better = np.asarray(won) / (2 * len(weights))
    return Posterior(float(better), float(equivalent), float(worse), rope)


@lru_cache(maxsize=8)
def drawn_weights(units: int, draws: int, seed: int) -> Numbers:
    """(draws, 1 + units): weights of the pseudo-observation and the data sets; all pairs of methods share them."""
    strengths = np.array([PRIOR_STRENGTH] + [1.0] * units)
    weights = np.random.default_rng(seed).dirichlet(strengths, size=draws)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=4096)
def posterior(scores: Scores, one: str, other: str, rope: float = ROPE) -> Posterior:
    """Posterior of the difference between two methods; of the same scores each pair is computed once.

    Raises:
        UserError: there is no such method, or a negative region.
    """
    if one > other:
        found = posterior(scores, other, one, rope)
        return Posterior(found.worse, found.equivalent, found.better, rope)
    return bayesian_signed_rank(scores.differences(one, other), rope)


def winners(weights: Numbers, observations: Numbers, rope: float) -> Numbers:
    """In how many draws each region has the largest probability: worse, equivalent, better.

    Args:
        weights: (draws, observations), each line sums to 1.
        observations: differences, the pseudo-observation first.
        rope: half the width of the region.
    """
    # Means of all pairs of observations, the Walsh averages that the signed-rank statistic counts.
    means = np.round((observations[:, None] + observations[None, :]) / 2, DECIMALS)
    worse, better = (((weights @ side.astype(float)) * weights).sum(axis=1) for side in (means < -rope, means > rope))
    regions = np.stack([worse, 1 - worse - better, better], axis=1)
    return np.bincount(regions.argmax(axis=1), minlength=3).astype(np.float64)
