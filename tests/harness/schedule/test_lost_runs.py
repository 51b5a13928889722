"""What a scheduler makes of a run that another process has taken over, or computes now."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.failure import CLAIMED, TAKEN_OVER, Failure
from harness.results.folder import RunFolder
from harness.schedule.cluster import scheduler as remote
from harness.schedule.cluster.scheduler import Ended, RemoteScheduler
from harness.schedule.local import Job, LocalScheduler
from harness.training.events import Done, Event, Notice, Retried

Make = Callable[..., RunSpec]
ATTEMPT: Any = SimpleNamespace(started=0.0, specs=[SimpleNamespace(runtime=SimpleNamespace(device="cpu"))])
LOST = Failure(TAKEN_OVER, "run abc was taken over by process 1 on b while this process slept")


def local(spec: RunSpec, results: Path) -> tuple[LocalScheduler, Job, list[Event]]:
    """A scheduler that has started nothing, and one of its jobs."""
    events: list[Event] = []
    schedule = ScheduleSpec(devices=("cpu",), retries=1)
    scheduler = LocalScheduler([spec], results, schedule, lambda _, event: events.append(event))
    job = Job(spec, RunFolder(results, spec.id))
    job.folder.create()
    return scheduler, job, events


def test_a_run_that_was_taken_over_is_waited_for_and_told(make_spec: Make, tmp_path: Path) -> None:
    scheduler, job, events = local(make_spec("zeroshot"), tmp_path)
    scheduler._conclude(job, ATTEMPT, LOST)
    assert (scheduler.elsewhere, scheduler.failed, job.attempts) == ([job], [], [])
    assert events == [Notice(LOST.reason)]
    job.folder.result_file.write_text("{}")
    scheduler._conclude(job, ATTEMPT, LOST)
    assert events[1:] == [Notice(LOST.reason), Done()]
    assert not job.folder.failure_file.exists()


def test_a_run_that_is_claimed_is_waited_for(make_spec: Make, tmp_path: Path) -> None:
    scheduler, job, events = local(make_spec("zeroshot"), tmp_path)
    scheduler._conclude(job, ATTEMPT, Failure(CLAIMED, "is being computed by process 1 on b"))
    assert (scheduler.elsewhere, scheduler.failed, events) == ([job], [], [])


def test_a_failure_here_does_not_count_while_another_process_computes_the_run(make_spec: Make, tmp_path: Path) -> None:
    scheduler, job, events = local(make_spec("zeroshot"), tmp_path)
    with RunFolder(tmp_path, job.spec.id).claimed():
        scheduler._conclude(job, ATTEMPT, Failure("mistake", "no such picture"))
    assert (scheduler.elsewhere, scheduler.failed, events) == ([job], [], [])
    assert not job.folder.failure_file.exists()
    scheduler._conclude(job, ATTEMPT, Failure("mistake", "no such picture"))
    assert [failed.failure.reason for failed in scheduler.failed] == ["no such picture"]
    assert job.folder.failure_file.exists()


def test_a_run_with_a_retry_left_is_tried_again(make_spec: Make, tmp_path: Path) -> None:
    scheduler, job, events = local(make_spec("zeroshot"), tmp_path)
    scheduler.waiting.clear()
    scheduler._conclude(job, ATTEMPT, Failure("killed", "by somebody"))
    assert list(scheduler.waiting) == [job]
    assert events == [Retried("by somebody")]


@pytest.mark.parametrize("kind", [CLAIMED, TAKEN_OVER, "mistake"])
def test_a_job_of_a_cluster_whose_run_is_not_its_own_is_not_a_failure(
    kind: str, make_spec: Make, tmp_path: Path
) -> None:
    spec = make_spec("zeroshot")
    queue: Any = SimpleNamespace(retries=0)
    events: list[Event] = []
    scheduler = RemoteScheduler([spec], tmp_path, queue, lambda _, event: events.append(event))
    scheduler.waiting.clear()
    job = remote.Job(spec, RunFolder(tmp_path, spec.id))
    job.folder.create()
    ended = Ended("the job says so", Path("log"), Failure(kind, "why"))
    with RunFolder(tmp_path, spec.id).claimed():
        scheduler._conclude(job, ended)
    assert list(scheduler.waiting) == [job]
    assert (scheduler.failed, events) == ([], [])
    assert not job.folder.failure_file.exists()
