"""Whether a run fits into some memory, and with which batch sizes it would."""

from functools import cache

from harness.estimate.estimator import Estimate, Estimator
from harness.estimate.largest import largest_that_fits
from harness.experiment.spec import RunSpec
from harness.machine.device import choose_device
from harness.machine.units import MIB

# Phase -> the setting that makes it need less memory.
BATCH_SETTINGS = {
    "train": ("train", "batch_size"),
    "cache": ("train", "cache_batch_size"),
    "select": ("runtime", "eval_batch_size"),
    "evaluate": ("runtime", "eval_batch_size"),
}


class Capacity:
    """Finds the batch sizes that fit into some memory.

    Args:
        estimator: provides the estimates.
        device: `cpu` or `cuda`: the device whose memory it is.
        classes: as in `Estimator.estimate`.
    """

    def __init__(self, estimator: Estimator, device: str, classes: int | None = None) -> None:
        self.estimator = estimator
        self.device = device
        self.classes = classes

    def largest_batch(self, spec: RunSpec, estimate: Estimate, limit: int) -> int | None:
        """The largest number of images per training step with which the whole run fits.

        Args:
            spec: the run.
            estimate: its estimate.
            limit: in bytes.

        Returns:
            0 if no number fits, None if nothing trains.
        """
        if "train" not in estimate.phases:
            return None
        others = [peak.num_bytes for phase, peak in estimate.phases.items() if phase != "train"]
        if max(others) > limit:
            return 0
        return self.largest(spec, "train", limit, estimate.most_in_a_batch)

    def largest(self, spec: RunSpec, phase: str, limit: int, most: int) -> int:
        """The largest number of images per batch with which a phase fits.

        Args:
            spec: the run.
            phase: one of BATCH_SETTINGS.
            limit: in bytes.
            most: the largest possible number.

        Returns:
            0 if no number fits.
        """
        section, key = BATCH_SETTINGS[phase]

        def peak_at(number: int) -> int:
            return (
                self.estimator.estimate(
                    with_setting(spec, section, key, number), self.classes, self.device, phases=(phase,), flops=False
                )
                .phases[phase]
                .num_bytes
            )

        return largest_that_fits(peak_at, limit, getattr(getattr(spec, section), key) or most, most)

    def nearest_that_fits(self, spec: RunSpec, estimate: Estimate, limit: int) -> str | None:
        """The settings, as key=value, that make a run fit with the smallest change of batch sizes; None if none do.

        Args:
            spec: the run.
            estimate: its estimate.
            limit: in bytes.
        """
        whole = spec.train.optimizer == "lbfgs" and estimate.phases.get("train")
        if whole and whole.num_bytes > limit:
            return None
        if any(peak.num_bytes > limit for phase, peak in estimate.phases.items() if phase not in BATCH_SETTINGS):
            return None
        changes: dict[str, int] = {}
        for phase, (section, key) in BATCH_SETTINGS.items():
            if phase in estimate.phases and estimate.phases[phase].num_bytes > limit:
                now = getattr(getattr(spec, section), key) or estimate.train_images
                size = self.largest(spec, phase, limit, now - 1)
                if not size:
                    return None
                name = f"{section}.{key}"
                changes[name] = min(size, changes.get(name, size))
        return " ".join(f"{name}={size}" for name, size in changes.items())


def with_setting(spec: RunSpec, section: str, key: str, value: int) -> RunSpec:
    """The same spec with one setting changed."""
    changed = getattr(spec, section).model_copy(update={key: value})
    return spec.model_copy(update={section: changed})


@cache
def shared_estimator() -> Estimator:
    """One estimator for the whole process, because it keeps the models that it has built."""
    return Estimator()


def device_of(spec: RunSpec) -> str:
    """The type of device on which a run would compute on this machine: `cpu` or `cuda`.

    Raises:
        UserError: this machine has no such device.
    """
    return choose_device(spec.runtime.device).type


def estimated_peak(spec: RunSpec) -> int:
    """Peak memory, in bytes, of a run on the device on which it would compute on this machine.

    The additional memory of a GPU's allocator, libraries and context is not included.

    Raises:
        UserError: as `Estimator.estimate`.
    """
    return shared_estimator().estimate(spec, device=device_of(spec), flops=False).peak_bytes


def fits(spec: RunSpec, free_bytes: int) -> str | None:
    """None if a run fits into `free_bytes` of its device; otherwise one line that says why not and what would fit.

    Raises:
        UserError: as `Estimator.estimate`.
    """
    capacity = Capacity(shared_estimator(), device_of(spec))
    estimate = capacity.estimator.estimate(spec, device=capacity.device, flops=False)
    if estimate.peak_bytes <= free_bytes:
        return None
    nearest = capacity.nearest_that_fits(spec, estimate, free_bytes)
    advice = f"it fits with {nearest}" if nearest else "no batch size makes it fit: use another method or backbone"
    needs = "may need up to" if estimate.peak_is_bound else "needs"
    return (
        f"{spec.name} {needs} {estimate.peak_bytes / MIB:.0f} MiB in phase {estimate.highest_phase}, and "
        f"{free_bytes / MIB:.0f} MiB are free: {advice}"
    )
