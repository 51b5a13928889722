"""The progress of runs on the terminal, and how they ended."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import TaskID

from harness.cli.console import console, counting_bars, errors
from harness.text import plain
from harness.training.events import (
    ComputedElsewhere,
    Done,
    Failed,
    Notice,
    PhaseStarted,
    Retried,
    Started,
    TrackingOffline,
    TrainingProgress,
)

if TYPE_CHECKING:
    from harness.experiment.spec import RunSpec
    from harness.schedule import FailedRun
    from harness.training.events import Event


# Seconds between two lines about the epochs of a run.
PAUSE = 10.0


@dataclass
class Pace:
    """How fast a run trains, by the monotonic clock.

    Attributes:
        begin: when the epochs began that it is judged by.
        first: number of epochs that were finished then.
        is_cold: whether these are the first epoch of a start, which also fills caches, starts processes and compiles.
        told: when a line about it was printed last; None before the first one.
    """

    begin: float
    first: int
    is_cold: bool
    told: float | None = None

    def left(self, epoch: int, epochs: int) -> str:
        """How long the rest of the epochs will take, in words; empty if that is not known or nothing is left.

        They are judged by all epochs so far but the first one, as soon as there is another.

        Args:
            epoch: number of finished epochs.
            epochs: of the training.
        """
        if not self.first < epoch < epochs:
            return ""
        seconds = (time.monotonic() - self.begin) / (epoch - self.first) * (epochs - epoch)
        told = f"about {in_words(seconds)} of training left"
        if self.is_cold:
            self.begin, self.first, self.is_cold = time.monotonic(), epoch, False
            told += ", judged by the first epoch"
        return told


class Watcher:
    """Shows the progress of runs: bars on a terminal, elsewhere lines, of a running run every few seconds at most.

    Args:
        total: number of runs.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.begin = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.notices: set[str] = set()
        self.speeds: dict[str, float] = {}
        self.paces: dict[str, Pace] = {}
        self.bars: dict[str, TaskID] = {}
        self.progress = counting_bars()
        self.runs = self.progress.add_task("runs", total=self.total, news="")

    def __enter__(self) -> "Watcher":
        if self.total:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_event(self, spec: "RunSpec", event: "Event") -> None:
        """Take an event of a run."""
        match event:
            case Notice(text):
                if text not in self.notices:
                    self.notices.add(text)
                    errors.print(plain(f"note: {text}"), markup=False)
            case Done():
                self._end(spec, "done")
            case Failed():
                self._end(spec, "failed")
            case Retried(reason):
                self._hide(spec)
                self._say(f"{spec.name} is tried again ({spec.id}): {reason}")
            case ComputedElsewhere(holder):
                self._hide(spec)
                self._say(f"{spec.name} is being computed by {holder} ({spec.id})")
            case TrainingProgress(epoch, epochs, record):
                self.speeds[spec.id] = record.images_per_second if record else self.speeds.get(spec.id, 0.0)
                speed = f"{self.speeds[spec.id]:.0f} images/s" if self.speeds[spec.id] else ""
                self.progress.update(self._bar(spec), completed=epoch, total=epochs, news=speed)
                if not console.is_terminal:
                    self._tell(spec, event)
            case PhaseStarted(phase):
                self.progress.update(self._bar(spec), news=phase)
            case Started() | TrackingOffline():
                self._bar(spec)
        self._sum_up()

    def _bar(self, spec: "RunSpec") -> TaskID:
        """The bar of a run that is being computed."""
        if spec.id not in self.bars:
            self.bars[spec.id] = self.progress.add_task(spec.name, total=None, news="")
        return self.bars[spec.id]

    def _tell(self, spec: "RunSpec", event: TrainingProgress) -> None:
        """Print a line about an epoch: the first one, one that was validated, otherwise one every few seconds."""
        if event.record is None or spec.id not in self.paces:
            self.paces[spec.id] = Pace(time.monotonic(), event.epoch, is_cold=event.record is None)
        if event.record is None:
            return
        pace, accuracies = self.paces[spec.id], event.record.accuracies
        # Evaluations follow, which are not counted.
        left = pace.left(event.epoch, event.epochs)
        if pace.told is not None and not accuracies and time.monotonic() - pace.told < PAUSE:
            return
        pace.told = time.monotonic()
        parts = [f"epoch {event.epoch} of {event.epochs}"]
        parts += [f"{name} {accuracy:.2f}" for name, accuracy in accuracies.items()]
        parts += [left] if left else []
        self._say(f"{spec.name}: {', '.join(parts)} ({spec.id})")

    def _hide(self, spec: "RunSpec") -> None:
        self.paces.pop(spec.id, None)
        self.speeds.pop(spec.id, None)
        if spec.id in self.bars:
            self.progress.remove_task(self.bars.pop(spec.id))

    def _end(self, spec: "RunSpec", outcome: str) -> None:
        self._hide(spec)
        self.counts[outcome] += 1
        ended = self.counts.total()
        left = (time.monotonic() - self.begin) / ended * (self.total - ended)
        rest = f", about {in_words(left)} left" if ended < self.total and not console.is_terminal else ""
        self._say(f"[{ended}/{self.total}] {spec.name} {outcome} ({spec.id}){rest}")

    def _say(self, line: str) -> None:
        console.print(plain(line), markup=False, soft_wrap=True)

    def _sum_up(self) -> None:
        parts = [f"{len(self.bars)} running"] if self.bars else []
        parts += [f"{self.counts['failed']} failed"] if self.counts["failed"] else []
        parts += [f"{sum(self.speeds.values()):.0f} images/s"] if any(self.speeds.values()) else []
        self.progress.update(self.runs, completed=self.counts.total(), news=", ".join(parts))


def in_words(seconds: float) -> str:
    """A time, such as 40 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_failures(failures: "list[FailedRun]") -> None:
    """Print why runs failed, one line per reason, however many runs share it."""
    counts = Counter(failed.failure.reason for failed in failures)
    for reason, count in counts.items():
        first = next(failed for failed in failures if failed.failure.reason == reason)
        others = f" (and {count - 1} more)" if count > 1 else ""
        errors.print(plain(f"error: {first.spec.name}{others}: {reason} [log: {first.log}]"), markup=False)
