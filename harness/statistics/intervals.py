"""Confidence intervals of a mean over few seeds, by Student's t distribution."""

import math

from scipy.stats import t

LEVEL = 0.95
FEWEST_SEEDS = 3
"""Of two seeds the interval is nine times as wide as their distance, which says nothing."""


def half_width(std: float, seeds: int, level: float = LEVEL) -> float | None:
    """Half the width of the interval of a mean; None for fewer than three seeds.

    Args:
        std: sample standard deviation over seeds.
        seeds: how many.
        level: how often such intervals hold the mean, if seeds differ as by a normal distribution.
    """
    if seeds < FEWEST_SEEDS:
        return None
    return float(t.ppf((1 + level) / 2, seeds - 1)) * std / math.sqrt(seeds)
