"""What a suite would run: its runs, each once, with their states and the time that they will take."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board.suite import Suite
from harness.experiment.grid import plan_grid
from harness.experiment.layers import PlannedRun
from harness.experiment.one_run import once_each
from harness.experiment.spec import RunSpec
from harness.machine.costs import PHASES
from harness.results.folder import DONE
from harness.results.index import StoredRun, planned_runs, runs_if_any

Key = tuple[object, ...]


def plan_suite(suite: Suite) -> list[PlannedRun]:
    """The runs of a suite, each once, in the order of its experiments.

    Raises:
        UserError: a setting that no run can take.
    """
    return once_each(item for experiment in suite.experiments for item in plan_grid(experiment))


@dataclass(frozen=True)
class TimeLeft:
    """How long the runs of a suite that are not complete will take.

    Attributes:
        done: number of complete runs.
        left: number of the others.
        seconds: of those for which there is a measurement, one run at a time.
        unknown: number of those for which there is none.
    """

    done: int
    left: int
    seconds: float
    unknown: int

    def sentence(self) -> str:
        """In words."""
        if not self.left:
            return f"{self.done} of {self.done} runs are complete: nothing would be computed"
        total = self.done + self.left
        known = self.left - self.unknown
        parts = [f"{self.done} of {total} runs are complete, {self.left} would be computed"]
        if known:
            parts.append(
                f"about {in_words(self.seconds)} for {known} of them one at a time, as measured in this folder"
            )
        if self.unknown:
            parts.append(f"no time is known for {self.unknown}, since no finished run here is like them")
        return "; ".join(parts)


def time_left(specs: Sequence[RunSpec], results: Path) -> TimeLeft:
    """The time that the runs of a suite will still take, from finished runs of the results folder.

    A run is expected to take the median of finished runs of the same method and backbone that are most like it: with
    the same protocol, data set and shots, else with the same protocol and shots, else with the same shots, else any.

    Args:
        specs: the runs.
        results: the results folder; nothing is written.
    """
    states = planned_runs(specs, results)
    todo = [spec for spec, run in zip(specs, states, strict=True) if run.state != DONE]
    measured: dict[Key, list[float]] = defaultdict(list)
    for run in runs_if_any(results) if todo else ():
        if run.result is not None:
            seconds = run.result.costs.seconds(*PHASES)
            for key in keys_of(run.result.spec):
                measured[key].append(seconds)
    known = [next((measured[key] for key in keys_of(spec) if key in measured), None) for spec in todo]
    seconds = sum(statistics.median(several) for several in known if several)
    return TimeLeft(len(specs) - len(todo), len(todo), seconds, sum(several is None for several in known))


def keys_of(spec: RunSpec) -> list[Key]:
    """What a run shares with others that take about as long, the closest first."""
    about = (spec.method, spec.backbone, spec.train.precision)
    shots, protocol = spec.data.shots, spec.protocol
    return [(*about, protocol, spec.data.dataset, shots), (*about, protocol, shots), (*about, shots), about]


def in_words(seconds: float) -> str:
    """A time in its largest unit."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"


def missing_runs(specs: Sequence[RunSpec], results: Path) -> list[StoredRun]:
    """The runs of a suite that are not complete."""
    return [run for run in planned_runs(specs, results) if run.state != DONE or run.result is None]
