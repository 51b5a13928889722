"""What a node of a cluster does for one run: it executes it as a single machine does."""

import os
import socket
import time
from pathlib import Path

from harness.errors import UserError
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec, ScheduleSpec, parse_run_spec
from harness.results.claim import ClaimedError, holder_of
from harness.results.failure import CLAIMED, TAKEN_OVER, Failure, RunFailure, explain_exception
from harness.results.folder import RunFolder
from harness.schedule import run_all

# Seconds that a network file system may take to show what another machine has created.
LATE = 60.0
POLL = 0.5


def on_one_node(schedule: ScheduleSpec, threads: int, cpu_only: bool) -> ScheduleSpec:
    """The schedule of one run on its node: that of a single machine, on the devices that the cluster assigns to it."""
    return schedule.model_copy(
        update={
            "executor": "local",
            "devices": ("cpu",) if cpu_only else None,
            "threads": threads,
            "runs_per_device": 1,
            "share_busy_devices": schedule.share_busy_devices or schedule.runs_per_device > 1,
        }
    )


def refuse_numbers(schedule: ScheduleSpec) -> None:
    """Raise a UserError if devices are chosen by number, because a cluster assigns them."""
    if schedule.devices not in (None, ("cpu",)):
        asked = ",".join(schedule.devices)
        raise UserError(f"--devices {asked}: executor '{schedule.executor}' gives out devices itself, leave it out")


def refuse_together(schedule: ScheduleSpec) -> None:
    """Raise a UserError if runs are to train as one, because a cluster computes each run by itself."""
    if schedule.together > 1:
        raise UserError(f"schedule.together: executor '{schedule.executor}' computes every run by itself, leave it out")


def wants_gpu(spec: RunSpec, schedule: ScheduleSpec, there_are_gpus: bool) -> bool:
    """Whether to request a GPU for a run.

    Args:
        spec: the run.
        schedule: what the user asked for.
        there_are_gpus: whether the cluster has GPUs.
    """
    if schedule.devices == ("cpu",) or spec.runtime.device == "cpu":
        return False
    return there_are_gpus or spec.runtime.device != "auto"


def compute(settings: Settings, results: str, schedule: Settings, folder: str) -> Failure | None:
    """Compute a run on this machine, unless it is complete or another process computes it.

    Args:
        settings: of the run.
        results: the results folder, an absolute path.
        schedule: as `on_one_node` made it.
        folder: where the command was started; relative paths in the settings start there.

    Returns:
        Why the run failed (kind `claimed` if another process computes it), or None.
    """
    if os.path.isdir(folder):
        os.chdir(folder)
    run_folder: RunFolder | None = None
    try:
        spec = parse_run_spec(settings)
        run_folder = find_folder(spec, Path(results))
        holder = None if run_folder.is_complete else holder_of(run_folder.path)
        if holder:
            return Failure(CLAIMED, f"it is being computed by {holder}")
        failed = run_all([spec], Path(results), ScheduleSpec.model_validate(schedule))
        return failed[0].failure if failed else None
    except Exception as error:
        failure = explain_exception(error)
        if run_folder is not None and failure.kind not in (CLAIMED, TAKEN_OVER):
            try:
                run_folder.write_failure(RunFailure(kind=failure.kind, reason=failure.reason))
            except ClaimedError as claimed:
                return explain_exception(claimed)
        return failure


def find_folder(spec: RunSpec, results: Path) -> RunFolder:
    """The run's folder, which the machine that submitted the run has created.

    Raises:
        UserError: it does not exist here, so this machine does not see the same results folder.
    """
    folder = RunFolder(results, spec.id)
    end = time.monotonic() + LATE
    while not folder.path.is_dir():
        if time.monotonic() > end:
            raise UserError(
                f"'{folder.path}' is not there on node {socket.gethostname()}: choose a results folder on a file "
                "system that all nodes share"
            )
        time.sleep(POLL)
    return folder
