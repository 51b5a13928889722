"""Executing runs: one small interface for all executors, from specs to the runs that failed.

`result.json` in a run's folder, never an executor's queue, says what is done; a claim in it says what is being done.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.folder import RunFolder
from harness.schedule.events import FailedRun, OnEvent

EXECUTORS = {
    "local": "harness.schedule.local",
    "ray": "harness.schedule.cluster.ray",
    "slurm": "harness.schedule.cluster.slurm",
}


def unfinished(specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The runs that are not complete; removes what killed processes left in the folders of all."""
    left = []
    for spec in specs:
        folder = RunFolder(results, spec.id)
        folder.tidy()
        if not folder.is_complete:
            left.append(spec)
    return left


def run_all(
    specs: Sequence[RunSpec],
    results: Path,
    schedule: ScheduleSpec | None = None,
    on_event: OnEvent = lambda spec, event: None,
) -> list[FailedRun]:
    """Execute runs; complete ones are left alone.

    Args:
        specs: what to run, in this order.
        results: the results folder.
        schedule: executor, slots, time limit, retries; None for one run at a time on each device of this machine.
        on_event: takes the events of those that are not complete.

    Returns:
        The runs that failed; the others are complete.

    Raises:
        UserError: the executor cannot be used as asked.
    """
    schedule = schedule or ScheduleSpec()
    todo = unfinished(specs, results)
    if not todo:
        return []
    executor = importlib.import_module(EXECUTORS[schedule.executor])
    failed: list[FailedRun] = executor.execute_runs(todo, results, schedule, on_event)
    return failed
