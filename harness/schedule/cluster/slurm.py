"""Runs on a Slurm cluster, through submitit: a job array an experiment, a job a run."""

import io
import math
import multiprocessing.forkserver
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError, first_line
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.units import SECONDS
from harness.results.failure import Failure
from harness.schedule.cluster.follower import names_in
from harness.schedule.cluster.node import compute, on_one_node, refuse_numbers, wants_gpu
from harness.schedule.cluster.scheduler import Ended, RemoteScheduler
from harness.schedule.events import FailedRun, OnEvent
from harness.schedule.worker import process_context
from harness.training.events import Notice

# Seconds between two questions to the queue, which serves many.
QUEUE_POLL = 10.0
# Time of a job beyond that of its attempts: imports, and what ends it in good order.
MARGIN_MINUTES = 5
# Jobs of an array; Slurm's own default for MaxArraySize is 1001.
ARRAY_SIZE = 1000
CPUS_BESIDE_GPU = 4
# How often a job may run out of its time and go on in a new one, in submitit's word.
MAX_TIMEOUTS = "max_num_timeout"
# What submitit does itself; everything else goes to sbatch as it is.
SUBMITIT_WORDS = ("setup", "teardown", "signal_delay_s", "srun_args", "use_srun", "array_parallelism")
NOT_OVER = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}
# Names of submitit's files before a job has its number.
NOT_SUBMITTED = r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh"
# Why jobs wait that will be started in their turn.
USUAL_REASONS = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency", "Cleaning")


class JobOnNode:
    """What a job does, in the form that submitit can start again: after preemption, or when the job's time is over.

    Args:
        run: arguments of `node.compute`.
    """

    def __init__(self, *run: Any) -> None:
        self.run = run

    def __call__(self) -> Failure | None:
        """Compute the run, or what is left of it."""
        # Slurm sends its warning to all processes of the job; only this one knows what to do with it.
        asked_to_requeue = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        process_context()
        multiprocessing.forkserver.ensure_running()
        signal.signal(signal.SIGUSR2, asked_to_requeue)
        signal.signal(signal.SIGTERM, leave)
        return compute(*self.run)

    def checkpoint(self) -> Any:
        """What is to be submitted when this job has to make room: the same; epochs are saved already."""
        from submitit.helpers import DelayedSubmission

        # The job is ending already: what follows is no reason to end its clearing up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return DelayedSubmission(self)


def leave(*_: Any) -> None:
    """End this process in good order: its run lets go of its claim, and nothing is noted as a failure."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def import_submitit() -> Any:
    """The library, on a machine that can submit jobs.

    Raises:
        UserError: it is not installed, or there is no Slurm here.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("executor 'slurm' needs submitit: pip install 'skipbench[slurm]'") from None
    missing = [tool for tool in ("sbatch", "squeue", "scancel", "srun") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"executor 'slurm': there is no '{missing[0]}' on this machine, start it on a login node")
    return submitit


def in_minutes(value: Any) -> int:
    """Minutes of a time as people write it: 30m, 2h, 1d, or Slurm's own forms such as 2:00:00 and 1-12:00:00.

    Raises:
        UserError: it cannot be read, or is a number without a unit, of which YAML makes one from 2:00:00.
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
    """How long a job may take: as asked, else as long as all attempts at its run.

    Raises:
        UserError: neither is told.
    """
    if "time" in schedule.slurm:
        return in_minutes(schedule.slurm["time"])
    if schedule.time_limit is None:
        raise UserError("executor 'slurm' needs to know how long a job may take: set schedule.slurm.time, such as 12h")
    return math.ceil(schedule.time_limit * (schedule.retries + 1) / 60) + MARGIN_MINUTES


def job_parameters(schedule: ScheduleSpec, gpu: bool, count: int) -> Settings:
    """What submitit is told: its own parameters, and as `additional_parameters` those of sbatch.

    Args:
        schedule: what the user asked for.
        gpu: whether a run needs a GPU.
        count: number of runs.

    Raises:
        UserError: no time is told, or one that cannot be read.
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


def ask(*words: str) -> str | None:
    """What a tool of Slurm prints; None if it fails, as it does while the controller is away."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def cluster_has_gpus(partition: str | None) -> bool:
    """Whether nodes, of that partition if it is named, declare GPUs."""
    told = ask("sinfo", "--noheader", "--format=%G", *([f"--partition={partition}"] if partition else []))
    return told is not None and "gpu" in told


def largest_array() -> int:
    """How many jobs an array may have on this cluster."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config") or "")
    return min(ARRAY_SIZE, int(match[1])) if match else ARRAY_SIZE


@dataclass(frozen=True)
class State:
    """A job as the queue shows it.

    Attributes:
        name: such as PENDING.
        reason: why it waits, or why it ended.
    """

    name: str
    reason: str


def read_queue(text: str) -> dict[str, State]:
    """Jobs by their ids (`12`, `12_0`), from lines `array id|index|state|reason`."""
    states = {}
    for line in text.splitlines():
        job, index, name, reason = line.strip().split("|", 3)
        states[job if index == "N/A" else f"{job}_{index}"] = State(name, reason)
    return states


class SlurmQueue:
    """Jobs of a Slurm cluster.

    Args:
        submitit: the library.
        specs: all runs of the experiment.
        results: the results folder, an absolute path.
        schedule: what the user asked for.
        on_event: takes notices.
    """

    limit: int | None = None

    def __init__(
        self, submitit: Any, specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec, on_event: OnEvent
    ) -> None:
        self.submitit = submitit
        self.schedule = schedule
        self.retries = schedule.retries
        self.results = results
        self.folder = results / "slurm"
        self.notify = lambda line: on_event(specs[0], Notice(line))
        there_are_gpus = cluster_has_gpus(schedule.slurm.get("partition"))
        self.gpu = any(wants_gpu(spec, schedule, there_are_gpus) for spec in specs)
        self.array_size = largest_array()
        self.jobs: dict[str, Any] = {}
        self._next_question = 0.0

    def submit(self, specs: Sequence[RunSpec]) -> None:
        """Hand runs over, as few job arrays as the cluster allows.

        Raises:
            UserError: Slurm refuses them.
        """
        parameters = job_parameters(self.schedule, self.gpu, len(specs))
        threads = self.schedule.threads or int(parameters["additional_parameters"].get("cpus_per_task", 1))
        local = on_one_node(self.schedule, threads, cpu_only=not self.gpu)
        where = (str(self.results), local.model_dump(mode="json"), os.getcwd())
        for start in range(0, len(specs), self.array_size):
            part = specs[start : start + self.array_size]
            jobs = self._submit_array([JobOnNode(spec.settings(), *where) for spec in part], parameters)
            self.jobs.update({spec.id: job for spec, job in zip(part, jobs, strict=True)})
            array = jobs[0].job_id.split("_")[0]
            self.notify(f"Slurm job {array}, runs: {len(part)}, logs: {self.folder}/{array}_*log.out")

    def _submit_array(self, work: list[JobOnNode], parameters: Settings) -> list[Any]:
        before = names_in(self.folder)
        try:
            executor = self.submitit.SlurmExecutor(self.folder, self.schedule.slurm.get(MAX_TIMEOUTS, 3))
            executor.update_parameters(**parameters)
            # submitit prints what sbatch says, and raises it as well.
            with redirect_stderr(io.StringIO()):
                jobs: list[Any] = executor.submit_array(work)
        except Exception as error:
            for name in names_in(self.folder) - before:
                if re.fullmatch(NOT_SUBMITTED, name):
                    (self.folder / name).unlink(missing_ok=True)
            raise UserError(f"Slurm does not take the jobs: {first_line(error)}") from error
        remove_links(self.folder)
        return jobs

    def ended(self) -> dict[str, Ended]:
        """Jobs that have ended since the last time, by run id."""
        names = names_in(self.folder)
        answered = {run_id: job for run_id, job in self.jobs.items() if job.paths.result_pickle.name in names}
        ended = {run_id: answer for run_id, job in answered.items() if (answer := read_answer(job))}
        silent = {run_id: job for run_id, job in self.jobs.items() if run_id not in ended}
        if silent and time.monotonic() >= self._next_question:
            self._next_question = time.monotonic() + QUEUE_POLL
            ended.update(self._gone(silent))
        for run_id in ended:
            clear_up(self.jobs.pop(run_id))
        return ended

    def _gone(self, jobs: dict[str, Any]) -> dict[str, Ended]:
        """Jobs without an answer that the queue does not hold any more."""
        text = ask("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%F|%K|%T|%r")
        if text is None:
            return {}
        states = read_queue(text)
        gone = {}
        for run_id, job in jobs.items():
            state = states.get(job.job_id)
            if state and state.name in NOT_OVER:
                if state.name == "PENDING" and state.reason not in USUAL_REASONS:
                    self.notify(f"Slurm lets jobs wait: {state.reason}")
                continue
            # The queue forgets jobs after minutes; accounting, where there is any, does not.
            name = state.name if state else accounted_state(job.job_id)
            gone[run_id] = read_answer(job) or Ended(
                "" if name == "COMPLETED" else f"Slurm says {name}",
                job.paths.stdout,
                is_cancelled=name.startswith("CANCELLED"),
                is_preempted=name == "PREEMPTED",
            )
        return gone

    def cancel(self) -> None:
        """Take all jobs that have not ended out of the queue."""
        if self.jobs:
            ask("scancel", *(job.job_id for job in self.jobs.values()))
            self.notify(f"{len(self.jobs)} Slurm jobs are cancelled")
        for job in self.jobs.values():
            clear_up(job)


def accounted_state(job_id: str) -> str:
    """The state of a job by the cluster's accounting; UNKNOWN without any."""
    told = ask("sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job_id}") or ""
    return next(iter(told.split("\n")), "") or "UNKNOWN"


def read_answer(job: Any) -> Ended | None:
    """What a job has left in its folder at its end; None if it has not ended, or died without a word."""
    try:
        kind, value = pickle.loads(job.paths.result_pickle.read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError):
        return None
    if kind == "success":
        return Ended("", job.paths.stdout, value)
    return Ended(f"the job says {str(value).strip().splitlines()[-1]}", job.paths.stdout)


def remove_links(folder: Path) -> None:
    """Remove the second names that submitit leaves of its scripts."""
    for path in folder.glob(".submission_file_*.sh"):
        if path.is_symlink():
            path.unlink(missing_ok=True)


def clear_up(job: Any) -> None:
    """Remove a job's files but its log and the script that shows how it was submitted."""
    for path in (job.paths.submitted_pickle, job.paths.result_pickle):
        path.unlink(missing_ok=True)


def execute(specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec, on_event: OnEvent) -> list[FailedRun]:
    """Execute runs on a Slurm cluster; returns those that failed.

    Raises:
        UserError: there is no Slurm here, or it refuses the jobs.
    """
    submitit = import_submitit()
    refuse_numbers(schedule)
    if schedule.runs_per_device > 1:
        raise UserError("schedule.runs_per_device: Slurm gives every job its own device; leave it out, or use shards")
    results = results.absolute()
    return RemoteScheduler(specs, results, SlurmQueue(submitit, specs, results, schedule, on_event), on_event).run()
