"""The multiple-comparison matrix: every pair of methods with its mean difference, wins, ties, losses and p.

After Ismail Fawaz et al., "An approach to multiple comparison benchmark evaluations that is stable under manipulation
of the comparate set" (arXiv:2305.11921): what a cell says about two methods does not change when others are added, but
for Holm's correction, which counts the pairs.
"""

from dataclasses import dataclass

from harness.statistics.ranks import mean_ranks
from harness.statistics.scores import DECIMALS, Scores
from harness.statistics.wilcoxon import Pair, all_pairs, smallest_p


@dataclass(frozen=True)
class ComparisonMatrix:
    """All pairs of methods.

    Attributes:
        methods: highest mean first; of equals, by name.
        means: over data sets, of these methods.
        mean_ranks: of these methods.
        rows: one for each method, one pair for each method in the same order; None on the diagonal.
        units: number of data sets.
        smallest_p: the smallest p-value that so many data sets can give.
    """

    methods: tuple[str, ...]
    means: tuple[float, ...]
    mean_ranks: tuple[float, ...]
    rows: tuple[tuple[Pair | None, ...], ...]
    units: int
    smallest_p: float


def comparison_matrix(scores: Scores) -> ComparisonMatrix:
    """All pairs, Holm over all of them.

    Raises:
        UserError: fewer than two methods.
    """
    means = scores.values.mean(axis=1).round(DECIMALS)
    order = sorted(range(len(scores.methods)), key=lambda place: (-means[place], scores.methods[place]))
    names = tuple(scores.methods[place] for place in order)
    family = all_pairs(scores)
    rows = tuple(tuple(None if one == other else family.pair(one, other) for other in names) for one in names)
    ranked = mean_ranks(scores)
    return ComparisonMatrix(
        names,
        tuple(float(means[place]) for place in order),
        tuple(float(ranked[place]) for place in order),
        rows,
        len(scores.units),
        smallest_p(len(scores.units)),
    )
