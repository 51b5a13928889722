"""Weights & Biases: a sink that is fed from what is already on disk, and that never stops a run."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import Error as WandbError

from harness.errors import first_line
from harness.spec import RunSpec

log = logging.getLogger("skipbench")

INIT_TIMEOUT = 30.0
DEFAULT_MODE = "offline"
# What WANDB_MODE may say besides the modes of a spec.
MODE_ALIASES = {"dryrun": "offline", "run": "online", "shared": "online"}


def tracking_mode(spec: RunSpec) -> str:
    """online, offline or disabled: the spec's, else WANDB_MODE, else offline."""
    mode = spec.wandb.mode or os.environ.get("WANDB_MODE") or DEFAULT_MODE
    return MODE_ALIASES.get(mode, mode)


class Tracker:
    """One W&B run for one training.

    Args:
        spec: the run.
        folder: the run's folder; W&B's files go to `wandb/` in it.
        environment: what the result says of the machine.
        notify: takes a line for the user when tracking does not go as asked.

    Attributes:
        fell_back: whether the run was to be online and had to go offline.
    """

    def __init__(self, spec: RunSpec, folder: Path, environment: dict[str, Any], notify: Callable[[str], None]) -> None:
        self.spec = spec
        self.folder = folder
        self.notify = notify
        self.run: Any = None
        self.fell_back = False
        mode = tracking_mode(spec)
        if mode == "disabled":
            return
        remove_undelivered(folder, spec.id)
        if mode == "online":
            self.run = self._start_online(environment)
            self.fell_back = self.run is None
        if self.run is None:
            self.run = self._guarded(lambda: self._start("offline", environment))

    def _start_online(self, environment: dict[str, Any]) -> Any:
        """An online run, or None with one line that says why there is none."""
        try:
            return self._start("online", environment)
        except WandbError as error:
            # The service remembers the failed run and would refuse its id.
            wandb.teardown()
            for leftover in (self.folder / "wandb").glob(f"run-*-{self.spec.id}"):
                shutil.rmtree(leftover, ignore_errors=True)
            reason = first_line(error)
            self.notify(f"W&B is not reachable ({reason}); the run goes on offline, upload it later with `wandb sync`")
            return None

    def _start(self, mode: str, environment: dict[str, Any]) -> Any:
        spec = self.spec
        run = wandb.init(
            mode=mode,  # type: ignore[arg-type]
            id=spec.id,
            resume="allow",
            name=spec.name,
            project=spec.wandb.project,
            entity=spec.wandb.entity,
            group=spec.group,
            job_type="train" if spec.train.epochs else "eval",
            tags=[spec.method, spec.data.dataset[:64], spec.protocol, spec.backbone[:64], *spec.wandb.tags],
            config={**spec.identity(), "environment": environment},
            dir=str(self.folder),
            settings=wandb.Settings(
                silent=True, console="off", x_disable_stats=True, save_code=False, init_timeout=INIT_TIMEOUT
            ),
        )
        run.define_metric("epoch")
        run.define_metric("train/*", step_metric="epoch")
        return run

    def _guarded(self, call: Callable[[], Any]) -> Any:
        """Run a call to W&B; a failure is told and ends tracking, not the run."""
        try:
            return call()
        except Exception as error:
            self.run = None
            log.exception("W&B failed")
            reason = first_line(error)
            self.notify(f"W&B failed ({reason}); the run goes on without it, its record is {self.folder}/metrics.jsonl")
            return None

    def log_epochs(self, records: list[dict[str, Any]]) -> None:
        """Log the epochs that W&B has not got yet.

        Args:
            records: all epochs so far, as in `metrics.jsonl`, in order; W&B's step counts those it has got.
        """
        if self.run is None:
            return

        def deliver() -> None:
            for record in records[self.run.step :]:
                values = {f"train/{key}": value for key, value in record.items() if key != "epoch"}
                self.run.log({"epoch": record["epoch"], **values})

        self._guarded(deliver)

    def finish(self, result: dict[str, Any]) -> None:
        """Put accuracies and costs into the summary and close the W&B run."""
        if self.run is None:
            return

        def close() -> None:
            self.run.summary.update(summary_of(result))
            self.run.finish()

        self._guarded(close)


def summary_of(result: dict[str, Any]) -> dict[str, Any]:
    """Accuracies and costs under W&B's names."""
    costs = result["costs"]
    return {
        **{f"accuracy/{item['name']}": item["accuracy"] for item in result["evaluations"]},
        **{f"ece/{item['name']}": item["ece"] for item in result["evaluations"]},
        **{
            f"costs/{phase}/{key}": value
            for phase, values in costs["phases"].items()
            for key, value in values.items()
            if value is not None
        },
        **{f"costs/{key}": value for key, value in costs.items() if key != "phases"},
        **{f"method/{key}": value for key, value in result["method_facts"].items()},
    }


def remove_undelivered(folder: Path, run_id: str) -> None:
    """Remove offline files of a start that was interrupted and never uploaded: the new ones will hold all of it."""
    for old in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
        if not list(old.glob("*.sync*")):
            shutil.rmtree(old, ignore_errors=True)
