"""Class subsets and few-shot samples."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.fewshot import class_subset, few_shot_sample, hold_out, keep_classes, sample_hash
from harness.data.readers import Picture
from harness.errors import UserError

COUNTS = st.dictionaries(st.integers(0, 9), st.integers(1, 9), min_size=1, max_size=5)
SHOTS = st.integers(1, 10)
SEEDS = st.integers(0, 100)


def make_pictures(counts: dict[int, int]) -> list[Picture]:
    """So many pictures of every label."""
    return [Picture(f"class{label}/{number}.jpg", label) for label, count in counts.items() for number in range(count)]


@given(st.integers(2, 500))
def test_base_and_new_part_the_classes(num_classes: int) -> None:
    base, new = class_subset(num_classes, "base"), class_subset(num_classes, "new")
    assert [*base, *new] == list(range(num_classes)) == list(class_subset(num_classes, "all"))
    assert len(base) == math.ceil(num_classes / 2)


@given(st.integers(4, 500))
def test_halves_of_halves_part_the_half(num_classes: int) -> None:
    for half in ("base", "new"):
        whole = class_subset(num_classes, half)
        first, second = class_subset(num_classes, f"{half}.base"), class_subset(num_classes, f"{half}.new")
        assert [*first, *second] == list(whole)
        assert len(first) == math.ceil(len(whole) / 2)


def test_subsets_of_the_emoji_categories() -> None:
    assert (class_subset(45, "base"), class_subset(45, "new")) == (range(23), range(23, 45))
    assert (class_subset(45, "base.base"), class_subset(45, "base.new")) == (range(12), range(12, 23))


@pytest.mark.parametrize("subset", ["old", "", "base.", "all.base", "base.all", "Base"])
def test_an_unknown_subset_is_refused(subset: str) -> None:
    with pytest.raises(UserError, match="unknown class subset"):
        class_subset(10, subset)


def test_an_empty_subset_is_refused() -> None:
    with pytest.raises(UserError, match="1 class cannot be divided into halves down to 'new', which takes at least 2"):
        class_subset(1, "new")


@pytest.mark.parametrize("subset", ["new", "base.new", "new.new", "base.base.new", "new.base.new"])
def test_the_fewest_classes_that_are_named_are_enough_and_one_less_is_not(subset: str) -> None:
    with pytest.raises(UserError) as refused:
        class_subset(1, subset)
    fewest = int(str(refused.value).partition("at least ")[2].partition(":")[0])
    assert class_subset(fewest, subset)
    with pytest.raises(UserError):
        class_subset(fewest - 1, subset)


def test_kept_classes_are_relabelled_from_0() -> None:
    pictures = [Picture("a", 0), Picture("d", 3), Picture("b", 1), Picture("c", 2)]
    assert keep_classes(pictures, range(2, 4)) == [Picture("d", 1), Picture("c", 0)]


@given(COUNTS, SHOTS, SEEDS)
def test_a_sample_has_k_pictures_a_class_or_all_there_are(counts: dict[int, int], shots: int, seed: int) -> None:
    pictures = make_pictures(counts)
    sample = few_shot_sample(pictures, shots, seed)
    assert len(set(sample)) == len(sample)
    assert set(sample) <= set(pictures)
    labels = [picture.label for picture in sample]
    assert {label: labels.count(label) for label in counts} == {k: min(shots, count) for k, count in counts.items()}
    assert labels == sorted(labels)


@given(COUNTS, SHOTS, SHOTS, SEEDS)
def test_fewer_shots_are_the_first_of_more(counts: dict[int, int], one: int, other: int, seed: int) -> None:
    few, more = sorted((one, other))
    small, large = (few_shot_sample(make_pictures(counts), shots, seed) for shots in (few, more))
    for label in counts:
        mine = [picture for picture in small if picture.label == label]
        assert mine == [picture for picture in large if picture.label == label][: len(mine)]


@given(COUNTS, SHOTS, SEEDS, st.randoms(use_true_random=False))
def test_a_sample_does_not_depend_on_order_or_on_other_classes(
    counts: dict[int, int], shots: int, seed: int, rng: random.Random
) -> None:
    pictures = make_pictures(counts)
    sample = few_shot_sample(pictures, shots, seed)
    assert few_shot_sample(rng.sample(pictures, len(pictures)), shots, seed) == sample
    for label in counts:
        alone = [picture for picture in pictures if picture.label == label]
        assert few_shot_sample(alone, shots, seed) == [picture for picture in sample if picture.label == label]


@given(COUNTS, SHOTS, SEEDS)
def test_a_picture_that_was_not_drawn_does_not_matter(counts: dict[int, int], shots: int, seed: int) -> None:
    pictures = make_pictures(counts)
    sample = few_shot_sample(pictures, shots, seed)
    undrawn = next((picture for picture in pictures if picture not in sample), None)
    rest = [picture for picture in pictures if picture != undrawn]
    assert few_shot_sample(rest, shots, seed) == sample


def test_seeds_draw_different_samples() -> None:
    pictures = make_pictures({0: 50, 1: 50})
    samples = [frozenset(few_shot_sample(pictures, 5, seed)) for seed in range(20)]
    assert len(set(samples)) == 20
    # Every picture has its chance: 20 samples of 5 of 50 miss a tenth or so of the pictures.
    assert len(frozenset.union(*samples)) > 70


def test_classes_are_drawn_independently() -> None:
    drawn = few_shot_sample(make_pictures({0: 50, 1: 50}), 5, 1)
    numbers = [{p.path.split("/")[1] for p in drawn if p.label == label} for label in (0, 1)]
    assert numbers[0] != numbers[1]


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_hash_depends_on_pictures_and_labels_but_not_on_their_order(
    counts: dict[int, int], rng: random.Random
) -> None:
    pictures = make_pictures(counts)
    expected = sample_hash(pictures)
    assert sample_hash(rng.sample(pictures, len(pictures))) == expected
    assert sample_hash(pictures[1:]) != expected
    first = pictures[0]
    assert sample_hash([Picture(first.path, first.label + 1), *pictures[1:]]) != expected
    assert sample_hash([Picture(first.path + "g", first.label), *pictures[1:]]) != expected


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(2, 6))
def test_held_out_parts_cover_every_shot_once(labels: list[int], parts: int) -> None:
    sample = [Picture(f"{number}.png", label) for number, label in enumerate(sorted(labels))]
    held = []
    for part in range(1, parts + 1):
        kept, out = hold_out(sample, part, parts)
        assert sorted(kept + out) == sorted(sample)
        held += out
        for label in set(labels):
            of_class = [picture for picture in out if picture.label == label]
            assert len(of_class) in (labels.count(label) // parts, -(-labels.count(label) // parts))
    assert sorted(held) == sorted(sample)
