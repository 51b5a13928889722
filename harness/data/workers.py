"""Processes that make squares of pictures, which may live longer than one pass over these.

What they do is told batch by batch, so that the same processes serve all picture sets of a run: training, choosing and
evaluation. To start processes anew for every epoch takes longer than the epoch where little is trained.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from harness.data.views import Reader, Source, Transform, View, Wanted
from harness.errors import UserError

# Decoded images are kept in memory up to this many bytes, of a picture set or in all workers together; the embedded
# data sets need 24 MB.
DECODED_LIMIT = 256 * 2**20


class Job(NamedTuple):
    """One batch.

    Attributes:
        source: of its pictures.
        transform: that makes squares of them.
        wanted: which views, in order.
    """

    source: Source
    transform: Transform
    wanted: list[Wanted]


class Batch(NamedTuple):
    """Squares.

    Attributes:
        pixels: uint8 (B, 3, S, S).
        spared: B numbers, seconds that each square would have taken without a store, beside those that it took.
        problem: of the store, in words; empty if there is none.
    """

    pixels: Tensor
    spared: list[float]
    problem: str


def load_batch(reader: Reader, job: Job) -> Batch | UserError:
    """The squares of a batch; for a broken picture the error, because an exception in a worker loses its form."""
    views: list[View] = []
    for wanted in job.wanted:
        try:
            views.append(reader.view(job.transform, wanted))
        except UserError as error:
            return error
    store = job.source.store
    spared = [view.spared for view in views]
    return Batch(torch.stack([view.pixels for view in views]), spared, store.problem() if store else "")


class Jobs(Dataset[Batch | UserError]):
    """What a worker does; the loader's batch sampler gives jobs where it usually gives positions."""

    def __init__(self) -> None:
        self._readers: dict[Source, Reader] = {}

    def __getitems__(self, job: Job) -> Batch | UserError:
        if job.source not in self._readers:
            info = get_worker_info()
            limit = DECODED_LIMIT // (info.num_workers if info else 1)
            self._readers[job.source] = Reader(job.source, limit, holds_fixed=False)
        return load_batch(self._readers[job.source], job)


class Given:
    """A batch sampler that gives what it is told to."""

    def __init__(self) -> None:
        self.jobs: Sequence[Job] = []

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


def as_it_is(batch: Batch | UserError) -> Batch | UserError:
    """A job's result is a batch already."""
    return batch


class Workers:
    """Processes that take jobs, started with the first of them.

    Args:
        count: of processes.
        pin_memory: for fast transfers to a GPU.
    """

    def __init__(self, count: int, pin_memory: bool) -> None:
        self.count = count
        self.pin_memory = pin_memory
        self._given = Given()
        # With a generator of its own the loader does not use random numbers of the training.
        self._loader = DataLoader(
            Jobs(),
            batch_sampler=self._given,  # type: ignore[arg-type]
            num_workers=count,
            collate_fn=as_it_is,  # type: ignore[arg-type]
            pin_memory=pin_memory,
            persistent_workers=True,
            generator=torch.Generator(),
        )

    def do(self, jobs: Sequence[Job]) -> Iterator[Batch | UserError]:
        """The results of jobs, in order."""
        self._given.jobs = jobs
        return iter(self._loader)


_kept: list[Workers] | None = None
"""Workers that nobody uses now; None: they are not kept."""


@contextmanager
def kept_workers() -> Iterator[None]:
    """Keep worker processes from one pass to the next, until this ends."""
    global _kept
    outer, _kept = _kept, []
    try:
        yield
    finally:
        _kept = outer


def work(jobs: Sequence[Job], count: int, pin_memory: bool) -> Iterator[Batch | UserError]:
    """The results of jobs, in order, from processes that nobody else uses meanwhile.

    Args:
        jobs: to do.
        count: of processes.
        pin_memory: for fast transfers to a GPU.
    """
    free = _kept if _kept is not None else []
    found = next((one for one in free if (one.count, one.pin_memory) == (count, pin_memory)), None)
    if found:
        free.remove(found)
    workers = found or Workers(count, pin_memory)
    try:
        yield from workers.do(jobs)
    except GeneratorExit:  # the rest is not wanted
        free.append(workers)
        raise
    # After an error, such as that of a process that was killed, they are not used again.
    free.append(workers)
