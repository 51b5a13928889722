"""The progress of runs, and how they ended."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.progress import TaskID

from harness.cli.console import console, counting_bars, errors

if TYPE_CHECKING:
    from harness.experiment.spec import RunSpec
    from harness.schedule import FailedRun


class Watcher:
    """Shows the progress of runs: bars on a terminal, a line a run elsewhere.

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

    def on_news(self, spec: "RunSpec", news: dict[str, Any]) -> None:
        """Take news from a run."""
        if "notice" in news:
            if news["notice"] not in self.notices:
                self.notices.add(news["notice"])
                errors.print(f"note: {news['notice']}", markup=False)
        elif "done" in news or "failed" in news:
            self._end(spec, "failed" if "failed" in news else "done")
        elif "retry" in news:
            self._hide(spec)
            console.print(f"{spec.name} is tried again ({spec.id}): {news['retry']}", markup=False, soft_wrap=True)
        elif "elsewhere" in news:
            console.print(f"{spec.name} is being computed by {news['elsewhere']} ({spec.id})", markup=False)
        elif "epoch" in news:
            self.speeds[spec.id] = news.get("images_per_second", self.speeds.get(spec.id, 0.0))
            speed = f"{self.speeds[spec.id]:.0f} images/s" if self.speeds[spec.id] else ""
            self.progress.update(self._bar(spec), completed=news["epoch"], total=news["epochs"], news=speed)
        else:
            self.progress.update(self._bar(spec), news=news.get("phase", ""))
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
    """Why runs failed: a line for every reason, however many runs share it."""
    counts = Counter(failed.failure.reason for failed in failures)
    for reason, count in counts.items():
        first = next(failed for failed in failures if failed.failure.reason == reason)
        others = f" (and {count - 1} more)" if count > 1 else ""
        errors.print(f"error: {first.spec.name}{others}: {reason} [log: {first.log}]", markup=False)
