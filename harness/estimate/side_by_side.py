"""Estimates of many runs, in several processes side by side: each is Python on one core."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.errors import UserError
from harness.estimate.estimator import Estimate
from harness.estimate.fit import Capacity, shared_estimator
from harness.experiment.spec import RunSpec
from harness.machine.processes import start_method

# A process takes seconds to import what it needs: fewer questions than this are answered in the one that asks.
FEWEST = 4


@dataclass(frozen=True)
class Question:
    """What is to be estimated.

    Attributes:
        spec: the run.
        classes: number of classes; None for the data set's.
        device: `cpu` or `cuda`.
        limit: bytes, to find the largest batch that needs no more; None to find none.
    """

    spec: RunSpec
    classes: int | None
    device: str
    limit: int | None


@dataclass(frozen=True)
class Answer:
    """What was found: the estimate, with the largest batch where one was asked for and fits; or why there is none."""

    estimate: Estimate | None = None
    largest_batch: int | None = None
    refusal: str = ""


def answer(question: Question) -> Answer:
    """Estimate one run in this process."""
    try:
        found = shared_estimator().estimate(question.spec, question.classes, question.device)
        if question.limit is None:
            return Answer(found)
        capacity = Capacity(shared_estimator(), question.device, question.classes)
        return Answer(found, capacity.largest_batch(question.spec, found, question.limit))
    except UserError as error:
        return Answer(refusal=str(error))


def answers(questions: Sequence[Question], processes: int) -> Iterator[Answer]:
    """Answers in the order of the questions, each as soon as it and those before it are there.

    Args:
        questions: what is to be estimated.
        processes: how many at once; with one, and with few questions, everything happens in this process.
    """
    processes = min(processes, len(questions))
    if processes < 2 or len(questions) < FEWEST:
        yield from map(answer, questions)
        return
    with multiprocessing.get_context(start_method()).Pool(processes, initializer=_leave_interrupts_to_parent) as pool:
        yield from pool.imap(answer, questions)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
