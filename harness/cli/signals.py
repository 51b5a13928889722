"""What happens when a command is asked to end: by Ctrl-C, by `kill`, or because its terminal is gone."""

import _thread
import math
import signal
import sys
import time
from types import FrameType
from typing import Any

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
# Seconds in which Ctrl-C is not heard a second time. Later it is, in case a library swallowed the first one.
PATIENCE = 3.0
# A library in C++ may end the process if Python code that it calls while it is imported raises. So a signal waits until
# the import is over: it is looked for every RETRY seconds, and an import that takes longer than LONGEST is broken off.
RETRY, LONGEST = 0.05, 20.0
IMPORTING = "<frozen importlib._bootstrap>"


class Stop:
    """The handler of signals that end a command, and whether one has come."""

    def __init__(self) -> None:
        self.asked = -math.inf
        self.waits_since = math.inf

    @property
    def is_asked(self) -> bool:
        """Whether a signal has come since `listen`."""
        return self.asked > -math.inf

    def listen(self) -> None:
        """Handle the signals that are not ignored, as nohup has some of them ignored."""
        self.asked = -math.inf
        self.waits_since = math.inf
        for ending in ENDINGS:
            if signal.getsignal(ending) is signal.SIG_DFL:
                signal.signal(ending, self)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self)
            sys.unraisablehook = self.raise_again

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """End: runs are told to stop, and let go of what they hold. Who asks twice does not hurry it."""
        if number not in ENDINGS and time.monotonic() - self.asked < PATIENCE:
            return
        if is_importing(frame) and not self.has_waited():
            # Not by a thread: the import that was interrupted may hold what starting one needs.
            signal.signal(signal.SIGALRM, lambda _, frame: self(number, frame))
            signal.setitimer(signal.ITIMER_REAL, RETRY)
            return
        if number in ENDINGS:
            for ending in ENDINGS:
                signal.signal(ending, signal.SIG_IGN)
        self.asked = time.monotonic()
        raise KeyboardInterrupt

    def has_waited(self) -> bool:
        """Whether an import has kept a signal waiting too long. The first question starts the time."""
        self.waits_since = min(self.waits_since, time.monotonic())
        return time.monotonic() - self.waits_since > LONGEST

    def raise_again(self, unraisable: Any) -> None:
        """What Python does with an exception that nobody can catch; a KeyboardInterrupt comes again instead."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self.asked = -PATIENCE
            _thread.interrupt_main()
        else:
            sys.__unraisablehook__(unraisable)


def is_importing(frame: FrameType | None) -> bool:
    """Whether the code of a frame runs because a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False


stop = Stop()
