"""Label noise: an exact number of labels, spread evenly over images and other classes, the same on every machine."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.label_noise import noisy_count, with_label_noise
from harness.data.readers import Picture
from harness.errors import UserError


def pictures_of(classes: int, each: int) -> list[Picture]:
    return [Picture(f"{label}/{number}.png", label) for label in range(classes) for number in range(each)]


@given(st.integers(2, 9), st.integers(1, 12), st.integers(0, 99), st.integers(0, 5))
def test_exactly_the_share_gets_another_class_and_nothing_else_changes(
    classes: int, each: int, percent: int, seed: int
) -> None:
    pictures = pictures_of(classes, each)
    noisy = with_label_noise(pictures, percent / 100, classes, seed)
    assert [picture.path for picture in noisy] == [picture.path for picture in pictures]
    assert all(0 <= picture.label < classes for picture in noisy)
    changed = sum(one.label != other.label for one, other in zip(pictures, noisy, strict=True))
    exact = Fraction(percent, 100) * len(pictures)
    assert changed == int(exact + Fraction(1, 2)) == noisy_count(len(pictures), percent / 100)


@given(st.integers(0, 5), st.integers(0, 99), st.integers(0, 99))
def test_a_smaller_share_is_part_of_a_larger_one(seed: int, one: int, other: int) -> None:
    pictures = pictures_of(5, 8)
    few, many = (with_label_noise(pictures, share / 100, 5, seed) for share in sorted((one, other)))
    for original, less, more in zip(pictures, few, many, strict=True):
        assert less.label in (original.label, more.label)


def test_the_order_of_the_pictures_changes_nothing() -> None:
    pictures = pictures_of(4, 6)
    backwards = with_label_noise(pictures[::-1], 0.3, 4, 1)
    assert sorted(backwards) == sorted(with_label_noise(pictures, 0.3, 4, 1))
    assert sorted(backwards) != sorted(with_label_noise(pictures, 0.3, 4, 2))


def test_images_and_new_classes_are_drawn_uniformly() -> None:
    pictures, counts, moves = pictures_of(4, 5), Counter[str](), Counter[tuple[int, int]]()
    for seed in range(1000):
        for original, noisy in zip(pictures, with_label_noise(pictures, 0.3, 4, seed), strict=True):
            if original.label != noisy.label:
                counts[original.path] += 1
                moves[original.label, noisy.label] += 1
    # 6 of 20 images a seed: 300 expected of each image, 500 of each of 12 pairs of classes; five standard deviations.
    assert len(counts) == 20
    assert all(abs(count - 300) < 75 for count in counts.values())
    assert len(moves) == 12
    assert all(abs(count - 500) < 110 for count in moves.values())


def test_one_class_has_no_other() -> None:
    with pytest.raises(UserError, match=r"label_noise=0\.5 needs another class"):
        with_label_noise(pictures_of(1, 4), 0.5, 1, 1)
    assert with_label_noise(pictures_of(1, 4), 0.0, 1, 1) == pictures_of(1, 4)
