"""Training batches, by property and against the batches that the authors' code drew."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.data.sampler import BATCHES, random_batches, same_class_batches
from harness.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "skip_tuning.json"
LABELS = st.lists(st.integers(0, 4), max_size=40)
SIZES = st.integers(1, 8)
SEEDS = st.integers(0, 1000)


def check_batches(batches: list[list[int]], labels: list[int], batch_size: int) -> None:
    """Every batch is full, and no position is drawn twice."""
    drawn = [position for batch in batches for position in batch]
    assert {len(batch) for batch in batches} <= {batch_size}
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(len(labels)))


@given(LABELS, SIZES, SEEDS)
def test_random_batches_draw_all_but_a_remainder(labels: list[int], batch_size: int, seed: int) -> None:
    batches = random_batches(labels, batch_size, random.Random(seed))
    check_batches(batches, labels, batch_size)
    assert len(batches) == len(labels) // batch_size


@given(LABELS, SIZES, SEEDS)
def test_same_class_batches_draw_all_but_a_remainder_of_every_class(
    labels: list[int], batch_size: int, seed: int
) -> None:
    counts = Counter(labels)
    assume(not labels or max(counts.values()) >= batch_size)
    batches = same_class_batches(labels, batch_size, random.Random(seed))
    check_batches(batches, labels, batch_size)
    classes = [{labels[position] for position in batch} for batch in batches]
    assert all(len(of_batch) == 1 for of_batch in classes)
    assert Counter(label for of_batch in classes for label in of_batch) == Counter(
        {label: count // batch_size for label, count in counts.items() if count >= batch_size}
    )


@given(LABELS, SIZES, SEEDS, st.sampled_from(sorted(BATCHES)))
def test_the_generator_alone_decides(labels: list[int], batch_size: int, seed: int, kind: str) -> None:
    assume(not labels or max(Counter(labels).values()) >= batch_size)
    state = random.getstate()
    first = BATCHES[kind](labels, batch_size, random.Random(seed))
    random.seed(1)
    assert BATCHES[kind](labels, batch_size, random.Random(seed)) == first
    random.setstate(state)


@pytest.mark.parametrize("kind", sorted(BATCHES))
def test_seeds_give_different_batches(kind: str) -> None:
    labels = [0] * 16 + [1] * 16
    draws = [str(BATCHES[kind](labels, 4, random.Random(seed))) for seed in range(10)]
    assert len(set(draws)) == 10


def test_same_class_batches_mix_the_order_of_the_classes() -> None:
    labels = [0] * 16 + [1] * 16
    order = [labels[batch[0]] for batch in same_class_batches(labels, 4, random.Random(1))]
    assert order not in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)


def test_too_few_pictures_of_every_class_are_refused_with_the_largest_batch_that_works() -> None:
    labels = [0, 0, 1, 1, 1, 2]
    with pytest.raises(UserError, match=r"train.batch_size=3 or less, or train.batches=random"):
        same_class_batches(labels, 4, random.Random(1))
    assert len(same_class_batches(labels, 3, random.Random(1))) == 1
    assert same_class_batches([], 4, random.Random(1)) == []


@pytest.mark.parametrize(("kind", "key"), [("same_class", "batch_random"), ("random", "random")])
def test_batches_equal_the_reference_code(kind: str, key: str) -> None:
    example = json.loads(GOLDEN.read_text())["feature_loader_example"]
    rng = random.Random(example["python_random_seed"])
    assert BATCHES[kind](example["labels"], example["batch_size"], rng) == example["batches"][key]
