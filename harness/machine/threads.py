"""How many threads torch computes with on a CPU."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# A second thread shortens a step of the embedded backbone by a quarter at most, and by nothing in some methods: its
# operations are too small to be divided further.
MOST_FOR_NARROW = 2


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


def step_threads(is_narrow: bool, given: int | None) -> int:
    """Number of threads that compute a training step on a CPU.

    Args:
        is_narrow: whether both towers are so narrow that more threads wait for each other.
        given: what the user asks for; None: nothing.
    """
    available = torch.get_num_threads()
    return given or (min(available, MOST_FOR_NARROW) if is_narrow else available)
