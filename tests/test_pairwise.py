"""The cover of pairs: it is complete, small and always the same."""

from itertools import combinations, product

import pytest

from tests.pairwise import pairwise_cover

AXES = [
    {"a": (1, 2), "b": ("x", "y", "z")},
    {"a": (1, 2, 3), "b": ("x", "y", "z"), "c": (None, True)},
    {"method": tuple("abcdef"), "precision": range(4), "cache": range(3), "shots": (1, 2, 4, 8, 16)},
]


@pytest.mark.parametrize("axes", AXES)
def test_every_pair_of_values_occurs(axes: dict[str, tuple[object, ...]]) -> None:
    cover = pairwise_cover(axes)
    for one, other in combinations(axes, 2):
        assert {(item[one], item[other]) for item in cover} == set(product(axes[one], axes[other]))


def test_the_cover_is_little_larger_than_the_product_of_the_two_longest_axes() -> None:
    assert 30 <= len(pairwise_cover(AXES[-1])) <= 40
    assert len(pairwise_cover(AXES[0])) == 6


def test_the_cover_is_always_the_same() -> None:
    assert pairwise_cover(AXES[1])[0] == {"a": 1, "b": "x", "c": None}
    assert pairwise_cover(AXES[1]) == pairwise_cover(dict(AXES[1]))
