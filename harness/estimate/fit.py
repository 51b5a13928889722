"""Whether a run fits into some memory, and which setting would."""

from collections.abc import Callable
from functools import cache

from harness.estimate.estimator import Estimate, Estimator
from harness.experiment.spec import RunSpec
from harness.machine.device import choose_device
from harness.machine.units import MIB

# Which setting makes a phase smaller.
BATCH_SETTINGS = {
    "train": ("train", "batch_size"),
    "cache": ("train", "cache_batch_size"),
    "evaluate": ("runtime", "eval_batch_size"),
}


def largest_that_fits(peak_at: Callable[[int], int], limit: int, start: int, most: int) -> int:
    """Largest n of 1..most whose peak is within a limit; 0 if not even 1 is.

    Peaks grow with n, nearly along a line; so a line through two of them says where to look.

    Args:
        peak_at: n -> bytes.
        limit: bytes.
        start: the first n to try.
        most: the largest n.
    """
    peaks: dict[int, int] = {}
    fits, too_much, guess = 0, most + 1, min(max(1, start), most)
    while fits + 1 < too_much:
        peaks[guess] = peak_at(guess)
        if peaks[guess] <= limit:
            fits = guess
        else:
            too_much = guess
        guess = min(max(next_guess(peaks, limit, fits, too_much), fits + 1), too_much - 1)
    return fits


def next_guess(peaks: dict[int, int], limit: int, fits: int, too_much: int) -> int:
    """Where to look next for the largest n: on the line through the last two peaks, at times in the middle."""
    middle = (fits + too_much) // 2
    if len(peaks) == 1:
        return 2 * fits if fits else middle
    (other, other_peak), (n, peak) = list(peaks.items())[-2:]
    if peak == other_peak or len(peaks) % 4 == 0:
        return middle
    return n + (limit - peak) * (n - other) // (peak - other_peak)


class Capacity:
    """Answers what fits.

    Args:
        estimator: makes the estimates.
        device: `cpu` or `cuda`: whose memory it is.
        classes: as in `Estimator.estimate`.
    """

    def __init__(self, estimator: Estimator, device: str, classes: int | None = None) -> None:
        self.estimator = estimator
        self.device = device
        self.classes = classes

    def largest_batch(self, spec: RunSpec, estimate: Estimate, limit: int) -> int | None:
        """Most pictures a training step with which the whole run fits; 0 if no number does, None if nothing trains.

        Args:
            spec: the run.
            estimate: its estimate.
            limit: bytes.
        """
        if "train" not in estimate.phases:
            return None
        others = [peak.num_bytes for phase, peak in estimate.phases.items() if phase != "train"]
        if max(others) > limit:
            return 0
        return self.largest(spec, "train", limit, estimate.most_in_a_batch)

    def largest(self, spec: RunSpec, phase: str, limit: int, most: int) -> int:
        """Most pictures a batch of a phase, up to `most`, with which the phase fits; 0 if no number does."""
        section, key = BATCH_SETTINGS[phase]

        def peak_at(number: int) -> int:
            return (
                self.estimator.estimate(
                    with_setting(spec, section, key, number), self.classes, self.device, phases=(phase,), flops=False
                )
                .phases[phase]
                .num_bytes
            )

        return largest_that_fits(peak_at, limit, getattr(getattr(spec, section), key), most)

    def nearest_that_fits(self, spec: RunSpec, estimate: Estimate, limit: int) -> str | None:
        """The settings, as key=value, that make a run fit at the least change of batch sizes; None if none does."""
        if estimate.phases["setup"].num_bytes > limit:
            return None
        changes = []
        for phase, (section, key) in BATCH_SETTINGS.items():
            if phase in estimate.phases and estimate.phases[phase].num_bytes > limit:
                size = self.largest(spec, phase, limit, getattr(getattr(spec, section), key) - 1)
                if not size:
                    return None
                changes.append(f"{section}.{key}={size}")
        return " ".join(changes)


def with_setting(spec: RunSpec, section: str, key: str, value: int) -> RunSpec:
    """A spec with one setting changed."""
    changed = getattr(spec, section).model_copy(update={key: value})
    return spec.model_copy(update={section: changed})


@cache
def shared_estimator() -> Estimator:
    """One estimator for all questions of a process: it keeps the models that it has built."""
    return Estimator()


def device_of(spec: RunSpec) -> str:
    """`cpu` or `cuda`: on which of them the run would compute here."""
    return choose_device(spec.runtime.device).type


def estimated_peak(spec: RunSpec) -> int:
    """Most bytes that a run needs at once on the device that it would compute on here.

    Without what a GPU's allocator, libraries and context take besides.

    Raises:
        UserError: as `Estimator.estimate`.
    """
    return shared_estimator().estimate(spec, device=device_of(spec), flops=False).peak_bytes


def fits(spec: RunSpec, free_bytes: int) -> str | None:
    """None if a run fits into so much memory of its device; otherwise one line with the numbers and what would fit.

    Raises:
        UserError: as `Estimator.estimate`.
    """
    capacity = Capacity(shared_estimator(), device_of(spec))
    estimate = capacity.estimator.estimate(spec, device=capacity.device, flops=False)
    if estimate.peak_bytes <= free_bytes:
        return None
    nearest = capacity.nearest_that_fits(spec, estimate, free_bytes)
    advice = f"it fits with {nearest}" if nearest else "no batch size makes it fit: use another method or backbone"
    return (
        f"{spec.name} needs {estimate.peak_bytes / MIB:.0f} MiB in phase {estimate.highest_phase}, and "
        f"{free_bytes / MIB:.0f} MiB are free: {advice}"
    )
