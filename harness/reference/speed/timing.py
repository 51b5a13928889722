"""Times of two ways to compute, taken in turn, so that what else the machine does strikes both alike."""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Work = Callable[[], object]

# A sample of short work repeats it until it took this long: clocks and caches need something to measure.
SAMPLE_SECONDS = 0.02
# Short work is sampled more often than asked for, until the samples took this long, or there are this many.
ENOUGH_SECONDS, MOST_PAIRS = 1.0, 25
# While pairs disagree, up to so many times the pairs that were asked for are taken.
PATIENCE = 3
# Pairs agree if the middle half of their ratios lies within this share of the median.
AGREEMENT = 0.1


@dataclass(frozen=True)
class Sample:
    """What one execution of some work took.

    Attributes:
        cpu: seconds that all threads of this process computed.
        wall: seconds that passed.
    """

    cpu: float
    wall: float


@dataclass(frozen=True)
class Spread:
    """The ratios of single pairs.

    Attributes:
        median: of them.
        low: lower quartile.
        high: upper quartile.
        least: smallest.
        most: largest.
        pairs: their number.
    """

    median: float
    low: float
    high: float
    least: float
    most: float
    pairs: int

    @property
    def agree(self) -> bool:
        """Whether the pairs say the same, so that their median is a measurement."""
        return self.high - self.low <= AGREEMENT * self.median


@dataclass(frozen=True)
class Timings:
    """Samples of two ways to compute, taken in turn: `reference[i]` just before `here[i]`.

    Attributes:
        reference: of the one.
        here: of the other.
        on_gpu: whether a GPU computed, so that seconds of the CPU say nothing.
    """

    reference: tuple[Sample, ...]
    here: tuple[Sample, ...]
    on_gpu: bool = False

    def ratios(self) -> list[float]:
        """Reference by here of each pair: of CPU seconds, on a GPU of wall seconds."""
        clock = "wall" if self.on_gpu else "cpu"
        pairs = [(getattr(a, clock), getattr(b, clock)) for a, b in zip(self.reference, self.here, strict=True)]
        return [reference / here for reference, here in pairs if here > 0]

    @property
    def spread(self) -> Spread | None:
        """Of the ratios; None if nothing took any time."""
        found = self.ratios()
        if len(found) < 2:
            return None
        low, median, high = statistics.quantiles(found, n=4, method="inclusive")
        return Spread(median, low, high, min(found), max(found), len(found))


def medians(samples: tuple[Sample, ...]) -> Sample:
    """Median CPU and median wall seconds."""
    return Sample(statistics.median(item.cpu for item in samples), statistics.median(item.wall for item in samples))


def take_sample(work: Work, calls: int, device: torch.device) -> Sample:
    """What one call of some work takes, as the mean of several in a row."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Sample((time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls)


def time_in_turn(reference: Work, here: Work, device: torch.device, pairs: int) -> Timings:
    """Time two ways to compute in turn: reference, here, reference, here, ...

    Args:
        reference: the one; has run before, so that nothing is initialised while it is timed.
        here: the other, likewise.
        device: where they compute.
        pairs: fewest pairs; more are taken of short work and, up to three times as many, while the pairs disagree.
    """
    works = (reference, here)
    calls = []
    for work in works:
        seconds = take_sample(work, 1, device).wall
        calls.append(math.ceil(SAMPLE_SECONDS / seconds) if 0 < seconds < SAMPLE_SECONDS else 1)
    samples: tuple[list[Sample], list[Sample]] = [], []
    taken = 0.0
    while True:
        for work, count, found in zip(works, calls, samples, strict=True):
            found.append(take_sample(work, count, device))
            taken += found[-1].wall * count
        timings = Timings(tuple(samples[0]), tuple(samples[1]), device.type == "cuda")
        done = len(timings.here)
        if done < pairs or (taken < ENOUGH_SECONDS and done < MOST_PAIRS):
            continue
        spread = timings.spread
        if spread is None or spread.agree or done >= PATIENCE * pairs:
            return timings


def load() -> float | None:
    """Number of processes that computed or waited for a core, on average over the last minute; None if unknown."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
