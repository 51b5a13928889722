"""Wilcoxon's signed-rank test of two methods over data sets, and Holm's correction for a family of such tests.

Wilcoxon (1945), Holm (1979); recommended for two classifiers by Demšar (JMLR 7, 2006), and for pairs among many by
Benavoli, Corani and Mangili, "Should we really use post-hoc tests based on mean-ranks?" (JMLR 17, 2016): unlike
Nemenyi's, its answer about two methods does not depend on which other methods are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import UserError
from harness.statistics.scores import DECIMALS, Numbers, Scores

ALL_PAIRS = "all pairs"
MOST_EXACT = 50
"""Differences beyond which p is by the normal approximation, which is then as good."""


@dataclass(frozen=True)
class SignedRank:
    """One two-sided signed-rank test.

    Attributes:
        statistic: sum of the ranks of the positive differences.
        p: two-sided p-value; 1 if nothing differs.
        pairs: differences that took part: zeros are left out, as Wilcoxon does.
        zeros: differences that were left out.
        ties: whether some sizes of differences are equal; they share the mean of their ranks.
        exact: whether p is exact (all 2^pairs signs, also with ties) or by the normal approximation.
    """

    statistic: float
    p: float
    pairs: int
    zeros: int
    ties: bool
    exact: bool


@dataclass(frozen=True)
class Pair:
    """One method against another over all data sets.

    Attributes:
        one, other: the methods.
        mean_difference: of `one` minus `other`, in points.
        wins, ties, losses: data sets on which `one` is better, equal, worse.
        test: signed-rank test of the differences.
        holm_p: its p-value after Holm's correction over the family.
    """

    one: str
    other: str
    mean_difference: float
    wins: int
    ties: int
    losses: int
    test: SignedRank
    holm_p: float

    def turned(self) -> "Pair":
        """The same pair seen from the other method."""
        total = self.test.pairs * (self.test.pairs + 1) / 2
        return Pair(
            self.other,
            self.one,
            -self.mean_difference + 0.0,
            self.losses,
            self.ties,
            self.wins,
            replace(self.test, statistic=total - self.test.statistic),
            self.holm_p,
        )


@dataclass(frozen=True)
class Family:
    """Tests that are corrected together.

    Attributes:
        name: in words: `all pairs`, or `X against all others`.
        pairs: of all pairs in the order of `Scores.methods`, or of one method against the others in that order.
        units: number of data sets.
    """

    name: str
    pairs: tuple[Pair, ...]
    units: int

    def pair(self, one: str, other: str) -> Pair:
        """One pair, seen from `one`.

        Raises:
            UserError: the pair is not in the family.
        """
        for pair in self.pairs:
            if (pair.one, pair.other) == (one, other):
                return pair
            if (pair.other, pair.one) == (one, other):
                return pair.turned()
        raise UserError(f"{one} against {other} is not among these tests ({self.name})")


def signed_rank(differences: Numbers) -> SignedRank:
    """Two-sided signed-rank test of differences (units,); exact for up to `MOST_EXACT` of them that are not zero.

    Raises:
        UserError: there are none, or one is no number.
    """
    known = np.round(np.asarray(differences, dtype=np.float64), DECIMALS)
    if known.ndim != 1 or not len(known) or not np.isfinite(known).all():
        raise UserError("a signed-rank test takes one difference for each data set, at least one, all of them numbers")
    moved = known[known != 0]
    zeros = len(known) - len(moved)
    if not len(moved):
        return SignedRank(0.0, 1.0, 0, zeros, ties=False, exact=True)
    sizes = mean_ranks(np.abs(moved))
    statistic = float(sizes[moved > 0].sum())
    ties = len(np.unique(sizes)) < len(sizes)
    exact = len(moved) <= MOST_EXACT
    p = exact_p(sizes, statistic) if exact else normal_p(sizes, statistic)
    return SignedRank(statistic, p, len(moved), zeros, ties, exact)


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p-value that so many differences can give: 2 / 2^pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


def all_pairs(scores: Scores) -> Family:
    """All pairs of methods, Holm over all of them.

    Raises:
        UserError: fewer than two methods.
    """
    names = scores.methods
    return family_of(scores, ALL_PAIRS, [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]])


def against_others(scores: Scores, method: str) -> Family:
    """One method against every other one, Holm over these.

    Raises:
        UserError: fewer than two methods, or no such method.
    """
    scores.of(method)
    return family_of(
        scores, f"{method} against all others", [(method, other) for other in scores.methods if other != method]
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple comparisons (Holm, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


def exact_p(sizes: Numbers, statistic: float) -> float:
    """Exact two-sided p of a sum of positive ranks: over all signs, each as likely, that these ranks may have.

    Args:
        sizes: (pairs,), ranks of the sizes of the differences; halves where sizes are equal.
        statistic: sum of the ranks of the positive ones.
    """
    doubled = np.rint(2 * sizes).astype(int)
    # share[s]: of the signs seen so far, how many give the doubled sum s.
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(share)
        shifted[rank:] = share[: len(share) - rank]
        share = (share + shifted) / 2
    at = round(2 * statistic)
    return float(min(1.0, 2 * min(share[: at + 1].sum(), share[at:].sum())))


def mean_ranks(values: Numbers) -> Numbers:
    """Ranks (N,) of values (N,), the smallest 1; equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared: Numbers = np.cumsum(counts) - (counts - 1) / 2
    return shared[which]


def normal_p(sizes: Numbers, statistic: float) -> float:
    """Two-sided p of a sum of positive ranks by the normal approximation, as scipy's `wilcoxon`, bit for bit.

    Args:
        sizes: (pairs,), as of `exact_p`, for more than `MOST_EXACT` pairs.
        statistic: sum of the ranks of the positive ones.
    """
    # Imported here because most commands compare nothing. All of `scipy.stats` would take half a second.
    from scipy.special import ndtr

    pairs = float(len(sizes))
    _, ties = np.unique(sizes, return_counts=True)
    tied = float((ties.astype(float) ** 3 - ties).sum())
    deviation = np.sqrt((pairs * (pairs + 1) * (2 * pairs + 1) - tied / 2) / 24)
    return float(2 * ndtr(-abs((statistic - pairs * (pairs + 1) / 4) / deviation)))


def family_of(scores: Scores, name: str, couples: Sequence[tuple[str, str]]) -> Family:
    """Some pairs of methods, corrected together.

    Raises:
        UserError: there are none.
    """
    if not couples:
        raise UserError(f"there is only one method, {scores.methods[0]}: a comparison needs another one")
    several = [scores.differences(one, other) for one, other in couples]
    tests = [signed_rank(differences) for differences in several]
    corrected = holm([test.p for test in tests])
    pairs = [
        Pair(
            one,
            other,
            round(float(differences.mean()), DECIMALS) + 0.0,
            int((differences > 0).sum()),
            int((differences == 0).sum()),
            int((differences < 0).sum()),
            test,
            p,
        )
        for (one, other), differences, test, p in zip(couples, several, tests, corrected, strict=True)
    ]
    return Family(name, tuple(pairs), len(scores.units))
