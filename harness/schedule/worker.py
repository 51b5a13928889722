"""One attempt at one run, in its own process.

A process a run keeps memory measurements apart and one run's crash away from the others. The processes are forked from
a server that has imported what runs need (`preloaded.py`) and done nothing more, so each starts in milliseconds. The
server may be started before it is known which runs there are (`warm_up`): it imports while these are planned.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.clip.backbones import bundled
from harness.errors import UserError
from harness.experiment.content import CHANGED_MEANWHILE
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.machine.processes import start_method, start_of
from harness.results.failure import TIME_LIMIT, Failure, explain_exception, explain_exit
from harness.training.events import Event

PRELOADED = "harness.schedule.preloaded"
FOR_REHEARSALS = "harness.schedule.preloaded_for_rehearsals"
# Seconds in which a process may release its claim and its files before it is killed.
GRACE = 10.0
# How often a process is started whose server dies meanwhile.
START_ATTEMPTS = 5


@cache
def process_context() -> Any:
    """How processes are started on this system."""
    method = start_method()
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([PRELOADED])
    return context


def warm_up(backbones: Iterable[str] = (), rehearses_often: bool = False) -> None:
    """Start the server that processes are forked from, if there is none; it imports while this process goes on.

    Args:
        backbones: of the runs; those that do not come with the project may need open_clip, which is imported too.
        rehearses_often: whether several of the runs may need a rehearsal of their own; what only that takes is imported
            too, once for all of them, which takes nearly as long as torch.
    """
    if process_context().get_start_method() == "forkserver":
        needed = [] if set(backbones) <= bundled().keys() else ["open_clip"]
        rehearsals = [FOR_REHEARSALS] if rehearses_often else []
        process_context().set_forkserver_preload([PRELOADED, *rehearsals, *needed])
        # A copy of the process that started the server cannot ask for it. It is only a head start.
        with deaf(), suppress(ChildProcessError):
            forkserver.ensure_running()


@contextmanager
def deaf() -> Iterator[None]:
    """Inside, processes are started that never hear Ctrl-C, from their first moment on."""
    # It would make this thread hear Ctrl-C again if it were started inside.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_unheard(process: Any) -> None:
    """Start a process that never hears Ctrl-C, from its first moment on: its parent ends it.

    A server that imports torch would print a traceback. This process goes on hearing it while it waits for the server.
    """
    with deaf():
        if process_context().get_start_method() == "forkserver":
            forkserver.ensure_running()
        else:
            process.start()
    for attempts_left in reversed(range(START_ATTEMPTS)):
        try:
            if process.pid is None:
                process.start()
        except (EOFError, OSError):
            # The server was killed just now; the next call starts another one.
            if not attempts_left:
                raise
        else:
            return


class Attempt:
    """A process that computes a run, or several that may train as one.

    Args:
        specs: the runs, placed on their device.
        results: the results folder.
        time_limit: seconds that each may take; None for no limit.

    Attributes:
        failures: id of a run -> why it failed.
    """

    def __init__(self, specs: Sequence[RunSpec], results: Path, time_limit: float | None) -> None:
        self.specs = tuple(specs)
        self.time_limit = None if time_limit is None else time_limit * len(specs)
        self.failures: dict[str, Failure] = {}
        self.is_silent = False
        self.started = time.time()
        self._begin = time.monotonic()
        self.connection, sender = process_context().Pipe(duplex=False)
        self.process = process_context().Process(
            target=compute, args=(dict(os.environ), {spec.id: spec.settings() for spec in specs}, results, sender)
        )
        start_unheard(self.process)
        sender.close()
        self._born = start_of(self.process.pid)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time limit; None without one."""
        return None if self.time_limit is None else self._begin + self.time_limit - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self.process.exitcode is not None

    def events(self) -> Iterator[tuple[str, Event]]:
        """What the process has reported since the last time: ids of runs, and their events."""
        try:
            while not self.is_silent and self.connection.poll():
                run_id, item = self.connection.recv()
                if isinstance(item, Failure):
                    self.failures[run_id] = item
                else:
                    yield run_id, item
        except (EOFError, OSError):
            self.is_silent = True

    def sources(self) -> list[Any]:
        """What becomes ready when there is an event, and when the process ends."""
        return [self.process.sentinel, *([] if self.is_silent else [self.connection])]

    def finish(self) -> dict[str, Failure]:
        """After the process has ended: id of a run -> why it failed; a run that is complete may be among them."""
        self.process.join()
        self.connection.close()
        # If the fork server was killed, its children look as if they had ended too.
        if self._born is not None and start_of(self.process.pid) == self._born:
            os.kill(self.process.pid, signal.SIGKILL)
        if self.process.exitcode:
            ended = explain_exit(self.process.exitcode)
            return {**{spec.id: ended for spec in self.specs}, **self.failures}
        return self.failures

    def stop(self) -> None:
        """End the process: it gets a short time to release its claim, then it is killed."""
        self.process.terminate()
        self.process.join(GRACE)
        if not self.is_over:
            self.process.kill()
            self.process.join()

    def stop_for_time(self) -> None:
        """End the process because it exceeded its time limit."""
        self.stop()
        limit = f"{self.time_limit:g} s (schedule.time_limit)"
        failure = Failure(TIME_LIMIT, f"it took longer than its time limit of {limit}; finished epochs are kept")
        self.failures = {**{spec.id: failure for spec in self.specs}, **self.failures}


def compute(environment: dict[str, str], runs: Mapping[str, Settings], results: Path, sender: Connection) -> None:
    """The main function of a process that computes runs.

    Args:
        environment: of the command.
        runs: id -> settings.
        results: the results folder.
        sender: takes pairs of the id of a run and what it reports.
    """
    # The server that it was forked from has the environment of its own start: that of the first run.
    os.environ.clear()
    os.environ.update(environment)
    end_with_parent()
    # Ctrl-C reaches all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ.setdefault("WANDB_SILENT", "true")
    from harness.estimate.batches import choose_batches
    from harness.training.run import Run
    from harness.training.together import execute_together

    def report(run_id: str, item: Event | Failure) -> None:
        with suppress(OSError):
            sender.send((run_id, item))

    found: list[Run] = []
    try:
        for run_id, settings in runs.items():
            try:
                run = Run(parse_run_spec(settings), results, partial(report, run_id), choose_batches)
                if run.id != run_id:
                    raise UserError(CHANGED_MEANWHILE)
                found.append(run)
            except Exception as error:
                report(run_id, explain_exception(error))
        execute_together(found, lambda run, error: report(run.id, explain_exception(error)))
    finally:
        sender.close()


def end_with_parent() -> None:
    """End this process when its parent process has ended."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
