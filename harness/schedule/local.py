"""Runs on this machine: one per slot at a time, each in its own process."""

import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path

from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.claim import ClaimedError, holder_of
from harness.results.failure import CLAIMED, OUT_OF_MEMORY, TAKEN_OVER, FailedAttempt, Failure, RunFailure
from harness.results.folder import RunFolder
from harness.schedule.admission import Memory
from harness.schedule.companions import together_key
from harness.schedule.events import FailedRun, OnEvent
from harness.schedule.slots import Slot, make_slots
from harness.schedule.worker import Attempt, warm_up
from harness.training.events import (
    ComputedElsewhere,
    Done,
    Event,
    Failed,
    Notice,
    Retried,
    Started,
    TrackingOffline,
)

# Seconds between two looks at runs that other processes compute.
POLL = 1.0


@dataclass
class Job:
    """A run and its failed attempts.

    Attributes:
        spec: the run.
        folder: its folder.
        attempts: those that failed so far.
    """

    spec: RunSpec
    folder: RunFolder
    attempts: list[FailedAttempt] = field(default_factory=list)

    @cached_property
    def together(self) -> str | None:
        """As `together_key`; None too if a file that the run names cannot be read, as the run itself will tell."""
        with suppress(UserError):
            return together_key(self.spec)
        return None

    def trains_with(self, other: "Job") -> bool:
        """Whether another run may train as one with this one."""
        # The key takes long to compute, and there may be thousands of runs.
        return other.spec.method == self.spec.method and self.together is not None and self.together == other.together


class LocalScheduler:
    """Executes runs on this machine.

    Args:
        specs: what to run, in this order.
        results: the results folder.
        schedule: slots, time limit, retries.
        on_event: takes the events of the runs.
    """

    def __init__(self, specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec, on_event: OnEvent) -> None:
        self.results = results
        self.schedule = schedule
        self.on_event = on_event
        self.free: list[Slot] = make_slots(schedule, specs)[::-1]
        self.memory = Memory(schedule, [slot.device for slot in self.free])
        self.waiting = deque(Job(spec, RunFolder(results, spec.id)) for spec in specs)
        self.elsewhere: list[Job] = []
        self.running: dict[Attempt, tuple[list[Job], Slot]] = {}
        self.failed: list[FailedRun] = []
        self.offline = False

    def run(self) -> list[FailedRun]:
        """Execute everything and return the runs that failed. However it ends, no process is left behind."""
        specs = [job.spec for job in self.waiting]
        warm_up({spec.backbone for spec in specs}, len({spec.method for spec in specs}) > 2)
        try:
            while self.waiting or self.elsewhere or self.running:
                self._fill_slots()
                self._listen()
        finally:
            for attempt in self.running:
                attempt.process.terminate()
            for attempt, (jobs, _) in self.running.items():
                attempt.stop()
                for job in jobs:
                    job.folder.tidy()
        return self.failed

    def _fill_slots(self) -> None:
        self._look_elsewhere()
        crowded: list[Job] = []
        while self.free and self.waiting:
            job = self.waiting.popleft()
            if job.folder.is_complete:
                self._finish(job)
            elif holder := holder_of(job.folder.path):
                self.elsewhere.append(job)
                self.on_event(job.spec, ComputedElsewhere(str(holder)))
            else:
                self._place(job, crowded)
        self.waiting.extendleft(reversed(crowded))

    def _look_elsewhere(self) -> None:
        """Queue runs again whose claims other processes have released."""
        if self.waiting or not self.free:
            return
        for job in self.elsewhere[:]:
            if job.folder.is_complete or holder_of(job.folder.path) is None:
                self.elsewhere.remove(job)
                self.waiting.append(job)

    def _place(self, job: Job, crowded: list[Job]) -> None:
        """Start a run in the next slot; refuse one that can never fit its device, postpone others that do not fit."""
        spec = self.free[-1].place(job.spec)
        try:
            refusal = self.memory.refusal(spec)
        except UserError as error:
            refusal = str(error)
        if refusal:
            self._refuse(job, refusal)
        elif self.memory.has_room_for(spec, self._placed()):
            self._start([job, *self._companions(job, spec)], self.free.pop())
        else:
            crowded.append(job)

    def _refuse(self, job: Job, reason: str) -> None:
        with suppress(UserError):
            job.folder.create()
            with job.folder.claimed():
                job.folder.write_spec(job.spec)
        self._fail(job, Failure(OUT_OF_MEMORY, reason))

    def _placed(self) -> list[RunSpec]:
        """The runs that are computed now, on their devices."""
        return [spec for attempt in self.running for spec in attempt.specs]

    def _companions(self, job: Job, spec: RunSpec) -> list[Job]:
        """Take the jobs out of the queue that train as one with a run; one that failed before is tried alone."""
        if self.schedule.together == 1 or job.attempts:
            return []
        found: list[Job] = []
        placed = [*self._placed(), spec]
        for other in self.waiting:
            if len(found) == self.schedule.together - 1:
                break
            if job.trains_with(other) and self._is_fresh(other):
                placed_other = self.free[-1].place(other.spec)
                if self.memory.has_room_for(placed_other, placed):
                    placed.append(placed_other)
                    found.append(other)
        for other in found:
            self.waiting.remove(other)
        return found

    def _is_fresh(self, job: Job) -> bool:
        """Whether a run may be computed with others: it has not failed, and nobody has computed it meanwhile."""
        return not job.attempts and not job.folder.is_complete and holder_of(job.folder.path) is None

    def _start(self, jobs: list[Job], slot: Slot) -> None:
        specs = [slot.place(job.spec) for job in jobs]
        if self.offline:
            specs = [
                spec.model_copy(update={"wandb": spec.wandb.model_copy(update={"mode": "offline"})}) for spec in specs
            ]
        self.running[Attempt(specs, self.results, self.schedule.time_limit)] = jobs, slot
        for job in jobs:
            self.on_event(job.spec, Started(slot.device))

    def _listen(self) -> None:
        """Wait for an event, the end of a process, a time limit, or the next look at runs computed elsewhere."""
        limits = [left for attempt in self.running if (left := attempt.seconds_left) is not None]
        polls = [POLL] if self.elsewhere and self.free else []
        sources = [source for attempt in self.running for source in attempt.sources()]
        timeout = max(0.0, min([*limits, *polls], default=0.0)) if limits or polls else None
        if sources:
            wait(sources, timeout)
        elif polls:
            time.sleep(POLL)
        for attempt in list(self.running):
            self._attend(attempt)

    def _attend(self, attempt: Attempt) -> None:
        jobs, slot = self.running[attempt]
        by_id = {job.folder.path.name: job for job in jobs}
        ended = attempt.is_over
        for run_id, event in attempt.events():
            self._take(by_id[run_id], event)
        if not ended and (left := attempt.seconds_left) is not None and left <= 0:
            attempt.stop_for_time()
            ended = True
        if ended:
            failures = attempt.finish()
            del self.running[attempt]
            self.free.append(slot)
            for run_id, job in by_id.items():
                job.folder.tidy()
                self._conclude(job, attempt, failures.get(run_id))

    def _take(self, job: Job, event: Event) -> None:
        # One attempt decides for all: otherwise every run would wait for an unreachable server until its time-out.
        self.offline = self.offline or isinstance(event, TrackingOffline)
        self.on_event(job.spec, event)

    def _conclude(self, job: Job, attempt: Attempt, failure: Failure | None) -> None:
        if failure and failure.kind == TAKEN_OVER:
            self.on_event(job.spec, Notice(failure.reason))
        if job.folder.is_complete:
            self._finish(job)
            return
        failure = failure or Failure("error", "its process ended without a result")
        if failure.kind in (CLAIMED, TAKEN_OVER):
            self.elsewhere.append(job)
            return
        job.attempts.append(
            FailedAttempt(
                kind=failure.kind,
                reason=failure.reason,
                started=attempt.started,
                seconds=time.time() - attempt.started,
                host=socket.gethostname(),
                device=attempt.specs[0].runtime.device,
                epochs=job.folder.recorded_epochs,
            )
        )
        if failure.is_worth_a_retry and len(job.attempts) <= self.schedule.retries:
            self.waiting.append(job)
            self.on_event(job.spec, Retried(failure.reason))
            return
        self._fail(job, failure)

    def _fail(self, job: Job, failure: Failure) -> None:
        try:
            job.folder.write_failure(RunFailure(kind=failure.kind, reason=failure.reason, attempts=tuple(job.attempts)))
        except ClaimedError:
            # Another process computes it now, and what comes of that counts.
            self.elsewhere.append(job)
            return
        self.failed.append(FailedRun(job.spec, failure, job.folder.log_file))
        self.on_event(job.spec, Failed(failure.reason))

    def _finish(self, job: Job) -> None:
        self.on_event(job.spec, Done())


def execute_runs(specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec, on_event: OnEvent) -> list[FailedRun]:
    """Execute runs on this machine; returns those that failed."""
    return LocalScheduler(specs, results, schedule, on_event).run()
