"""Calls that a thread of this process does one after the other, while it goes on with something else."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST = 64
"""Calls that may wait: what they hold stays in memory until they are done."""


class Behind:
    """One thread and what it has to do. Calls must not depend on one another's time, nor on threads of a fork."""

    def __init__(self) -> None:
        self._waiting: deque[Future[object]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._process = 0

    def __reduce__(self) -> tuple[type["Behind"], tuple[()]]:
        # Another process has a thread of its own, and what this one has to do is not its business.
        return Behind, ()

    def do(self, call: Callable[..., object], *values: object) -> None:
        """Do a call soon; wait if too many wait already.

        Raises:
            Exception: what an earlier call raised.
        """
        if self._thread is None or self._process != os.getpid():  # threads do not survive a fork
            self._waiting.clear()
            self._thread, self._process = ThreadPoolExecutor(1, "behind"), os.getpid()
        self._waiting.append(self._thread.submit(call, *values))
        while len(self._waiting) > MOST:
            self._waiting.popleft().result()

    def settle(self) -> None:
        """Wait until all calls are done.

        Raises:
            Exception: what one of them raised.
        """
        if self._process != os.getpid():
            return
        while self._waiting:
            self._waiting.popleft().result()


WRITES = Behind()
"""What this process has to write into stores of pictures."""
