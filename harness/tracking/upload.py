"""Uploading finished runs to W&B, from our own record of them."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import wandb

from harness.errors import UserError, first_line
from harness.experiment.place import SinkName
from harness.results.folder import RunFolder
from harness.results.index import StoredRun, find_run, runs_if_any
from harness.results.record import DamagedError
from harness.tracking.contents import rows_of
from harness.tracking.delivery import Delivery, read_delivery, write_delivery
from harness.tracking.sinks import check_sinks, open_sink
from harness.tracking.tracker import ending_of, opening_of
from harness.tracking.wandb_run import ANSWER_TIMEOUT, WandbRun

State = Literal["left", "up", "uploaded", "untracked", "failed"]


@dataclass(frozen=True)
class Upload:
    """A finished run and whether W&B has it.

    Attributes:
        folder: its folder.
        name: for people; not unique.
        state: left (to be uploaded), up (W&B had it before), uploaded, untracked (`wandb.mode=disabled`) or failed.
        about: page of the run, or why it failed.
    """

    folder: RunFolder
    name: str
    state: State
    about: str = ""

    @property
    def id(self) -> str:
        """The id of the run, here and at W&B."""
        return self.folder.path.name


def finished_runs(
    root: Path, run_ids: Sequence[str] = (), again: bool = False, untracked: bool = False
) -> list[Upload]:
    """The finished runs of a results folder and whether W&B has them, from our own notes; asks no server.

    Args:
        root: the results folder.
        run_ids: which runs, by the beginning of their ids; empty for all except those with tracking disabled.
        again: whether to upload runs that W&B has once more.
        untracked: whether to upload runs with `wandb.mode=disabled` that are not named.

    Raises:
        UserError: no such folder or run, or the run is not complete.
    """
    if not root.is_dir():
        raise UserError(f"results folder '{root}' does not exist: name another with --results DIR")
    if not run_ids:
        return [look_at(run, again, named=untracked) for run in runs_if_any(root) if run.folder.is_complete]
    named = [find_run(root, run_id) for run_id in dict.fromkeys(run_ids)]
    for run in named:
        if not run.folder.is_complete:
            raise UserError(f"run '{run.id}' is not complete: it can be uploaded when it has a result.json")
    return [look_at(run, again, named=True) for run in named]


def look_at(run: StoredRun, again: bool, named: bool) -> Upload:
    """A finished run and whether W&B has it."""
    if run.result is None:
        return Upload(run.folder, "", "failed", run.reason)
    try:
        delivery = read_delivery(run.folder.path)
    except DamagedError as error:
        return Upload(run.folder, run.name, "failed", str(error))
    if delivery is not None and delivery.complete and not again:
        return Upload(run.folder, run.name, "up", delivery.url or "")
    untracked = run.result.spec.wandb.mode == "disabled" and not named
    return Upload(run.folder, run.name, "untracked" if untracked else "left")


def check_login() -> None:
    """Raise a UserError unless W&B answers and accepts the key; never asks for a key."""
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        wandb.Api(timeout=ANSWER_TIMEOUT).default_entity  # noqa: B018
    except Exception as error:
        advice = "check the network, WANDB_BASE_URL, and the key (`wandb login` or WANDB_API_KEY)"
        raise UserError(f"W&B does not answer or knows no key of yours: {advice} [{first_line(error)}]") from None


def upload_all(runs: Sequence[Upload]) -> Iterator[Upload]:
    """Upload those that are left, one after the other; epochs that W&B has already are not sent again.

    Yields:
        Each of those that were left, `uploaded` or `failed`.

    Raises:
        UserError: W&B cannot be reached, or no longer.
    """
    left = [run for run in runs if run.state == "left"]
    if left:
        check_login()
    for run in left:
        try:
            delivery = upload(run.folder)
        except Exception as error:
            yield Upload(run.folder, run.name, "failed", first_line(error))
            check_login()
        else:
            yield Upload(run.folder, run.name, "uploaded", delivery.url or "")


def send_all(runs: Sequence[Upload], name: SinkName) -> Iterator[Upload]:
    """Send finished runs to a sink, one after the other, each as a whole; what it has of them is replaced.

    Yields:
        Each, `uploaded` or `failed`.

    Raises:
        UserError: the package of the sink is not installed.
    """
    check_sinks([name])
    for run in runs:
        try:
            with run.folder.claimed():
                result = run.folder.read_result()
                opening = opening_of(result.spec, run.id, run.folder.path, result.environment)
                sink = open_sink(name, opening)
                sink.log(rows_of(run.folder.read_metrics()))
                sink.finish(ending_of(run.folder.path, result))
        except Exception as error:
            yield Upload(run.folder, run.name, "failed", first_line(error))
        else:
            yield Upload(run.folder, run.name, "uploaded")


def upload(folder: RunFolder) -> Delivery:
    """Upload one finished run, note it, and remove its local W&B files, which hold nothing else.

    Raises:
        UserError: its record is damaged or held by another process.
        WandbError, TimeoutError: W&B did not take all of it.
    """
    with folder.claimed() as claim, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        result = folder.read_result()
        run = WandbRun(
            opening_of(result.spec, folder.path.name, folder.path, result.environment), "online", Path(scratch)
        )
        write_delivery(folder.path, run.delivery, claim.check)
        run.log(rows_of(folder.read_metrics()))
        delivery = run.finish(ending_of(folder.path, result))
        write_delivery(folder.path, delivery, claim.check)
    shutil.rmtree(folder.path / "wandb", ignore_errors=True)
    return delivery
