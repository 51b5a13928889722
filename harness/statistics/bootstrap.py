"""Bootstrap intervals: over data sets (would other data sets say the same?) and over test pictures (would others?)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.statistics.scores import DECIMALS, Numbers

Correct = NDArray[Any]
"""Per-picture correctness: (pictures,) bool, or (seeds, pictures), whose mean over seeds is taken."""
LEVEL = 0.95
DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        estimate: of the given data.
        low, high: ends.
        level: share of the draws within.
    """

    estimate: float
    low: float
    high: float
    level: float

    @property
    def holds_zero(self) -> bool:
        """Whether zero is within, so that the sign is open."""
        return self.low <= 0.0 <= self.high


def over_units(values: Numbers, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Interval of a mean over data sets, which are drawn with replacement.

    Args:
        values: (units,): scores of a method, or differences of two (`Scores.differences`).
        level: share of the draws within the interval.
        draws: how many.
        seed: of the draws.

    Raises:
        UserError: fewer than two values, one that is no number, or a level outside (0, 1).
    """
    known = np.asarray(values, dtype=np.float64)
    if known.ndim != 1 or len(known) < 2 or not np.isfinite(known).all():
        raise UserError("a bootstrap over data sets takes one number for each, at least two, and all of them finite")
    check_draws(level, draws)
    # Sorted, and each draw both ways round: the order of data sets does not matter, and the interval of the negative
    # values is the negative interval.
    ordered = np.sort(known)
    drawn = np.random.default_rng(seed).integers(len(known), size=(draws // 2, len(known)))
    means = np.concatenate([one[drawn].mean(axis=1) for one in (ordered, ordered[::-1])])
    return interval(float(ordered.mean()), means, level)


def over_pictures(
    one: Mapping[str, Correct],
    other: Mapping[str, Correct] | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Interval of a mean accuracy over data sets, or of its difference from another method's on the same pictures.

    Pictures are drawn with replacement within each data set, which stay fixed: this says how sure the numbers are for
    these data sets, not how they carry over to others.

    Args:
        one: data set -> which pictures a method classifies correctly.
        other: the same of another method, in the same order of pictures; None: accuracy itself.
        level: share of the draws within the interval.
        draws: how many.
        seed: of the draws.

    Returns:
        In percent, or points.

    Raises:
        UserError: other data sets or numbers of pictures, none at all, or values outside 0 to 1.
    """
    if not one or (other is not None and set(other) != set(one)):
        raise UserError("a bootstrap over pictures takes the same data sets of both methods, at least one")
    check_draws(level, draws)
    generator = np.random.default_rng(seed)
    estimates, means = [], []
    for unit in sorted(one):
        share = share_of(one[unit], unit)
        if other is not None:
            theirs = share_of(other[unit], unit)
            if len(theirs) != len(share):
                raise UserError(f"the methods were evaluated on {len(share)} and {len(theirs)} pictures of '{unit}'")
            share = share - theirs
        # Drawing pictures is drawing how often each value occurs: there are few values, and many pictures.
        levels, counts = np.unique(np.round(share, DECIMALS), return_counts=True)
        drawn = generator.multinomial(len(share), counts / len(share), size=draws)
        estimates.append(float(share.mean()))
        means.append(drawn @ levels / len(share))
    return interval(100 * float(np.mean(estimates)), 100 * np.mean(means, axis=0), level)


def share_of(correct: Correct, unit: str) -> Numbers:
    """(pictures,): in which share of the seeds a picture is classified correctly.

    Raises:
        UserError: no pictures, or values outside 0 to 1.
    """
    given = np.asarray(correct, dtype=np.float64)
    given = given.mean(axis=0) if given.ndim == 2 and len(given) else given
    # NaN is not within, either.
    if given.ndim != 1 or not len(given) or not ((given >= 0) & (given <= 1)).all():
        raise UserError(f"correctness on '{unit}' is one value from 0 to 1 for each picture, of one seed or several")
    return given


def check_draws(level: float, draws: int) -> None:
    """Refuse what gives no interval.

    Raises:
        UserError: a level outside (0, 1), or fewer than two draws.
    """
    if not 0 < level < 1 or draws < 2:
        raise UserError(f"an interval of level {level} from {draws} draws: take a level such as 0.95, and 10000 draws")


def interval(estimate: float, drawn: Numbers, level: float) -> Interval:
    """The percentile interval of some draws."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level)
