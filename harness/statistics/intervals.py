"""Confidence intervals of a mean over seeds: by Student's t distribution, and by bootstrap if seeds are many."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from harness.statistics.bootstrap import over_units

LEVEL = 0.95
FEWEST_SEEDS = 3
"""Of two seeds the interval is nine times as wide as their distance, which says nothing."""
SEEDS_OF_BOOTSTRAP = 20
"""Intervals by percentiles of a bootstrap are too narrow with fewer."""
STUDENT, BOOTSTRAP = "t distribution", "bootstrap"


class Ends(NamedTuple):
    """An interval around a mean.

    Attributes:
        below, above: how far it reaches, both at least 0.
        kind: how it was computed, STUDENT or BOOTSTRAP.
    """

    below: float
    above: float
    kind: str


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


def ends_of_mean(std: float, seeds: int, values: Sequence[float] = (), level: float = LEVEL) -> Ends | None:
    """The interval of a mean; None for fewer than three seeds.

    Args:
        std: sample standard deviation over seeds.
        seeds: how many.
        values: of the seeds; where they are not known, the interval is by Student's t distribution.
        level: how often such intervals hold the mean.
    """
    if len(values) >= SEEDS_OF_BOOTSTRAP:
        found = over_units(np.asarray(values, dtype=np.float64), level)
        return Ends(max(0.0, found.estimate - found.low), max(0.0, found.high - found.estimate), BOOTSTRAP)
    half = half_width(std, seeds, level)
    return None if half is None else Ends(half, half, STUDENT)
