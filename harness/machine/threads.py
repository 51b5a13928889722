"""How many threads torch computes with on a CPU."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Inside, torch computes with so many threads, in each thread of Python that begins to compute; None: as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Inside, torch computes with one thread, in each thread of Python that begins to compute."""
    return threads(1)
