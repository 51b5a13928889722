"""What `skipbench runs` and `show` tell of a run in single lines: what sets it apart, when it ended, its curves."""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.experiment.differences import differences, in_short
from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord
from harness.results.index import StoredRun
from harness.results.log import last_entry_time
from harness.results.metrics import METRICS, accuracies_in, evaluation_values, summary_values
from harness.results.record import Result

BARS = "▁▂▃▄▅▆▇█"
WIDEST = 40
"""Most bars of a curve: of longer ones the values between are left out."""
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class RunLine:
    """What is kept of a run until its line can be printed: thousands of results would take a gigabyte.

    Attributes:
        id: of the run.
        name: for people.
        state: one of `harness.results.folder.STATES`.
        spec: what it is; None if that is not known.
        outcome: as `outcome_of` tells it.
        when: as the function of that name tells it.
    """

    id: str
    name: str
    state: str
    spec: RunSpec | None
    outcome: str
    when: str

    @classmethod
    def of(cls, run: StoredRun) -> "RunLine":
        """The line of a run, whatever became of it."""
        return cls(run.id, run.name, run.state, run.spec, outcome_of(run), when(run))

    def text(self, apart: Sequence[str]) -> str:
        """The line.

        Args:
            apart: the settings in which the run differs from others of its name.
        """
        about = [self.spec.protocol, self.name, *settings_told(self.spec, apart)] if self.spec else ["-", self.name]
        told = ", ".join(filter(None, [self.outcome, self.when]))
        return f"{self.state:11s} {self.id} {' '.join(about)}: {told}"


def settings_told(spec: RunSpec, apart: Sequence[str]) -> list[str]:
    """What sets a run apart from others of its name, and from its recipe, as KEY=VALUE.

    Args:
        spec: of the run.
        apart: the settings in which it differs from others of its name.
    """
    keys = {text.partition("=")[0] for text in apart}
    changed = in_short(spec.method, differences(spec))
    return [*apart, *(text for text in changed if text.partition("=")[0] not in keys)]


def outcome_of(run: StoredRun) -> str:
    """What came of a run, and what sums up its accuracies."""
    return " ".join([run.outcome, *(summaries(run.result) if run.result else ())])


def summaries(result: Result) -> list[str]:
    """What sums up the accuracies of a run, such as `H 59.58`; nothing does where an evaluation was refused."""
    if result.refusals:
        return []
    found = summary_values(result.spec.data.dataset, accuracies_in(evaluation_values(result)))
    return [f"{METRICS[name].title} {METRICS[name].shown(value)}" for name, value in found.items()]


def when(run: StoredRun, now: datetime.datetime | None = None) -> str:
    """When the run's log was written last, with its age: `2026-11-28 20:15 (3 h ago)`; empty without a log."""
    ended = last_entry_time(run.folder.log_file)
    if ended is None:
        return ""
    seconds = ((now or datetime.datetime.now(datetime.timezone.utc)) - ended).total_seconds()
    return f"{ended.astimezone():%Y-%m-%d %H:%M} ({age(seconds)} ago)"


def age(seconds: float) -> str:
    """A time in its largest unit: 5 s, 12 min, 3 h, 8 d."""
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    return f"{max(0, math.floor(seconds / size))} {unit}"


def sparkline(values: Sequence[float]) -> str:
    """Values as bars of eight heights, from the lowest to the highest; a value that is not finite is a gap."""
    step = max(1, math.ceil(len(values) / WIDEST))
    # The last value is always among them.
    shown = list(values[::-step][::-1])
    known = [value for value in shown if math.isfinite(value)]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)

    def bar(value: float) -> str:
        height = (value - low) / span if span else 0.5
        return BARS[min(len(BARS) - 1, int(height * len(BARS)))] if math.isfinite(value) else " "

    return "".join(map(bar, shown))


def curves(records: Sequence[EpochRecord]) -> list[str]:
    """Loss and accuracies over the epochs of a run, one line each."""
    if not records:
        return []
    losses = [record.loss for record in records]
    lines = [curve("loss", losses, f"{losses[0]:.4g} to {losses[-1]:.4g}")]
    for name in dict.fromkeys(name for record in records for name in record.accuracies):
        points = {record.epoch: record.accuracies[name] for record in records if name in record.accuracies}
        best = max(points, key=lambda epoch: points[epoch])
        values = list(points.values())
        lines.append(
            curve(name, values, f"{values[0]:.2f} to {values[-1]:.2f} %, best {points[best]:.2f} in epoch {best}")
        )
    return lines


def curve(name: str, values: Sequence[float], words: str) -> str:
    """One curve as a line."""
    return f"{name:20s} {sparkline(values)} {words}"
