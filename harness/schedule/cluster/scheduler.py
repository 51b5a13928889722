"""Runs on a cluster: submitted to its queue and followed by their folders. The queue is asked only how jobs ended."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.experiment.spec import RunSpec
from harness.results.claim import ClaimedError, heartbeat, holder_of
from harness.results.failure import CLAIMED, ERROR, KILLED, TAKEN_OVER, FailedAttempt, Failure, RunFailure
from harness.results.folder import RunFolder, legible_failure
from harness.schedule.cluster.follower import Follower
from harness.schedule.cluster.node import LATE
from harness.schedule.events import FailedRun, OnEvent
from harness.training.events import ComputedElsewhere, Done, Failed, Retried

# Seconds between two looks at the folders. With many runs a look takes long; it may use at most a tenth of the time.
POLL = 1.0
SHARE = 0.1
# Seconds after a job's failure until the folder of its run must show the reason.
AFTER_FAILURE = 3.0
# Seconds in which a job may end after its run is over.
GRACE = 10.0


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        says: the queue's status of a job that did not finish, e.g. 'Slurm says TIMEOUT'; empty if the job finished.
        log: the job's log.
        failure: why the run failed, if the job reported it.
        is_cancelled: the job was cancelled by someone else: it is not submitted again.
        is_preempted: the job was preempted: submitting it again does not count as an attempt.
    """

    says: str
    log: Path
    failure: Failure | None = None
    is_cancelled: bool = False
    is_preempted: bool = False


class Queue(Protocol):
    """What a cluster must provide."""

    retries: int
    """How often we submit a job again that ended without a reason."""
    limit: int | None
    """Most jobs in the queue at a time; None for no limit."""

    def submit(self, specs: Sequence[RunSpec]) -> None:
        """Submit runs, one job per run."""

    def ended(self) -> dict[str, Ended]:
        """Jobs that have ended since the last time, by run id."""

    def cancel(self) -> None:
        """Cancel all jobs that have not ended."""


@dataclass
class Job:
    """A run that is submitted.

    Attributes:
        spec: the run.
        folder: its folder.
        lost: attempts that ended without a result.
        preemptions: how many of them were preempted.
        submitted: when it was submitted last.
        ended: how its job ended, as long as the run's folder does not show it yet.
        patience: until when to wait for the folder, by the monotonic clock.
    """

    spec: RunSpec
    folder: RunFolder
    lost: list[FailedAttempt] = field(default_factory=list)
    preemptions: int = 0
    submitted: float = 0.0
    ended: Ended | None = None
    patience: float = 0.0


class RemoteScheduler:
    """Executes runs on a cluster.

    Args:
        specs: what to run, in this order.
        results: the results folder, an absolute path.
        queue: the cluster's.
        on_event: takes what happens.
    """

    def __init__(self, specs: Sequence[RunSpec], results: Path, queue: Queue, on_event: OnEvent) -> None:
        self.queue = queue
        self.on_event = on_event
        self.follower = Follower(specs, results)
        self.waiting = deque(Job(spec, RunFolder(results, spec.id)) for spec in specs)
        self.elsewhere: list[Job] = []
        self.queued: dict[str, Job] = {}
        self.over: set[str] = set()
        self.failed: list[FailedRun] = []
        self._next_look_elsewhere = 0.0

    def run(self) -> list[FailedRun]:
        """Execute everything; the runs that failed. However it ends, no job is left in the queue."""
        try:
            while self.waiting or self.elsewhere or self._unfinished():
                self._step()
            end = time.monotonic() + GRACE
            while self.queued and time.monotonic() < end:
                self._step()
        finally:
            self.queue.cancel()
            for job in self.queued.values():
                job.folder.tidy()
        return self.failed

    def _unfinished(self) -> set[str]:
        """Runs that are handed over and not over."""
        return self.queued.keys() - self.over

    def _step(self) -> None:
        """Hand over what there is room for, look what became of the rest, and rest."""
        begin = time.monotonic()
        self._look_elsewhere()
        self._submit()
        self._look()
        self._collect()
        time.sleep(max(POLL, (time.monotonic() - begin) / SHARE))

    def _submit(self) -> None:
        chosen = []
        while self.waiting and (self.queue.limit is None or len(self.queued) < self.queue.limit):
            job = self.waiting.popleft()
            holder = None if job.folder.is_complete else holder_of(job.folder.path)
            if holder:
                self._leave_elsewhere(job, str(holder))
            elif job.spec.id not in self.over:
                job.folder.create()
                job.submitted, job.ended = time.time(), None
                self.queued[job.spec.id] = job
                chosen.append(job.spec)
        if chosen:
            self.queue.submit(chosen)

    def _leave_elsewhere(self, job: Job, holder: str) -> None:
        self.elsewhere.append(job)
        self.on_event(job.spec, ComputedElsewhere(holder))

    def _look_elsewhere(self) -> None:
        """Queue runs again whose claims other processes have released."""
        if time.monotonic() < self._next_look_elsewhere:
            return
        self._next_look_elsewhere = time.monotonic() + heartbeat()
        for job in self.elsewhere[:]:
            if job.spec.id in self.over or holder_of(job.folder.path) is None:
                self.elsewhere.remove(job)
                self.waiting.append(job)

    def _look(self) -> None:
        """Report the events that the folders show."""
        for spec, event in self.follower.look():
            folder = RunFolder(self.follower.results, spec.id)
            if isinstance(event, Done):
                self.over.add(spec.id)
            elif isinstance(event, Failed):
                failure = legible_failure(folder)
                kind = failure.kind if failure else ERROR
                self._give_up(spec, Failure(kind, event.reason), folder.log_file)
            self.on_event(spec, event)

    def _collect(self) -> None:
        """Handle jobs that have ended: their runs are over, will be once the folder shows it, or are lost."""
        for run_id, ended in self.queue.ended().items():
            job = self.queued[run_id]
            job.ended = ended
            # A job that failed wrote what it had to say before; of one that came to its end there is something to see.
            job.patience = time.monotonic() + (AFTER_FAILURE if ended.says or ended.failure else LATE)
        for run_id, job in list(self.queued.items()):
            if job.ended is None:
                continue
            claimed = job.ended.failure is not None and job.ended.failure.kind in (CLAIMED, TAKEN_OVER)
            if run_id in self.over or claimed or time.monotonic() > job.patience:
                del self.queued[run_id]
                job.folder.tidy()
                if run_id not in self.over:
                    self._conclude(job, job.ended)

    def _conclude(self, job: Job, ended: Ended) -> None:
        """Handle a job that ended although its folder does not show that its run is over."""
        holder = holder_of(job.folder.path)
        if holder and not ended.says:
            self._leave_elsewhere(job, str(holder))
            return
        if ended.failure and ended.failure.kind in (CLAIMED, TAKEN_OVER):
            self.waiting.append(job)
            return
        failure = ended.failure or Failure(KILLED, f"its job ended without a result: {ended.says or 'no reason given'}")
        job.lost.append(
            FailedAttempt(
                kind=failure.kind,
                reason=failure.reason,
                started=job.submitted,
                seconds=time.time() - job.submitted,
                epochs=job.folder.recorded_epochs,
            )
        )
        job.preemptions += ended.is_preempted
        is_final = ended.failure is not None or ended.is_cancelled
        if not is_final and len(job.lost) - job.preemptions <= self.queue.retries:
            self.waiting.append(job)
            self.on_event(job.spec, Retried(failure.reason))
            return
        try:
            job.folder.write_failure(RunFailure(kind=failure.kind, reason=failure.reason, attempts=tuple(job.lost)))
        except ClaimedError:
            self.waiting.append(job)
            return
        del self.follower.following[job.spec.id]
        self._give_up(job.spec, failure, ended.log)
        self.on_event(job.spec, Failed(failure.reason))

    def _give_up(self, spec: RunSpec, failure: Failure, log: Path) -> None:
        self.over.add(spec.id)
        self.failed.append(FailedRun(spec, failure, log))
