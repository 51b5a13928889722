"""Whether an order of methods hangs on single data sets: leave one out, and draw data sets anew."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.statistics.bootstrap import DRAWS, LEVEL, check_draws
from harness.statistics.friedman import need_several
from harness.statistics.ranks import mean_ranks, places, ranks
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


@lru_cache(maxsize=8)
def leave_one_out(scores: Scores) -> tuple[LeftOut, ...]:
    """The order without each data set in turn, in the order of `scores.units`.

    Raises:
        UserError: fewer than two data sets.
    """
    need_several(2, len(scores.units))
    before = places(mean_ranks(scores))
    found = []
    for unit in scores.units:
        mean = mean_ranks(scores.select(units=[other for other in scores.units if other != unit]))
        after = places(mean)
        moved = tuple(name for name, moves in zip(scores.methods, after != before, strict=True) if moves)
        found.append(LeftOut(unit, tuple(map(float, mean)), tuple(map(int, after)), moved))
    return tuple(found)


@lru_cache(maxsize=8)
def rank_stability(scores: Scores, draws: int = DRAWS, seed: int = 0) -> RankStability:
    """How often methods keep their places over bootstrap draws of the data sets.

    Raises:
        UserError: fewer than two data sets.
    """
    need_several(2, len(scores.units))
    check_draws(LEVEL, draws)
    methods, units = scores.values.shape
    # In the order of their names, so that the draws do not depend on the order of the data sets.
    within = ranks(scores)[:, np.argsort(scores.units)]
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=draws)
    taken = places(drawn @ within.T / units)
    shares = np.stack([(taken == place).mean(axis=0) for place in range(1, methods + 1)], axis=1)
    now = places(mean_ranks(scores))
    return RankStability(scores.methods, tuple(map(int, now)), (taken == now).mean(axis=0), shares)
