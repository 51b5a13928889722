"""What fits into a memory, and the nearest setting that does."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import UserError
from harness.estimate.estimator import Estimate, Estimator
from harness.estimate.fit import Capacity, estimated_peak, fits, with_setting
from harness.estimate.largest import largest_that_fits
from harness.estimate.memory_breakdown import MemoryPeak
from harness.experiment.spec import RunSpec
from harness.machine.units import parse_size

Make = Callable[..., RunSpec]
SMALL = ("data.classes=base.base.base", "train.epochs=1", "train.batch_size=8", "runtime.device=cpu")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("24GiB", 24 * 2**30), ("512 MiB", 512 * 2**20), ("40GB", 40 * 10**9), ("1.5gb", 1_500_000_000), ("1000", 1000)],
)
def test_sizes(text: str, num_bytes: int) -> None:
    assert parse_size(text) == num_bytes


@pytest.mark.parametrize("text", ["", "many", "24 cards", "-1GiB", "1.5 parsecs"])
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


class LinearEstimator(Estimator):
    """Peaks that grow with the batch sizes of their phases: 100 and 10 bytes a picture."""

    def estimate(self, spec: RunSpec, *_: Any, **__: Any) -> Estimate:
        sizes = {
            "setup": 5,
            "cache": 10 * spec.train.cache_batch_size,
            "train": 100 + 10 * spec.train.batch_size,
            "evaluate": 100 + 10 * spec.runtime.eval_batch_size,
        }
        phases = {phase: MemoryPeak(size, {}) for phase, size in sizes.items()}
        return Estimate(6, 24, spec.train.batch_size, 24, "cpu", phases, 1, 1, 1, 1, "host", 1, 1, 1, False, ())


@pytest.fixture
def capacity() -> Capacity:
    return Capacity(LinearEstimator(), "cpu")


def test_the_largest_batch_is_the_last_that_fits(make_spec: Make, capacity: Capacity) -> None:
    spec = make_spec("finetune", *SMALL, "runtime.eval_batch_size=1", "train.cache_batch_size=1", shots=4)
    estimate = capacity.estimator.estimate(spec)
    assert [capacity.largest_batch(spec, estimate, limit) for limit in (169, 170, 10_000)] == [6, 7, 24]
    # Evaluation takes 110 bytes whatever the batch.
    assert capacity.largest_batch(spec, estimate, 109) == 0


def test_the_nearest_setting_changes_what_does_not_fit(make_spec: Make, capacity: Capacity) -> None:
    overrides = ["runtime.eval_batch_size=100", "train.cache_batch_size=64"]
    spec = make_spec("finetune", *SMALL, *overrides, shots=4)
    estimate = capacity.estimator.estimate(spec)
    nearest = [capacity.nearest_that_fits(spec, estimate, limit) for limit in (1100, 700, 150, 109)]
    assert nearest == [
        "",
        "runtime.eval_batch_size=60",
        "train.batch_size=5 train.cache_batch_size=15 runtime.eval_batch_size=5",
        None,
    ]


def test_a_run_that_fits_is_told_nothing_and_one_that_does_not_what_would(make_spec: Make) -> None:
    few = ["runtime.eval_batch_size=24", "train.cache_batch_size=2"]
    spec = make_spec("clip_adapter", *SMALL, *few, shots=4)
    peak = estimated_peak(spec)
    assert fits(spec, peak) is None
    line = fits(spec, peak - 2**18)
    assert line
    assert line.startswith("clip_adapter-emoji-4shot-seed1 needs ")
    assert "\n" not in line
    section, _, number = line.rpartition("it fits with ")[2].partition(".")[2].partition("=")
    assert section == "eval_batch_size"
    assert fits(with_setting(spec, "runtime", "eval_batch_size", int(number)), peak - 2**18) is None
    assert str(fits(spec, 2**20)).endswith("use another method or backbone")
