"""Executing runs: one small interface for all executors, from specs to the runs that failed.

`result.json` in a run's folder, never an executor's queue, says what is done; a claim in it says what is being done.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

from harness.clip.texts import OneOrMore
from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.garbage import no_garbage_search
from harness.results.claim import lease
from harness.results.index import planned_runs
from harness.results.origin import Origin
from harness.results.record import Result
from harness.schedule.events import FailedRun, OnEvent

EXECUTORS = {
    "local": "harness.schedule.local",
    "ray": "harness.schedule.cluster.ray",
    "slurm": "harness.schedule.cluster.slurm",
}


@no_garbage_search()
def unfinished(specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The runs that are not complete; removes what killed processes left in the folders of all.

    Raises:
        UserError: a complete one would have another result now, or there are some left and SKIPBENCH_LEASE is no
            positive number.
    """
    left = []
    unchanged: set[tuple[Origin, str, OneOrMore, str]] = set()
    for run in planned_runs(specs, results):
        spec = run.planned
        assert spec
        run.folder.tidy()
        if not run.folder.is_complete:
            left.append(spec)
        elif origin := run.origin:
            # Runs that differ in their seeds alone were decided by the same files and prompts.
            decided = (origin, spec.method, spec.data.templates, json.dumps(spec.options))
            if decided not in unchanged:
                assert run.result
                refuse_changed(run.result)
                unchanged.add(decided)
    if left:
        # Each run would fail by it, after everything was imported.
        lease()
    return left


def refuse_changed(result: Result) -> None:
    """Raise a UserError if what decided a result has changed since."""
    # Not at the top: it imports torch, which takes seconds, and is needed only beside complete runs.
    from harness.training.inputs import changes_since

    changes = changes_since(result)
    if changes:
        raise UserError(
            f"run {result.id} ({result.name}) is complete, but has changed since: {'; '.join(changes)}. "
            f"Compute it again with `skipbench rerun {result.id}`, or keep both with another results folder"
        )


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
