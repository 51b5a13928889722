"""Tracking never stops a run: it receives what is already on disk, at W&B and wherever else the run is tracked."""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from wandb.errors import CommError
from wandb.errors import Error as WandbError

from harness.errors import UserError, first_line
from harness.experiment.place import SinkName
from harness.experiment.spec import RunSpec
from harness.machine.environment import Environment
from harness.results.claim import TakenOverError
from harness.results.epochs import EpochRecord
from harness.results.files import nothing
from harness.results.folder import RunFolder
from harness.results.record import Result
from harness.tracking.contents import Ending, Opening, Row, rows_of, summary_of
from harness.tracking.delivery import write_delivery
from harness.tracking.media import media_of
from harness.tracking.settings import tracking_mode, tracking_of
from harness.tracking.sinks import Sink, open_sink
from harness.tracking.wandb_run import WandbRun, remove_undelivered, start_service, upload_command, why_offline

log = logging.getLogger("skipbench")


def opening_of(spec: RunSpec, run_id: str, folder: Path, environment: Environment) -> Opening:
    """What is known of a run when its tracking begins."""
    asked = tracking_of(spec)
    return Opening(spec, run_id, folder, environment, asked.project, asked.name, asked.group, asked.tags)


def ending_of(folder: Path, result: Result) -> Ending:
    """What is known of a run when it is complete, from the files of its folder."""
    run = RunFolder(folder.parents[1], folder.name)
    wanted = result.spec.tracking.artifacts
    return Ending(
        result,
        summary_of(result),
        media_of(run, result),
        (run.log_file, folder / "spec.yaml"),
        (run.checkpoint_file, folder / "sample.json") if wanted else (),
    )


def warm_up(spec: RunSpec) -> None:
    """Have what a run is tracked with start while this process goes on."""
    mode = tracking_mode(spec)
    if mode == "disabled":
        return

    def start() -> None:
        # The tracker tries again, and tells why it fails.
        with suppress(Exception):
            start_service(mode)

    Thread(target=start, daemon=True).start()


class Tracker:
    """Tracks one run as its spec asks, and never stops it.

    Args:
        spec: the run.
        folder: the run's folder; W&B's files go to `wandb/` in it.
        environment: the machine.
        notify: takes a line for the user if the run cannot be tracked as asked.
        check: raises if the run is no longer this process's.

    Attributes:
        run: at W&B; None if it is not tracked there.
        sinks: where else it is tracked.
        fell_back: whether the run should be online and had to continue offline.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: Path,
        environment: Environment,
        notify: Callable[[str], None],
        check: Callable[[], None] = nothing,
    ) -> None:
        self.spec = spec
        self.check = check
        self.folder = folder
        self.environment = environment
        self.notify = notify
        self.run: WandbRun | None = None
        self.sinks: dict[SinkName, Sink] = {}
        self.fell_back = False
        self._rows: list[Row] = []
        self._epochs = 0
        mode = tracking_mode(spec)
        if mode != "disabled":
            remove_undelivered(folder, spec.id)
        if mode == "online":
            self._guarded(self._start_online)
            self.fell_back = self.run is None
        if self.run is None and mode != "disabled":
            self._guarded(lambda: self._start("offline"))
        for name in spec.tracking.sinks:
            self._guarded_sink(name, partial(self._open, name))

    @property
    def _opening(self) -> Opening:
        return opening_of(self.spec, self.spec.id, self.folder, self.environment)

    def _start(self, mode: Literal["offline", "online"]) -> None:
        self.run = WandbRun(self._opening, mode, self.folder)
        write_delivery(self.folder, self.run.delivery, self.check)

    def _start_online(self) -> None:
        """Start an online run, or report in one line why that failed."""
        try:
            self._start("online")
        except WandbError as error:
            for leftover in (self.folder / "wandb").glob(f"run-*-{self.spec.id}"):
                shutil.rmtree(leftover, ignore_errors=True)
            self.notify(why_offline(error, self.folder))

    def _open(self, name: SinkName) -> None:
        self.check()
        self.sinks[name] = open_sink(name, self._opening)

    def _guarded(self, call: Callable[[], None]) -> None:
        """Run a call to W&B; a failure is reported and ends tracking, not the run."""
        try:
            call()
        except TakenOverError:
            raise
        except Exception as error:
            self.run = None
            log.exception("W&B failed")
            told = f"W&B failed ({first_line(error)}); the run continues without it"
            if isinstance(error, CommError | TimeoutError):
                told += f"; upload it later with `{upload_command(self.folder)}`"
            else:
                told += f", its record is {self.folder}/metrics.jsonl"
            self.notify(told)

    def _guarded_sink(self, name: SinkName, call: Callable[[], None]) -> None:
        """Run a call to a sink; a failure is reported and ends the tracking there, not the run."""
        try:
            call()
        except TakenOverError:
            raise
        except Exception as error:
            self.sinks.pop(name, None)
            if isinstance(error, UserError):
                self.notify(f"{error}; the run continues without it")
                return
            log.exception("%s failed", name)
            later = f"`{upload_command(self.folder)} --to {name}`"
            self.notify(
                f"{name} failed ({first_line(error)}); the run continues without it; send it later with {later}"
            )

    def log_epochs(self, records: Sequence[EpochRecord]) -> None:
        """Log the epochs that are not tracked yet.

        Args:
            records: all epochs so far, in order.
        """
        run = self.run
        if run is None and not self.sinks:
            return
        self._rows += rows_of(records[self._epochs :])
        self._epochs, rows = len(records), self._rows
        if run is not None:
            self._guarded(lambda: run.log(rows))
        for name, sink in list(self.sinks.items()):
            self._guarded_sink(name, partial(self._checked, sink.log, rows))

    def finish(self, result: Result) -> None:
        """Write the ending, close the run wherever it is tracked, and note what W&B has."""
        run = self.run
        if run is None and not self.sinks:
            return
        ending = ending_of(self.folder, result)
        if run is not None:
            self._guarded(lambda: write_delivery(self.folder, run.finish(ending), self.check))
        for name, sink in list(self.sinks.items()):
            self._guarded_sink(name, partial(self._checked, sink.finish, ending))

    def _checked(self, call: Callable[[Any], None], value: Any) -> None:
        self.check()
        call(value)
