"""Whether an order of methods hangs on single data sets: leave one out, and draw data sets anew."""

from dataclasses import dataclass

from harness.statistics.bootstrap import DRAWS
from harness.statistics.scores import Numbers, Scores


@dataclass(frozen=True)
class LeftOut:
    """The order without one data set.

    Attributes:
        unit: the data set that is left out.
        mean_ranks: of `Scores.methods`, over the others.
        places: 1 for the best mean rank; equal ones share the better place.
        moved: methods whose place is not that over all data sets.
    """

    unit: str
    mean_ranks: tuple[float, ...]
    places: tuple[int, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RankStability:
    """How often a method keeps its place when data sets are drawn with replacement.

    Attributes:
        methods: as in `Scores`.
        places: over all data sets: 1 for the best mean rank; equal ones share the better place.
        kept: (methods,), share of the draws in which the method has this place.
        shares: (methods, methods), share of the draws in which a method (row) has place 1, 2, ... (column).
    """

    methods: tuple[str, ...]
    places: tuple[int, ...]
    kept: Numbers
    shares: Numbers


def leave_one_out(scores: Scores) -> tuple[LeftOut, ...]:
    """The order without each data set in turn, in the order of `scores.units`.

    Raises:
        UserError: fewer than two data sets.
    """
    raise NotImplementedError


def rank_stability(scores: Scores, draws: int = DRAWS, seed: int = 0) -> RankStability:
    """How often methods keep their places over bootstrap draws of the data sets.

    Raises:
        UserError: fewer than two data sets.
    """
    raise NotImplementedError
