"""How a process ends: without taking apart what it has imported, which takes a fifth of a second after torch."""

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def end_quickly(exit_code: Callable[[], int | None]) -> None:
    """When this process ends, let it end at once after what else it has to do then; its children end as they do.

    What is registered with `atexit` before this is not done.

    Args:
        exit_code: gives the exit code at the end; None where nobody knows it, and the process ends as usual.
    """
    process = os.getpid()

    def end() -> None:
        code = exit_code() if os.getpid() == process else None
        if code is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return
        os._exit(code)

    atexit.register(end)


@contextmanager
def quick_end() -> Iterator[None]:
    """What is inside is all that this process does: it ends quickly, with the exit code that is asked for inside."""
    codes: list[int] = []
    end_quickly(lambda: codes[-1] if codes else None)
    try:
        yield
        codes.append(0)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            codes.append(ended.code or 0)
        raise
