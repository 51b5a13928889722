"""Runs on a Slurm cluster, through submitit: one job array per experiment, one job per run."""

import io
import os
import pickle
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from harness.errors import UserError, first_line
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.schedule.cluster import slurm_tools
from harness.schedule.cluster.follower import names_in
from harness.schedule.cluster.node import on_one_node, refuse_numbers, refuse_together, wants_gpu
from harness.schedule.cluster.scheduler import Ended, RemoteScheduler
from harness.schedule.cluster.slurm_job import MAX_TIMEOUTS, JobOnNode, job_parameters
from harness.schedule.events import FailedRun, OnEvent
from harness.training.events import Notice

# Seconds between two requests to the queue, which serves many users.
QUEUE_POLL = 10.0
# Names of submitit's files before a job has its number.
NOT_SUBMITTED = r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh"


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
        there_are_gpus = slurm_tools.cluster_has_gpus(schedule.slurm.get("partition"))
        self.gpu = any(wants_gpu(spec, schedule, there_are_gpus) for spec in specs)
        self.array_size = slurm_tools.largest_array()
        self.jobs: dict[str, Any] = {}
        self._next_question = 0.0

    def submit(self, specs: Sequence[RunSpec]) -> None:
        """Submit runs, in as few job arrays as the cluster allows.

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
            # submitit prints what sbatch reports, and raises it as well.
            with redirect_stderr(io.StringIO()):
                jobs: list[Any] = executor.submit_array(work)
        except Exception as error:
            for name in names_in(self.folder) - before:
                if re.fullmatch(NOT_SUBMITTED, name):
                    (self.folder / name).unlink(missing_ok=True)
            raise UserError(f"Slurm does not accept the jobs: {first_line(error)}") from error
        remove_links(self.folder)
        return jobs

    def ended(self) -> dict[str, Ended]:
        """Jobs that have ended since the last call, by run id."""
        names = names_in(self.folder)
        answered = {run_id: job for run_id, job in self.jobs.items() if job.paths.result_pickle.name in names}
        ended = {run_id: answer for run_id, job in answered.items() if (answer := read_answer(job))}
        silent = {run_id: job for run_id, job in self.jobs.items() if run_id not in ended}
        if silent and time.monotonic() >= self._next_question:
            self._next_question = time.monotonic() + QUEUE_POLL
            ended.update(self._gone(silent))
        for run_id in ended:
            remove_pickles(self.jobs.pop(run_id))
        return ended

    def _gone(self, jobs: dict[str, Any]) -> dict[str, Ended]:
        """Jobs without an answer that are no longer in the queue, by run id."""
        states = slurm_tools.queued_states()
        if states is None:
            return {}
        gone = {}
        for run_id, job in jobs.items():
            state = states.get(job.job_id)
            if state and not state.is_over:
                if state.waits_unusually:
                    self.notify(f"Slurm lets jobs wait: {state.reason}")
                continue
            # The queue forgets jobs after minutes; accounting, if the cluster has it, does not.
            name = state.name if state else slurm_tools.accounted_state(job.job_id)
            gone[run_id] = read_answer(job) or Ended(
                "" if name == "COMPLETED" else f"Slurm says {name}",
                job.paths.stdout,
                is_cancelled=name.startswith("CANCELLED"),
                is_preempted=name == "PREEMPTED",
            )
        return gone

    def cancel(self) -> None:
        """Cancel all jobs that have not ended."""
        if self.jobs:
            slurm_tools.cancel_jobs([job.job_id for job in self.jobs.values()])
            self.notify(f"{len(self.jobs)} Slurm jobs are cancelled")
        for job in self.jobs.values():
            remove_pickles(job)


def read_answer(job: Any) -> Ended | None:
    """What a job wrote into its folder at its end; None if it has not ended, or died without writing anything."""
    try:
        kind, value = pickle.loads(job.paths.result_pickle.read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError):
        return None
    if kind == "success":
        return Ended("", job.paths.stdout, value)
    return Ended(f"the job says {str(value).strip().splitlines()[-1]}", job.paths.stdout)


def remove_links(folder: Path) -> None:
    """Remove the symbolic links to its scripts that submitit leaves behind."""
    for path in folder.glob(".submission_file_*.sh"):
        if path.is_symlink():
            path.unlink(missing_ok=True)


def remove_pickles(job: Any) -> None:
    """Remove a job's files except its log and the script by which it was submitted."""
    for path in (job.paths.submitted_pickle, job.paths.result_pickle):
        path.unlink(missing_ok=True)


def execute_runs(specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec, on_event: OnEvent) -> list[FailedRun]:
    """Execute runs on a Slurm cluster; returns those that failed.

    Raises:
        UserError: there is no Slurm here, or it refuses the jobs.
    """
    submitit = import_submitit()
    refuse_numbers(schedule)
    refuse_together(schedule)
    if schedule.runs_per_device > 1:
        raise UserError("schedule.runs_per_device: Slurm gives every job its own device; leave it out, or use shards")
    results = results.absolute()
    return RemoteScheduler(specs, results, SlurmQueue(submitit, specs, results, schedule, on_event), on_event).run()
