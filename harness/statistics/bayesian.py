"""Bayesian signed-rank test with a region of practical equivalence.

Benavoli, Corani, Demšar and Zaffalon, "Time for a change: a tutorial for comparing multiple classifiers through Bayesian
analysis", JMLR 18 (2017). It answers what a p-value does not: how probable it is that one method is practically better,
and that two are practically equal.
"""

from dataclasses import dataclass

from harness.statistics.scores import Numbers, Scores

ROPE = 0.5
"""Points of difference that count as none: the region of practical equivalence is -0.5 to 0.5."""


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
    raise NotImplementedError


def posterior(scores: Scores, one: str, other: str, rope: float = ROPE) -> Posterior:
    """Posterior of the difference between two methods.

    Raises:
        UserError: there is no such method, or a negative region.
    """
    raise NotImplementedError
