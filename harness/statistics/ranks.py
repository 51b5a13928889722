"""Ranks of methods within each data set and their means, which Friedman's test and Nemenyi's are made of."""

from harness.statistics.scores import Numbers, Scores


def ranks(scores: Scores) -> Numbers:
    """Ranks within each data set: 1 for the best, equal scores share the mean of their ranks.

    Returns:
        (methods, units).
    """
    raise NotImplementedError


def mean_ranks(scores: Scores) -> Numbers:
    """Mean over data sets of each method's rank; 1 is best on all of them.

    Returns:
        (methods,), in the order of `scores.methods`.
    """
    raise NotImplementedError
