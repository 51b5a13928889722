"""Few combinations of many values in which every pair of values of two axes still occurs together.

A fault of one value, or of two together, shows in such a cover as it would in the whole product.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

Pair = tuple[tuple[str, object], tuple[str, object]]


def pairs_of(combination: Mapping[str, object]) -> set[Pair]:
    """All pairs of (axis, value) in a combination."""
    return set(combinations(combination.items(), 2))


def pairwise_cover(axes: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """Combinations that hold every pair of values of two axes: each time the one with most pairs that are missing.

    Of several it is the first in the order of the product, so the cover is always the same.

    Args:
        axes: name -> values; the more values, the more combinations.
    """
    every = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    missing = set().union(*map(pairs_of, every))
    cover: list[dict[str, object]] = []
    while missing:
        best = max(every, key=lambda combination: len(missing & pairs_of(combination)))
        cover.append(best)
        missing -= pairs_of(best)
    return cover
