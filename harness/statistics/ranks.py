"""Ranks of methods within each data set and their means, which Friedman's test and Nemenyi's are made of."""

import numpy as np

from harness.statistics.scores import DECIMALS, Numbers, Scores


def ranks(scores: Scores) -> Numbers:
    """Ranks within each data set: 1 for the best, equal scores share the mean of their ranks.

    Returns:
        (methods, units).
    """
    # Imported here because it takes a second, and most commands compare nothing.
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.round(scores.values, DECIMALS), axis=0), dtype=np.float64)


def mean_ranks(scores: Scores) -> Numbers:
    """Mean over data sets of each method's rank; 1 is best on all of them.

    Returns:
        (methods,), in the order of `scores.methods`.
    """
    return np.asarray(np.round(ranks(scores).mean(axis=1), DECIMALS), dtype=np.float64)


def places(mean: Numbers) -> Numbers:
    """1 for the best (lowest) mean rank; equal ones share the better place.

    Args:
        mean: (..., methods), mean ranks.

    Returns:
        (..., methods).
    """
    rounded = np.round(mean, DECIMALS)
    return np.asarray((rounded[..., None, :] < rounded[..., :, None]).sum(axis=-1) + 1.0)


def best_first(scores: Scores) -> list[int]:
    """Places in `scores.methods` by mean rank, best first; of equals, by name."""
    mean = mean_ranks(scores)
    return sorted(range(len(scores.methods)), key=lambda place: (mean[place], scores.methods[place]))
