"""Runs on this machine, one after the other, each in a process of its own.

A process a run keeps memory measurements apart and one run's crash away from the others. The processes are forked from
a server that has imported torch and nothing more, so each starts in milliseconds.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.errors import UserError, first_line
from harness.spec import RunSpec, Settings, parse_run_spec
from harness.store import RunFolder

News = dict[str, Any]
PREFERRED_START = ("forkserver", "spawn")


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end.

    Attributes:
        spec: the run.
        reason: one line for the user.
        log: where the traceback stands.
    """

    spec: RunSpec
    reason: str
    log: Path


def run_all(
    specs: Sequence[RunSpec], results: Path, on_news: Callable[[RunSpec, News], None] = lambda spec, news: None
) -> list[Failure]:
    """Execute runs in order; those that are complete are left alone.

    Args:
        specs: what to run.
        results: the results folder.
        on_news: takes what a run reports, and {"done": True} or {"failed": reason} at its end.

    Returns:
        The runs that failed; the others are complete.
    """
    context = multiprocessing.get_context(start_method())
    if start_method() == "forkserver":
        context.set_forkserver_preload(["harness.run"])
    failures = []
    offline = False

    def listen(spec: RunSpec, news: News) -> None:
        nonlocal offline
        # One attempt tells for all: a server that cannot be reached would cost every run its time-out.
        offline = offline or news.get("tracking") == "offline"
        on_news(spec, news)

    for spec in specs:
        folder = RunFolder(results, spec.id)
        if offline:
            spec = spec.model_copy(update={"wandb": spec.wandb.model_copy(update={"mode": "offline"})})
        reason = None if folder.is_complete else execute_in_process(context, spec, results, listen)
        if reason is None:
            on_news(spec, {"done": True})
        else:
            failures.append(Failure(spec, reason, folder.log_file))
            on_news(spec, {"failed": reason})
    return failures


def start_method() -> str:
    """How processes are started on this system."""
    return next(method for method in PREFERRED_START if method in multiprocessing.get_all_start_methods())


def execute_in_process(
    context: Any, spec: RunSpec, results: Path, on_news: Callable[[RunSpec, News], None]
) -> str | None:
    """Execute one run in a process of its own; returns the reason if it failed."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(spec.settings(), results, sender))
    process.start()
    sender.close()
    reason: str | None = None
    try:
        while True:
            try:
                news = receiver.recv()
            except EOFError:
                break
            if "failed" in news:
                reason = news["failed"]
            else:
                on_news(spec, news)
        process.join()
    except BaseException:
        process.terminate()
        process.join()
        raise
    if reason is None and process.exitcode:
        reason = explain_exit(process.exitcode)
    return reason


def explain_exit(code: int) -> str:
    """What an exit code of a run's process means."""
    if code == -9:
        return "its process was killed (SIGKILL), most often because memory ran out: lower train.batch_size"
    return f"its process was ended by signal {-code}" if code < 0 else f"its process ended with exit code {code}"


def child(settings: Settings, results: Path, sender: Connection) -> None:
    """What a run's process does."""
    end_with_parent()
    # Ctrl-C reaches all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("WANDB_SILENT", "true")
    from harness.run import Run

    try:
        Run(parse_run_spec(settings), results, sender.send).execute()
    except UserError as error:
        sender.send({"failed": str(error)})
    except Exception as error:
        sender.send({"failed": f"{type(error).__name__}: {first_line(error)}"})
    finally:
        sender.close()


def end_with_parent() -> None:
    """End this process when the one that asked for it is gone, so that no two processes work at one run."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
