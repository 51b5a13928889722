"""The sentences that one may write about a method, and those that one may not."""

from harness.statistics.bayesian import ROPE
from harness.statistics.scores import Scores


def sentences(scores: Scores, method: str, alpha: float = 0.05, rope: float = ROPE) -> list[str]:
    """What the scores allow one to write about a method, in plain English, most important first.

    Args:
        scores: of the method and of those that it is compared with, in percent.
        method: whose sentences.
        alpha: level of significance.
        rope: half the width of the region of practical equivalence, in points.

    Returns:
        One sentence or clause for each other method, then those about the mean rank, about single data sets, and about
        what cannot be said.

    Raises:
        UserError: there is no such method, or no other.
    """
    raise NotImplementedError
