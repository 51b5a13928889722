"""The training of a run: continues from the last saved epoch; records, saves and tracks every epoch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harness.errors import DivergedError
from harness.machine.costs import CACHE, TRAIN
from harness.machine.device import DeviceUse, both_alone
from harness.machine.usage import Usage
from harness.results.epochs import EpochRecord
from harness.results.folder import RunFolder
from harness.results.log import log
from harness.results.progress import Progress
from harness.tracking.tracker import Tracker
from harness.training.events import Event, TrainingProgress
from harness.training.selection import is_better
from harness.training.state import KEPT, kept_state, load_trained_state, trained_state, without_kept
from harness.training.trainer import Trainer
from harness.training.validation import Validate
from methods.base import Method

Report = Callable[[Event], None]
"""Receives the events of a run."""
Judge = Callable[[Method], float]
# Seconds that a killed run may lose, if its epochs are shorter.
MOST_LOST = 1.0


@dataclass(frozen=True)
class Session:
    """What accompanies a run while one process computes it.

    Attributes:
        use: of the device.
        tracker: at W&B.
        report: takes the events.
    """

    use: DeviceUse
    tracker: Tracker
    report: Report


Train = Callable[["Training"], None]
"""Takes the steps of a training that has started, and calls its `on_epoch` after every epoch."""


class SaveClock:
    """When to save, so that a kill loses one epoch or MOST_LOST seconds, whichever is longer.

    Saving takes longer than a small epoch. The first epoch of a start is saved at once.

    Args:
        now: when training begins, in seconds.

    Attributes:
        saved: when was saved last.
    """

    def __init__(self, now: float) -> None:
        self.saved = float("-inf")
        self._ended = now

    def is_due(self, now: float) -> bool:
        """Whether to save after the epoch that ends now: whether to save only after another one like it is too late."""
        duration, self._ended = now - self._ended, now
        return now + duration - self.saved > MOST_LOST


class Training:
    """One training.

    Args:
        trainer: of the run's method.
        folder: of the run.
        progress: of earlier starts.
        session: of this start.
        validate: gives the accuracies after an epoch; None: none is validated.
        judge: accuracy of a method, percent, by which the epoch to keep is chosen; None: the last one is kept.

    Attributes:
        progress: so far.
        together: how many runs this process trains as one, this one included.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        progress: Progress,
        session: Session,
        validate: Validate | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.trainer = trainer
        self.spec = trainer.spec
        self.folder = folder
        self.progress = progress
        self.session = session
        self.validate = validate
        self.judge = judge
        self.together = 1
        self.kept: dict[str, Tensor] = {}
        self.records: list[EpochRecord] = []
        self._saved_records = 0
        self._clock = SaveClock(time.monotonic())
        # Setup and fit of this start, which the earlier one had too, are counted with its first epoch.
        self._seconds = {name: costs.seconds for name, costs in progress.phases.items()}
        self._usage = Usage(trainer.method.clip.device) if self.spec.tracking.system else None

    def run(self, tensors: dict[str, Tensor], train: Train | None = None) -> Progress:
        """Train what is left; returns the final progress.

        Args:
            tensors: of an interrupted training, as `Trainer.state` gave them; empty for a new one.
            train: takes the steps; None: this training, alone.
        """
        first = self.progress.epoch
        self.trainer.flops = dict(self.progress.flops)
        if tensors:
            self.trainer.load_state(without_kept(tensors))
            self.kept = kept_state(tensors)
            log.info("going on from epoch %d", first)
        self.records = self.folder.read_metrics(epochs=first)
        self._saved_records = len(self.records)
        self.session.tracker.log_epochs(self.records)
        self.session.report(TrainingProgress(first, self.trainer.epochs))
        try:
            (train or Training.train_alone)(self)
        except DivergedError:
            self._write_records()
            raise
        if self.kept:
            load_trained_state(self.trainer.method, self.kept)
            log.info("kept epoch %s", self.progress.kept_epoch)
        return self.progress

    def train_alone(self) -> None:
        """Take the steps of all epochs that are left."""
        self.trainer.train(self.progress.epoch, self.on_epoch)

    def on_epoch(self, record: EpochRecord) -> None:
        """Judge, validate, save and report after an epoch."""
        epoch = record.epoch + 1
        judged = self._keep_best(record.epoch)
        validated = {"accuracies": self._validate(epoch), "selection_accuracy": judged}
        record = record.model_copy(update=validated | self._costs_of_epoch())
        self.records.append(record)
        if self._clock.is_due(time.monotonic()) or epoch == self.trainer.epochs:
            self._save(epoch)
        self.session.report(TrainingProgress(epoch, self.trainer.epochs, record))

    def _costs_of_epoch(self) -> dict[str, Any]:
        """What has happened since the epoch before, phase by phase."""
        phases, before = self.trainer.meter.so_far, self._seconds
        self._seconds = {name: costs.seconds for name, costs in phases.items()}
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in self._seconds.items()}
        return {
            "seconds": {name: seconds for name, seconds in spent.items() if seconds > 0 and name not in (CACHE, TRAIN)},
            "peak_bytes": {name: costs.peak_bytes for name, costs in phases.items() if costs.peak_bytes},
            "system": self._usage.take() if self._usage else {},
        }

    def _save(self, epoch: int) -> None:
        """Save what there is after some epochs, first the records of all that are not written yet."""
        self.folder.check_claim()
        self.session.use.check()
        self._write_records()
        self.progress = Progress(
            epoch=epoch,
            phases=self.trainer.meter.phases,
            flops=self.trainer.flops,
            starts=self.progress.starts,
            alone=both_alone(self.progress.alone, self.session.use.alone),
            together=max(self.progress.together, self.together),
            cache=self.trainer.images.facts(),
            inputs=self.progress.inputs,
            kept_epoch=self.progress.kept_epoch,
            kept_accuracy=self.progress.kept_accuracy,
        )
        kept = {f"{KEPT}{name}": value for name, value in self.kept.items()}
        self.folder.save_progress({**self.trainer.state(), **kept}, self.progress)
        self.session.tracker.log_epochs(self.records)
        self._clock.saved = time.monotonic()
        last = self.records[-1]
        log.info("epoch %d loss %.4f lr %.3g train %.2f s", last.epoch, last.loss, last.lr, last.train_seconds)

    def _write_records(self) -> None:
        if new := self.records[self._saved_records :]:
            self.folder.append_metrics(*new)
            self._saved_records = len(self.records)

    def _keep_best(self, epoch: int) -> float | None:
        """Keep the weights of an epoch if they are the best so far; returns the accuracy that says so, if any does."""
        if self.judge is None:
            return None
        accuracy = self.judge(self.trainer.method)
        if is_better(accuracy, self.progress.kept_accuracy, self.spec.select.epoch):
            self.kept = {name: value.detach().clone() for name, value in trained_state(self.trainer.method).items()}
            self.progress = self.progress.model_copy(update={"kept_epoch": epoch, "kept_accuracy": accuracy})
        return accuracy

    def _validate(self, epochs: int) -> dict[str, float]:
        """Accuracies after some epochs, if they are asked for by then."""
        every = self.spec.train.validate_every
        if self.validate is None or every is None or epochs % every:
            return {}
        return self.validate(self.trainer.method)
