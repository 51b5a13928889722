"""Bootstrap intervals: over data sets (would other data sets say the same?) and over test pictures (would others?)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from harness.statistics.scores import Numbers

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
    raise NotImplementedError


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
    raise NotImplementedError
