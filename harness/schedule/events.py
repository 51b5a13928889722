"""What executors report: the events of the runs, and which of them failed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.spec import RunSpec
from harness.results.failure import Failure
from harness.training.events import Event

OnEvent = Callable[[RunSpec, Event], None]
"""Takes the events of runs."""


@dataclass(frozen=True)
class FailedRun:
    """A run that did not finish.

    Attributes:
        spec: the run.
        failure: of the last attempt.
        log: the file that holds the traceback.
    """

    spec: RunSpec
    failure: Failure
    log: Path
