"""The progress of runs on the terminal, and how they ended."""

from collections import Counter
from typing import TYPE_CHECKING

from rich.progress import TaskID

from harness.cli.console import console, counting_bars, errors
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


class Watcher:
    """Shows the progress of runs: bars on a terminal, one line per finished run elsewhere.

    Args:
        total: number of runs.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.counts: Counter[str] = Counter()
        self.notices: set[str] = set()
        self.speeds: dict[str, float] = {}
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
                    errors.print(f"note: {text}", markup=False)
            case Done():
                self._end(spec, "done")
            case Failed():
                self._end(spec, "failed")
            case Retried(reason):
                self._hide(spec)
                console.print(f"{spec.name} is tried again ({spec.id}): {reason}", markup=False, soft_wrap=True)
            case ComputedElsewhere(holder):
                console.print(f"{spec.name} is being computed by {holder} ({spec.id})", markup=False)
            case TrainingProgress(epoch, epochs, record):
                self.speeds[spec.id] = record.images_per_second if record else self.speeds.get(spec.id, 0.0)
                speed = f"{self.speeds[spec.id]:.0f} images/s" if self.speeds[spec.id] else ""
                self.progress.update(self._bar(spec), completed=epoch, total=epochs, news=speed)
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

    def _hide(self, spec: "RunSpec") -> None:
        self.speeds.pop(spec.id, None)
        if spec.id in self.bars:
            self.progress.remove_task(self.bars.pop(spec.id))

    def _end(self, spec: "RunSpec", outcome: str) -> None:
        self._hide(spec)
        self.counts[outcome] += 1
        console.print(f"[{self.counts.total()}/{self.total}] {spec.name} {outcome} ({spec.id})", markup=False)

    def _sum_up(self) -> None:
        parts = [f"{len(self.bars)} running"] if self.bars else []
        parts += [f"{self.counts['failed']} failed"] if self.counts["failed"] else []
        parts += [f"{sum(self.speeds.values()):.0f} images/s"] if any(self.speeds.values()) else []
        self.progress.update(self.runs, completed=self.counts.total(), news=", ".join(parts))


def print_failures(failures: "list[FailedRun]") -> None:
    """Print why runs failed, one line per reason, however many runs share it."""
    counts = Counter(failed.failure.reason for failed in failures)
    for reason, count in counts.items():
        first = next(failed for failed in failures if failed.failure.reason == reason)
        others = f" (and {count - 1} more)" if count > 1 else ""
        errors.print(f"error: {first.spec.name}{others}: {reason} [log: {first.log}]", markup=False)
