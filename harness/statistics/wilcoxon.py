"""Wilcoxon's signed-rank test of two methods over data sets, and Holm's correction for a family of such tests.

Wilcoxon (1945), Holm (1979); recommended for two classifiers by Demšar (JMLR 7, 2006), and for pairs among many by
Benavoli, Corani and Mangili, "Should we really use post-hoc tests based on mean-ranks?" (JMLR 17, 2016): unlike
Nemenyi's, its answer about two methods does not depend on which other methods are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.statistics.scores import Numbers, Scores

ALL_PAIRS = "all pairs"


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
        raise NotImplementedError


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
        raise NotImplementedError


def signed_rank(differences: Numbers) -> SignedRank:
    """Two-sided signed-rank test of differences (units,); exact for up to `MOST_EXACT` of them that are not zero.

    Raises:
        UserError: there are none, or one is no number.
    """
    raise NotImplementedError


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p-value that so many differences can give: 2 / 2^pairs."""
    raise NotImplementedError


def all_pairs(scores: Scores) -> Family:
    """All pairs of methods, Holm over all of them.

    Raises:
        UserError: fewer than two methods.
    """
    raise NotImplementedError


def against_others(scores: Scores, method: str) -> Family:
    """One method against every other one, Holm over these.

    Raises:
        UserError: fewer than two methods, or no such method.
    """
    raise NotImplementedError


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple comparisons (Holm, 1979), in the order given."""
    raise NotImplementedError
