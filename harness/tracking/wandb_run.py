"""Weights & Biases: it receives rows and an ending that are made from our own record."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import wandb
from wandb.errors import AuthenticationError, UsageError
from wandb.errors import Error as WandbError

from harness.errors import first_line
from harness.tracking.contents import CURVES, EPOCH, STEP, Ending, Opening, Row
from harness.tracking.delivery import Delivery
from harness.tracking.media import Media
from harness.tracking.settings import tracking_of

# Time limits in seconds: to open a run, to send the rest at its end, to answer a request.
INIT_TIMEOUT, FINISH_TIMEOUT, ANSWER_TIMEOUT = 30.0, 60.0, 10
# The same at the end of a run whose checkpoint is sent too, which may be hundreds of megabytes.
ARTIFACT_TIMEOUT = 1800.0
PERCENT = "accuracy in percent"
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


def start_service(mode: Literal["offline", "online"]) -> None:
    """Start the process that takes W&B's files and messages, unless this process has it already; it takes 0.2 seconds.

    The mode is told before any run begins: else the library keeps statistics for its server, in offline runs too.
    """
    wandb.setup(wandb.Settings(mode=mode, silent=True))


class WandbRun:
    """One run at W&B, or in offline files, that receives our records; its methods raise what W&B raises.

    Args:
        opening: the run. If W&B knows its id, its run is continued.
        mode: online or offline.
        folder: for W&B's files, in `wandb/`.

    Attributes:
        rows: how many it has, including those of earlier starts.
        delivery: what is known before the run is finished.
    """

    @hidden_command_line()
    def __init__(self, opening: Opening, mode: Literal["offline", "online"], folder: Path) -> None:
        asked, spec = tracking_of(opening.spec), opening.spec
        try:
            start_service(mode)
            self._run = wandb.init(
                mode=mode,
                id=opening.run_id,
                resume="allow",
                # A process may compute several runs at a time; the first is the one that `wandb.run` names.
                reinit=None if wandb.run is None else "create_new",
                name=opening.name,
                project=opening.project,
                entity=asked.entity,
                group=opening.group,
                job_type="train" if spec.train.epochs else "eval",
                tags=list(opening.tags),
                notes=opening.notes,
                config=opening.config,
                dir=str(folder),
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    # W&B's own monitor looks at the whole machine, and its values are in no record of ours.
                    x_disable_stats=True,
                    # Looking through all that is installed takes a tenth of a second; our record has what counts.
                    x_save_requirements=False,
                    save_code=False,
                    init_timeout=INIT_TIMEOUT,
                    finish_timeout=ARTIFACT_TIMEOUT if spec.tracking.artifacts else FINISH_TIMEOUT,
                    finish_timeout_raises=True,
                ),
            )
        except WandbError:
            # The W&B service remembers the failed run and would refuse its id.
            wandb.teardown()
            raise
        for axis in (EPOCH, STEP):
            self._run.define_metric(axis)
        for curve in CURVES:
            self._run.define_metric(curve.keys, step_metric=curve.axis, summary=curve.best)
        # Not `step`: that is 0 until the first `log`, even for a resumed run.
        self.rows: int = self._run.starting_step
        self._given: Sequence[Row] = ()
        self._staging = folder / "wandb" / "staging"
        place = {"entity": self._run.entity, "url": self._run.url} if mode == "online" else {}
        self.delivery = Delivery(mode=mode, project=self._run.project, **place)

    def log(self, rows: Sequence[Row]) -> None:
        """Log the rows that it does not have yet, each at the step of its place.

        Args:
            rows: all rows so far, in order.
        """
        for row in rows[self.rows :]:
            self._run.log({row.axis: row.number, **row.values}, step=self.rows, commit=True)
            self.rows += 1
        self._given = rows

    def finish(self, ending: Ending) -> Delivery:
        """Write tables and summary, send the rest, and ask the server whether it has everything.

        Raises:
            TimeoutError: not all could be sent in FINISH_TIMEOUT seconds.
            WandbError: the server does not have all of it.
        """
        try:
            self._send(ending)
        except TimeoutError:
            wandb.teardown()
            raise
        if self.delivery.mode == "offline":
            return self.delivery
        shutil.rmtree(self._staging, ignore_errors=True)
        self._confirm()
        epochs = sum(row.axis == EPOCH for row in self._given)
        return self.delivery.model_copy(update={"epochs": epochs, "complete": True})

    def _send(self, ending: Ending) -> None:
        """Give the client all that is left of the run, and have it sent; it ends there even if something is refused."""
        try:
            with staging_in(self._staging):
                self._log_media(ending)
            for path in ending.files:
                if path.is_file():
                    # A copy: W&B would link to the file elsewhere, and say so.
                    copy = shutil.copy(path, self._run.dir)
                    self._run.save(str(copy), base_path=self._run.dir, policy="now", glob=False)
            self._run.summary.update(dict(ending.summary))
        finally:
            self._run.finish()

    def _log_media(self, ending: Ending) -> None:
        """Log tables and pictures as one more row, unless an earlier upload has done so, and artifacts."""
        has_media = self.rows > len(self._given)
        if media := {} if has_media else wandb_media(ending.media):
            self._run.log(media, step=self.rows, commit=True)
            self.rows += 1
        for path in ending.artifacts:
            if path.is_file():
                kind = "model" if path.suffix == ".safetensors" else "dataset"
                artifact = wandb.Artifact(f"{ending.result.id}-{path.stem}", type=kind)
                artifact.add_file(str(path), policy="immutable")
                self._run.log_artifact(artifact)

    def _confirm(self) -> None:
        """Raise a WandbError unless the server has every row and the end: the client does not report refusals."""
        for pause in CONFIRM_PAUSES:
            time.sleep(pause)
            found = wandb.Api(timeout=ANSWER_TIMEOUT).run(self._run.path)
            if found.history_line_count >= self.rows and found.state == "finished":
                return
        raise WandbError(f"the server has {found.history_line_count} of {self.rows} rows, state {found.state}")


@contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """Have W&B copy files of artifacts into a folder, and not to the user's home, from which nobody removes them."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before


def wandb_media(media: Media) -> dict[str, Any]:
    """Tables and charts as W&B shows them."""
    found: dict[str, Any] = {}
    for name, several in media.predictions.items():
        rows = [
            [
                one.prediction.path,
                None if one.picture is None else wandb.Image(one.picture),
                one.prediction.label,
                one.prediction.predicted,
                one.prediction.confidence,
                one.prediction.label == one.prediction.predicted,
            ]
            for one in several
        ]
        columns = ["path", "picture", "class", "predicted", "probability", "right"]
        found[f"predictions/{name}"] = wandb.Table(columns=columns, data=rows)
    for name, confusions in media.confusions.items():
        pairs = [list(pair) for pair in confusions.pairs()]
        found[f"confusions/{name}"] = wandb.Table(columns=["class", "predicted", "images"], data=pairs)
        if confusions.is_small:
            found[f"confusion_matrix/{name}"] = wandb.plot.confusion_matrix(
                y_true=confusions.true,
                preds=confusions.predicted,
                class_names=list(confusions.class_names),
                title=f"confusions of {name}",
            )
    for name, accuracies in media.classes.items():
        table = wandb.Table(columns=["class", PERCENT], data=[list(pair) for pair in accuracies])
        found[f"classes/{name}"] = wandb.plot.bar(table, "class", PERCENT, title=f"accuracy of the classes of {name}")
    return found


def remove_undelivered(folder: Path, run_id: str) -> None:
    """Remove offline files of an interrupted start that were never uploaded: the new ones will hold everything."""
    for old in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
        if not list(old.glob("*.sync*")):
            shutil.rmtree(old, ignore_errors=True)
