"""What a Slurm job does, how long it may take, and what is asked of sbatch for it."""

import math
import multiprocessing.forkserver
import re
import signal
import sys
from contextlib import suppress
from typing import Any

from harness.errors import UserError
from harness.experiment.settings import Settings
from harness.experiment.spec import ScheduleSpec
from harness.machine.units import SECONDS
from harness.results.failure import Failure
from harness.schedule.cluster.node import compute
from harness.schedule.worker import process_context

# Time of a job beyond that of its attempts, for imports and an orderly end.
MARGIN_MINUTES = 5
CPUS_BESIDE_GPU = 4
# How often a job may exceed its time and continue in a new one, in submitit's words.
MAX_TIMEOUTS = "max_num_timeout"
# Parameters that submitit handles itself; all others are passed to sbatch.
SUBMITIT_WORDS = ("setup", "teardown", "signal_delay_s", "srun_args", "use_srun", "array_parallelism")


class JobOnNode:
    """What a job does, in the form that submitit can start again after preemption or at the end of the job's time.

    Args:
        run: arguments of `node.compute`.
    """

    def __init__(self, *run: Any) -> None:
        self.run = run

    def __call__(self) -> Failure | None:
        """Compute the run, or what is left of it."""
        # Slurm sends its warning to all processes of the job; only this one can handle it.
        asked_to_requeue = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        process_context()
        multiprocessing.forkserver.ensure_running()
        signal.signal(signal.SIGUSR2, asked_to_requeue)
        signal.signal(signal.SIGTERM, leave)
        return compute(*self.run)

    def checkpoint(self) -> Any:
        """What to submit when this job must end early: the same job, because its epochs are saved already."""
        from submitit.helpers import DelayedSubmission

        # The job is ending already: a further signal must not interrupt its clean-up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return DelayedSubmission(self)


def leave(*_: Any) -> None:
    """End this process in good order: its run releases its claim, and no failure is recorded."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def in_minutes(value: Any) -> int:
    """Minutes of a time such as 30m, 2h or 1d, or in Slurm's own forms such as 2:00:00 and 1-12:00:00.

    Raises:
        UserError: it cannot be read, or is a number without a unit, as YAML reads 2:00:00 without quotes.
    """
    text = str(value)
    if isinstance(value, str) and text[-1:] in SECONDS:
        with suppress(ValueError):
            return math.ceil(float(text[:-1]) * SECONDS[text[-1]] / 60)
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match or not isinstance(value, str) or not any(sign in text for sign in "-:"):
        raise UserError(f"schedule.slurm.time={value}: write 30m, 2h, 1d, or Slurm's form in quotes, such as '2:00:00'")
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1] is not None or match[4] is not None:
        hours, minutes, seconds = first, second, third
    else:
        hours, minutes, seconds = 0, first, second
    return math.ceil(days * 1440 + hours * 60 + minutes + seconds / 60)


def job_minutes(schedule: ScheduleSpec) -> int:
    """How long a job may take: as asked, otherwise as long as all attempts at its run.

    Raises:
        UserError: neither is known.
    """
    if "time" in schedule.slurm:
        return in_minutes(schedule.slurm["time"])
    if schedule.time_limit is None:
        raise UserError("executor 'slurm' needs to know how long a job may take: set schedule.slurm.time, such as 12h")
    return math.ceil(schedule.time_limit * (schedule.retries + 1) / 60) + MARGIN_MINUTES


def job_parameters(schedule: ScheduleSpec, gpu: bool, count: int) -> Settings:
    """Parameters of submitit; those of sbatch are its `additional_parameters`.

    Args:
        schedule: what the user asked for.
        gpu: whether a run needs a GPU.
        count: number of runs.

    Raises:
        UserError: the job's time is not given, or cannot be read.
    """
    asked = {key.replace("-", "_"): value for key, value in schedule.slurm.items()}
    for ours in ("time", MAX_TIMEOUTS):
        asked.pop(ours, None)
    own = {key: asked.pop(key) for key in SUBMITIT_WORDS if key in asked}
    if "mem_gb" in asked:
        asked["mem"] = f"{math.ceil(1024 * asked.pop('mem_gb'))}M"
    sbatch: Settings = {
        # A job is started again when its node fails.
        "requeue": True,
        "cpus_per_task": schedule.threads or (CPUS_BESIDE_GPU if gpu else 1),
    }
    if gpu and not any(key.startswith("gpu") or key == "gres" for key in asked):
        sbatch["gpus_per_node"] = 1
    sbatch.update(asked)
    return {
        "job_name": "skipbench",
        "array_parallelism": schedule.max_jobs or count,
        "stderr_to_stdout": True,
        **own,
        "time": job_minutes(schedule),
        "additional_parameters": {key: value for key, value in sbatch.items() if value not in (None, False)},
    }
