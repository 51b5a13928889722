"""What a run and its scheduler report to whoever watches: one class per event."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic takes a while to import, and `--help` needs none of it
    from harness.results.epochs import EpochRecord


@dataclass(frozen=True)
class PhaseStarted:
    """A run begins a phase: setup, fit, train, select or evaluate.

    Attributes:
        phase: which.
        evaluation: name of the evaluation, in phase evaluate.
    """

    phase: str
    evaluation: str | None = None


@dataclass(frozen=True)
class TrainingProgress:
    """A run begins or continues its training, or has finished an epoch.

    Attributes:
        epoch: number of finished epochs.
        epochs: of the whole training.
        record: of the epoch that was finished; None at the beginning.
    """

    epoch: int
    epochs: int
    record: "EpochRecord | None" = None


@dataclass(frozen=True)
class Notice:
    """A line for the user."""

    text: str


@dataclass(frozen=True)
class TrackingOffline:
    """W&B could not be reached, and the run continues offline."""


@dataclass(frozen=True)
class Started:
    """A run was started.

    Attributes:
        where: device or host.
    """

    where: str


@dataclass(frozen=True)
class ComputedElsewhere:
    """Another process computes the run.

    Attributes:
        holder: that process, in words.
    """

    holder: str


@dataclass(frozen=True)
class Retried:
    """An attempt at a run failed, and the run is tried again.

    Attributes:
        reason: of the failure.
    """

    reason: str


@dataclass(frozen=True)
class Done:
    """A run is complete."""


@dataclass(frozen=True)
class Failed:
    """A run failed for good.

    Attributes:
        reason: of the last attempt.
    """

    reason: str


Event = (
    PhaseStarted | TrainingProgress | Notice | TrackingOffline | Started | ComputedElsewhere | Retried | Done | Failed
)
