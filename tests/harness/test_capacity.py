"""What fits into a memory, and the nearest setting that does."""

from collections.abc import Callable

import pytest

from harness.capacity import (
    Capacity,
    estimated_peak,
    fits,
    largest_that_fits,
    parse_size,
    shared_estimator,
    with_setting,
)
from harness.errors import UserError
from harness.spec import RunSpec

Make = Callable[..., RunSpec]
SMALL = ("data.classes=base.base.base", "train.epochs=1", "train.batch_size=8", "runtime.device=cpu")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("24GiB", 24 * 2**30), ("512 MiB", 512 * 2**20), ("40GB", 40 * 10**9), ("1.5g", 1_500_000_000), ("1000", 1000)],
)
def test_sizes(text: str, num_bytes: int) -> None:
    if text == "1.5g":
        with pytest.raises(UserError, match="no amount of memory"):
            parse_size(text)
    else:
        assert parse_size(text) == num_bytes


@pytest.mark.parametrize("text", ["", "many", "24 cards", "-1GiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="no amount of memory"):
        parse_size(text)


@pytest.mark.parametrize("start", [1, 4, 100])
@pytest.mark.parametrize("limit", [0, 11, 12, 25, 99, 10_000])
def test_the_largest_that_fits_is_found_in_few_steps(start: int, limit: int) -> None:
    asked: list[int] = []

    def peak_at(n: int) -> int:
        asked.append(n)
        return max(12, 10 + 2 * n)

    found = largest_that_fits(peak_at, limit, start, most=200)
    right = [n for n in range(1, 201) if max(12, 10 + 2 * n) <= limit]
    assert found == max(right, default=0)
    assert len(asked) <= 12
    assert len(asked) == len(set(asked))


def test_the_largest_batch_fits_and_one_more_does_not(make_spec: Make) -> None:
    spec = make_spec("finetune", *SMALL, "runtime.eval_batch_size=1", shots=4)
    capacity = Capacity(shared_estimator(), "cpu")
    estimate = capacity.estimator.estimate(spec, flops=False)
    limit = estimate.phases["train"].num_bytes - 1
    largest = capacity.largest_batch(spec, estimate, limit)
    assert largest == 7
    assert capacity.largest_batch(spec, estimate, 10**10) == estimate.most_in_a_batch == 24
    assert capacity.largest_batch(spec, estimate, 1000) == 0


def test_a_run_that_fits_is_told_nothing(make_spec: Make) -> None:
    spec = make_spec("clip_adapter", *SMALL, shots=4)
    peak = estimated_peak(spec)
    assert fits(spec, peak) is None
    assert fits(spec, peak - 1) is not None


def test_a_run_that_does_not_fit_is_told_what_would(make_spec: Make) -> None:
    spec = make_spec("finetune", *SMALL, "runtime.eval_batch_size=4", shots=4)
    limit = estimated_peak(spec) - 2**20
    line = fits(spec, limit)
    assert line
    assert line.startswith("finetune-emoji-4shot-seed1 needs ")
    assert "\n" not in line
    number = int(line.rpartition("it fits with train.batch_size=")[2])
    assert 1 <= number < 8
    assert fits(with_setting(spec, "train", "batch_size", number), limit) is None
    assert fits(with_setting(spec, "train", "batch_size", number + 1), limit) is not None


def test_a_run_that_no_batch_size_helps_is_told_so(make_spec: Make) -> None:
    line = fits(make_spec("finetune", *SMALL, shots=4), 2**20)
    assert line
    assert line.endswith("use another method or backbone")
