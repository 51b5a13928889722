"""Weights & Biases: it only receives what is already on disk, and never stops a run."""

import logging
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import wandb
from wandb.errors import AuthenticationError, CommError, UsageError
from wandb.errors import Error as WandbError

from harness.errors import first_line
from harness.experiment.spec import RunSpec
from harness.machine.environment import Environment
from harness.results.claim import TakenOverError
from harness.results.epochs import EpochRecord
from harness.results.files import nothing
from harness.results.metrics import evaluation_metrics, metric_values, run_metrics, summary_metrics
from harness.results.record import Result
from harness.tracking.delivery import Delivery, write_delivery
from harness.tracking.settings import tracking_mode, tracking_of

log = logging.getLogger("skipbench")

# Time limits in seconds: to open a run, to send the rest at its end, to answer a request.
INIT_TIMEOUT, FINISH_TIMEOUT, ANSWER_TIMEOUT = 30.0, 60.0, 10
# Seconds before each request whether everything has arrived.
CONFIRM_PAUSES = (0.0, 1.0, 2.0, 4.0)


def upload_command(folder: Path) -> str:
    """The command that uploads the run in a folder."""
    return f"skipbench wandb-sync --results {shlex.quote(str(folder.parents[1]))} {folder.name}"


def why_offline(error: WandbError, folder: Path) -> str:
    """Why a run could not be opened at W&B and what to do, in one line."""
    later = f"the run continues offline; upload it later with `{upload_command(folder)}`"
    told = first_line(error)
    if "no api key" in str(error).lower():
        return f"no W&B key: run `wandb login` or set WANDB_API_KEY; {later}"
    if isinstance(error, AuthenticationError | UsageError):
        return f"W&B refuses the key ({told}): run `wandb login` or set WANDB_API_KEY; {later}"
    return f"W&B is not reachable ({told}); {later}"


@contextmanager
def hidden_command_line() -> Iterator[None]:
    """Show W&B no words of the command line, which it would store: the URL of a database holds a password."""
    words = sys.argv
    sys.argv = words[:1]
    try:
        yield
    finally:
        sys.argv = words


class WandbRun:
    """One run at W&B, or in offline files, that receives our records; its methods raise what W&B raises.

    Args:
        spec: the run.
        run_id: its id, the name of its folder. If W&B knows the id, its run is continued.
        mode: online or offline.
        folder: for W&B's files, in `wandb/`.
        environment: the machine.

    Attributes:
        epochs: how many it has, including those of earlier starts.
        delivery: what is known before the run is finished.
    """

    @hidden_command_line()
    def __init__(
        self, spec: RunSpec, run_id: str, mode: Literal["offline", "online"], folder: Path, environment: Environment
    ) -> None:
        asked = tracking_of(spec)
        try:
            self._run = wandb.init(
                mode=mode,
                id=run_id,
                resume="allow",
                name=asked.name,
                project=asked.project,
                entity=asked.entity,
                group=asked.group,
                job_type="train" if spec.train.epochs else "eval",
                tags=list(asked.tags),
                config={**spec.identity(), "environment": environment.model_dump()},
                dir=str(folder),
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    x_disable_stats=True,
                    save_code=False,
                    init_timeout=INIT_TIMEOUT,
                    finish_timeout=FINISH_TIMEOUT,
                    finish_timeout_raises=True,
                ),
            )
        except WandbError:
            # The W&B service remembers the failed run and would refuse its id.
            wandb.teardown()
            raise
        self._run.define_metric("epoch")
        self._run.define_metric("train/*", step_metric="epoch")
        # Not `step`: that is 0 until the first `log`, even for a resumed run.
        self.epochs: int = self._run.starting_step
        place = {"entity": self._run.entity, "url": self._run.url} if mode == "online" else {}
        self.delivery = Delivery(mode=mode, project=self._run.project, **place)

    def log_epochs(self, records: Sequence[EpochRecord]) -> None:
        """Log the epochs that it does not have yet, each at its step.

        Args:
            records: all epochs so far, in order.
        """
        for record in records[self.epochs :]:
            values = {f"train/{key}": value for key, value in record.line().items() if key != "epoch"}
            self._run.log({"epoch": record.epoch, **values}, step=self.epochs, commit=True)
            self.epochs += 1

    def finish(self, result: Result) -> Delivery:
        """Write the summary, send the rest, and ask the server whether it has everything.

        Raises:
            TimeoutError: not all could be sent in FINISH_TIMEOUT seconds.
            WandbError: the server does not have all of it.
        """
        self._run.summary.update(summary_of(result))
        try:
            self._run.finish()
        except TimeoutError:
            wandb.teardown()
            raise
        if self.delivery.mode == "offline":
            return self.delivery
        self._confirm()
        return self.delivery.model_copy(update={"epochs": self.epochs, "complete": True})

    def _confirm(self) -> None:
        """Raise a WandbError unless the server has every epoch and the end: the client does not report refusals."""
        for pause in CONFIRM_PAUSES:
            time.sleep(pause)
            found = wandb.Api(timeout=ANSWER_TIMEOUT).run(self._run.path)
            if found.history_line_count >= self.epochs and found.state == "finished":
                return
        raise WandbError(f"the server has {found.history_line_count} of {self.epochs} epochs, state {found.state}")


class Tracker:
    """Tracks one training as its spec asks, and never stops it.

    Args:
        spec: the run.
        folder: the run's folder; W&B's files go to `wandb/` in it.
        environment: the machine.
        notify: takes a line for the user if the run cannot be tracked as asked.
        check: raises if the run is no longer this process's.

    Attributes:
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
        self.fell_back = False
        mode = tracking_mode(spec)
        if mode == "disabled":
            return
        remove_undelivered(folder, spec.id)
        if mode == "online":
            self._guarded(self._start_online)
            self.fell_back = self.run is None
        if self.run is None:
            self._guarded(lambda: self._start("offline"))

    def _start(self, mode: Literal["offline", "online"]) -> None:
        self.run = WandbRun(self.spec, self.spec.id, mode, self.folder, self.environment)
        write_delivery(self.folder, self.run.delivery, self.check)

    def _start_online(self) -> None:
        """Start an online run, or report in one line why that failed."""
        try:
            self._start("online")
        except WandbError as error:
            for leftover in (self.folder / "wandb").glob(f"run-*-{self.spec.id}"):
                shutil.rmtree(leftover, ignore_errors=True)
            self.notify(why_offline(error, self.folder))

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

    def log_epochs(self, records: Sequence[EpochRecord]) -> None:
        """Log the epochs that W&B does not have yet.

        Args:
            records: all epochs so far, in order.
        """
        run = self.run
        if run is not None:
            self._guarded(lambda: run.log_epochs(records))

    def finish(self, result: Result) -> None:
        """Write the summary, close the W&B run and note what W&B has."""
        run = self.run
        if run is not None:
            self._guarded(lambda: write_delivery(self.folder, run.finish(result), self.check))


def summary_of(result: Result) -> dict[str, Any]:
    """Metrics and costs under W&B's names."""
    costs = result.costs
    of_evaluations = {
        f"{metric.wandb}/{item.name}": metric.value(item)
        for metric in evaluation_metrics()
        for item in result.evaluations
    }
    values = metric_values(result)
    of_runs = {metric.wandb: values.get(metric.name) for metric in (*summary_metrics(), *run_metrics())}
    by_phase = {
        f"costs/{phase}/{key}": value
        for phase, cost in costs.phases.items()
        for key, value in cost.model_dump().items()
    }
    known = {key: value for key, value in (of_evaluations | of_runs | by_phase).items() if value is not None}
    return {
        **known,
        **{f"costs/{key}": value for key, value in costs.model_dump(exclude={"phases"}).items()},
        **{f"method/{key}": value for key, value in result.method_facts.items()},
        **selection_of(result),
        **{f"refused/{item.evaluation}": item.reason for item in result.refusals},
    }


def selection_of(result: Result) -> dict[str, Any]:
    """What a run chose, under W&B's names: `selection.chosen.<name>`, `selection.candidates`, ...; empty if nothing."""
    if result.selection is None:
        return {}
    chosen = {f"selection.chosen.{name}": value for name, value in result.selection.chosen.items()}
    about = result.selection.model_dump(mode="json", exclude={"chosen"})
    return chosen | {f"selection.{name}": value for name, value in about.items() if value is not None}


def remove_undelivered(folder: Path, run_id: str) -> None:
    """Remove offline files of an interrupted start that were never uploaded: the new ones will hold everything."""
    for old in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
        if not list(old.glob("*.sync*")):
            shutil.rmtree(old, ignore_errors=True)
