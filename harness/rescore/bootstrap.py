"""How far a mean would move if other images had been drawn."""

import numpy as np

from harness.results.logits import Floats

LEVEL, DRAWS = 0.95, 2000


def bootstrap_interval(scores: Floats, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean of N scores, drawn with replacement (Efron and Tibshirani, 1993).

    Images with the same score are drawn together, as a multinomial number of them: that has the same distribution and
    takes no time.

    Args:
        scores: (N,), of an image 1 if it is classified right, else 0; or its mean over seeds.
        level: share of the draws within the interval.
        draws: number of draws.
        seed: of the draws: the same scores give the same interval.
    """
    values, counts = np.unique(scores, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(scores), counts / len(scores), size=draws)
    means = drawn @ values / len(scores)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
