"""The interpreter's search for garbage, which finds none while thousands of results are read and kept."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_search() -> Iterator[None]:
    """Leave the search out inside; also a decorator. Never around a training, whose tensors it frees.

    What nothing refers to is freed all the same: the search is for objects that refer to each other alone, and looks
    at all others again and again while their number grows.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
