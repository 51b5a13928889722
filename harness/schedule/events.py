"""What executors tell: news of the runs, and which of them failed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiment.spec import RunSpec
from harness.results.failure import Failure

OnNews = Callable[[RunSpec, dict[str, Any]], None]
"""Takes news of a run: {"started": device}, {"elsewhere": holder}, what the run itself reports ({"phase": ...},
{"epoch": ..., "epochs": ...}, {"notice": ...}), {"retry": reason}, and at its end {"done": True} or
{"failed": reason}."""


@dataclass(frozen=True)
class FailedRun:
    """A run that did not come to its end.

    Attributes:
        spec: the run.
        failure: the last attempt's.
        log: where the traceback stands.
    """

    spec: RunSpec
    failure: Failure
    log: Path
