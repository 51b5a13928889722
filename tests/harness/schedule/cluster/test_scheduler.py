"""Runs on a cluster, with a queue made by hand that answers as a real one may."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.results.failure import CLAIMED, Failure, RunFailure
from harness.results.folder import RunFolder
from harness.schedule.cluster import scheduler as remote
from harness.schedule.cluster.scheduler import Ended, RemoteScheduler
from harness.schedule.events import FailedRun
from harness.training.events import ComputedElsewhere, Done, Event, Failed, Retried

Make = Callable[..., RunSpec]
LOG = Path("job.log")
NODE_FAILED = Ended("Slurm says NODE_FAIL", LOG)
QUIET = Ended("", LOG)


class FakeQueue:
    """Answers every submission with the next of some deeds."""

    def __init__(self, results: Path, *deeds: Any, retries: int = 1, limit: int | None = None) -> None:
        self.results = results
        self.deeds = list(deeds)
        self.retries = retries
        self.limit = limit
        self.submitted: list[list[str]] = []
        self.open: dict[str, Any] = {}
        self.most = 0
        self.cancelled: list[str] = []

    def submit(self, specs: Sequence[RunSpec]) -> None:
        self.submitted.append([spec.id for spec in specs])
        self.open.update({spec.id: self.deeds.pop(0) for spec in specs})
        self.most = max(self.most, len(self.open))

    def ended(self) -> dict[str, Ended]:
        taken, self.open = self.open, {}
        return {run_id: deed(RunFolder(self.results, run_id)) for run_id, deed in taken.items()}

    def cancel(self) -> None:
        self.cancelled = list(self.open)


def finish(folder: RunFolder) -> Ended:
    folder.result_file.write_text("{}")
    return QUIET


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"POLL": 0.01, "AFTER_FAILURE": 0.03, "LATE": 0.1}.items():
        monkeypatch.setattr(remote, name, seconds)
    monkeypatch.setenv("SKIPBENCH_LEASE", "0.6")


def execute(spec: RunSpec, queue: FakeQueue) -> tuple[list[FailedRun], list[Event]]:
    events: list[Event] = []
    failed = RemoteScheduler([spec], queue.results, queue, lambda _, event: events.append(event)).run()
    return failed, events


def test_a_job_that_died_is_submitted_again(make_spec: Make, tmp_path: Path) -> None:
    queue = FakeQueue(tmp_path, lambda _: NODE_FAILED, finish)
    failed, news = execute(make_spec("zeroshot"), queue)
    assert failed == []
    assert len(queue.submitted) == 2
    assert news == [Retried("its job ended without a result: Slurm says NODE_FAIL"), Done()]


def test_jobs_that_go_on_dying_are_a_failure_with_what_the_queue_says(make_spec: Make, tmp_path: Path) -> None:
    queue = FakeQueue(tmp_path, *[lambda _: NODE_FAILED] * 2)
    spec = make_spec("zeroshot")
    (failed,), _ = execute(spec, queue)
    assert "NODE_FAIL" in failed.failure.reason
    assert failed.log == LOG
    told = RunFolder(tmp_path, spec.id).read_failure()
    assert told is not None
    assert len(told.attempts) == 2


def test_preemption_is_no_attempt_and_a_cancelled_job_stays_cancelled(make_spec: Make, tmp_path: Path) -> None:
    preempted = Ended("Slurm says PREEMPTED", LOG, is_preempted=True)
    cancelled = Ended("Slurm says CANCELLED", LOG, is_cancelled=True)
    queue = FakeQueue(tmp_path, *[lambda _: preempted] * 3, lambda _: cancelled)
    (failed,), news = execute(make_spec("zeroshot"), queue)
    assert "CANCELLED" in failed.failure.reason
    assert [type(event) for event in news] == [Retried] * 3 + [Failed]


def test_a_failure_that_the_folder_tells_is_final(make_spec: Make, tmp_path: Path) -> None:
    def fail(folder: RunFolder) -> Ended:
        folder.write_failure(RunFailure(kind="diverged", reason="the loss is nan"))
        return Ended("", LOG, Failure("diverged", "the loss is nan"))

    spec = make_spec("zeroshot")
    (failed,), news = execute(spec, FakeQueue(tmp_path, fail))
    assert failed.failure == Failure("diverged", "the loss is nan")
    assert failed.log == RunFolder(tmp_path, spec.id).log_file
    assert news == [Failed("the loss is nan")]


def test_a_failure_that_the_folder_cannot_tell_is_told_by_the_job(make_spec: Make, tmp_path: Path) -> None:
    failure = Failure("mistake", "the results folder is not there on node n1")
    (failed,), _ = execute(make_spec("zeroshot"), FakeQueue(tmp_path, lambda _: Ended("", LOG, failure)))
    assert failed.failure == failure


def test_files_may_come_late(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LATE", 5.0)
    spec = make_spec("zeroshot")
    queue = FakeQueue(tmp_path, lambda _: QUIET)
    looks = iter(range(10))
    collect = RemoteScheduler._collect

    def late(self: RemoteScheduler) -> None:
        collect(self)
        if next(looks) == 4:
            finish(RunFolder(tmp_path, spec.id))

    monkeypatch.setattr(RemoteScheduler, "_collect", late)
    failed, news = execute(spec, queue)
    assert (failed, news, len(queue.submitted)) == ([], [Done()], 1)


def test_a_run_that_another_process_computes_is_waited_for(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("zeroshot")
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    held = folder.claimed()
    held.__enter__()

    def let_go(_: Any, event: Event) -> None:
        if isinstance(event, ComputedElsewhere):
            held.__exit__(None, None, None)

    queue = FakeQueue(tmp_path, lambda _: Ended("", LOG, Failure(CLAIMED, "by another")), finish)
    assert RemoteScheduler([spec], tmp_path, queue, let_go).run() == []
    assert len(queue.submitted) == 2


def test_no_more_jobs_at_a_time_than_asked_for(make_spec: Make, tmp_path: Path) -> None:
    specs = [make_spec("zeroshot", seed=seed) for seed in range(5)]
    queue = FakeQueue(tmp_path, *[finish] * 5, limit=2)
    assert RemoteScheduler(specs, tmp_path, queue, lambda *_: None).run() == []
    assert queue.most == 2


def test_ctrl_c_takes_the_jobs_out_of_the_queue(make_spec: Make, tmp_path: Path) -> None:
    queue = FakeQueue(tmp_path, finish)
    spec = make_spec("zeroshot")

    def interrupt() -> dict[str, Ended]:
        raise KeyboardInterrupt

    queue.ended = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        RemoteScheduler([spec], tmp_path, queue, lambda *_: None).run()
    assert queue.cancelled == [spec.id]
