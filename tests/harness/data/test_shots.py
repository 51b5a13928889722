"""Long-tailed shots: exact ends, an exponential fall, every class with an image, the same on every machine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.fewshot import few_shot_sample
from harness.data.readers import Picture
from harness.data.shots import LongTail, is_long_tail, parse_long_tail
from harness.errors import UserError

TAILS = st.tuples(st.integers(1, 200), st.integers(1, 200)).filter(lambda pair: pair[0] != pair[1]).map(
    lambda pair: LongTail(max(pair), min(pair))
)  # fmt: skip


@given(TAILS, st.integers(2, 60))
def test_counts_fall_exponentially_between_exact_ends(tail: LongTail, classes: int) -> None:
    counts = tail.counts(classes)
    assert len(counts) == classes
    assert (counts[0], counts[-1]) == (tail.most, tail.fewest)
    assert list(counts) == sorted(counts, reverse=True)
    assert min(counts) >= 1
    for place, count in enumerate(counts):
        # Computed in logarithms, unlike the code.
        exact = math.exp(math.log(tail.most) + place / (classes - 1) * (math.log(tail.fewest) - math.log(tail.most)))
        assert abs(count - exact) <= 0.5 + 1e-6


def test_known_counts() -> None:
    assert LongTail(16, 1).counts(5) == (16, 8, 4, 2, 1)
    assert LongTail(100, 1).counts(3) == (100, 10, 1)
    assert LongTail(16, 1).counts(1) == (16,)


@given(TAILS, st.integers(1, 30), st.integers(0, 50))
def test_each_class_has_a_place_in_an_order_of_the_seed(tail: LongTail, classes: int, seed: int) -> None:
    of_class = tail.by_label(range(classes), seed)
    assert set(of_class) == set(range(classes))
    assert sorted(of_class.values(), reverse=True) == list(tail.counts(classes))
    assert of_class == tail.by_label(range(classes), seed)


def test_seeds_draw_other_heads() -> None:
    heads = [max(found, key=found.__getitem__) for found in (LongTail(16, 1).by_label(range(8), s) for s in range(400))]
    # 50 expected of each of 8 classes; five standard deviations.
    assert all(17 < heads.count(label) < 83 for label in range(8))


def test_a_sample_has_the_counts_and_is_part_of_that_of_the_most_shots() -> None:
    pictures = [Picture(f"{label}/{number}.png", label) for label in range(5) for number in range(20)]
    of_class = LongTail(16, 1).by_label(range(5), 3)
    sample, whole = few_shot_sample(pictures, of_class, 3), few_shot_sample(pictures, 16, 3)
    assert {label: sum(picture.label == label for picture in sample) for label in range(5)} == of_class
    assert set(sample) < set(whole)


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("longtail:1..16", "longtail:16..1"),
        ("longtail:16", "write longtail:MOST..FEWEST, such as longtail:16..1"),
        ("long-tail:16-1", "Did you mean 'longtail:16..1'?"),
        ("longtailed:8..2", "Did you mean 'longtail:8..2'?"),
        ("long:16..1", "Did you mean 'longtail:16..1'?"),
        ("longtail:16..0", "write longtail:16..1"),
        ("longtail:4..4", "write 4"),
        ("longtail:16..1..2", "write longtail:MOST..FEWEST"),
    ],
)
def test_another_form_is_refused_with_the_nearest(written: str, part: str) -> None:
    assert is_long_tail(written)
    with pytest.raises(UserError) as caught:
        parse_long_tail(written)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(parse_long_tail("longtail:16..1")) == "longtail:16..1"
