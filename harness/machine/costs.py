"""What one phase of a run costs: seconds, images, peak memory."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, computed_field

SETUP, CACHE, FIT, COMPILE, TRAIN, SELECT, EVALUATE = (
    "setup", "cache", "fit", "compile", "train", "select", "evaluate"
)  # fmt: skip
Count = Annotated[int, Field(ge=0, lt=2**63)]
PHASES = (SETUP, CACHE, FIT, TRAIN, SELECT, EVALUATE)
"""The phases of every run; one that compiles its steps has COMPILE, too."""
VALIDATE = "validate"
"""A phase of runs that are validated while they train (`train.validate_every`). It watches, and is no part of a method:
neither the peak of a whole run nor its time to adapt has it."""
ADAPT = (CACHE, FIT, COMPILE, TRAIN, SELECT)
"""The phases that adapt a method to its training pictures: their time together is its time to adapt."""


class PhaseCosts(BaseModel):
    """Costs of one phase, summed over all its parts.

    Attributes:
        seconds: wall time spent in it.
        shared_seconds: wall time that another run spent on features which this one took from the store; None: none.
        images: images that were processed.
        peak_tensor_bytes: CPU only: exact peak of live tensor bytes.
        peak_rss_bytes: peak resident set size of the process.
        peak_allocated_bytes: GPU only: the allocator's peak of allocated memory.
        peak_reserved_bytes: GPU only: the allocator's peak of reserved memory.
    """

    model_config = ConfigDict(extra="ignore")

    seconds: float = Field(0.0, ge=0, le=1e30, allow_inf_nan=False)
    shared_seconds: float | None = Field(None, ge=0, le=1e30, allow_inf_nan=False)
    images: Count = 0
    peak_tensor_bytes: Count | None = None
    peak_rss_bytes: Count | None = None
    peak_allocated_bytes: Count | None = None
    peak_reserved_bytes: Count | None = None

    def share(self, seconds: float) -> None:
        """Add seconds that another run spent on features which this one took from the store."""
        if seconds:
            self.shared_seconds = (self.shared_seconds or 0.0) + seconds

    def raise_peak(self, name: str, value: int | None) -> None:
        """Take a measured peak if it is higher than the one so far."""
        if value is not None:
            setattr(self, name, max(value, getattr(self, name) or 0))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def images_per_second(self) -> float | None:
        """Throughput of a run without the features of another; None if no image was processed."""
        return self.images / self.whole_seconds if self.images and self.whole_seconds else None

    @property
    def whole_seconds(self) -> float:
        """What the phase would take without the features of another run."""
        return self.seconds + (self.shared_seconds or 0.0)

    @property
    def peak_bytes(self) -> int | None:
        """Peak memory: the allocator's on a GPU, live tensor bytes on a CPU; None if it was not measured."""
        return self.peak_allocated_bytes or self.peak_tensor_bytes


class Batches(BaseModel):
    """Pictures that go through a backbone at once outside of training steps.

    Attributes:
        cache: in caching passes.
        evaluate: in evaluations and choices.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    cache: int = Field(ge=1)
    evaluate: int = Field(ge=1)


def highest_peak(phases: Iterable[PhaseCosts]) -> int | None:
    """Highest peak memory of some phases, in bytes; None if none was measured."""
    return max((phase.peak_bytes for phase in phases if phase.peak_bytes), default=None)
