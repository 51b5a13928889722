"""Seconds and memory of whole runs, from the start of their process to its end, with the speed-ups and without.

    python -m experiments.measure_whole_run
    python -m experiments.measure_whole_run --methods skip,coop --rounds 3 --warm
    python -m experiments.measure_whole_run --beside ../other-checkout --only on --write whole.json

Every run is a process of its own, on the embedded benchmark with seed 1 and the recipe of its backbone, with empty
stores of features and pictures. In each round every method is computed in turn: on, off, and the same by other
checkouts. The medians count, of ratios those within rounds. What the columns mean, and what off computes, says
docs/whole_run.md. Linux only.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.measure_start import ROOT, stores_in
from experiments.measured_process import Cost, adopt_orphans, measured
from harness.experiment.registry import method_names
from harness.machine.costs import PHASES

ON, OFF, WARM = "on", "off", "warm"
ONE_RUN = Path(__file__).with_name("one_whole_run.py")
REST = "rest"
# Few pictures and epochs, so that all methods take minutes: what a run pays once weighs more here than in a real one.
SHOTS, SHORT = 4, ("train.epochs=2",)
FIXED = ("wandb.mode=disabled", "runtime.workers=0")


@dataclass(frozen=True)
class Phase:
    """What a phase of a run took: wall and CPU seconds, and on a CPU the exact peak of live tensors in MiB."""

    wall: float
    cpu: float
    mib: float


@dataclass(frozen=True)
class WholeRun:
    """One process: the phases that computed something, everything together, and its accuracies in percent."""

    phases: dict[str, Phase]
    whole: Cost
    accuracies: tuple[float, ...]

    @property
    def rest(self) -> Cost:
        """What is in no phase."""
        phases = self.phases.values()
        wall, cpu = sum(phase.wall for phase in phases), sum(phase.cpu for phase in phases)
        return Cost(self.whole.wall - wall, self.whole.cpu - cpu)

    @property
    def peak(self) -> float:
        """The highest peak of all phases, in MiB."""
        return max((phase.mib for phase in self.phases.values()), default=0.0)


@dataclass(frozen=True)
class Way:
    """One way to compute a run: by a checkout, with the speed-ups on or off, or with what an earlier run has stored."""

    checkout: Path
    setting: str

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.setting if self.checkout == ROOT else f"{self.setting}, {self.checkout.name}"


def ways_of(only: str | None, warm: bool, beside: Sequence[Path]) -> list[Way]:
    """What is measured in turn, the reference first; warm follows on, whose stores it uses."""
    settings = [only] if only else [ON, OFF]
    if warm and ON in settings:
        settings.insert(settings.index(ON) + 1, WARM)
    return [Way(checkout, setting) for checkout in (ROOT, *beside) for setting in settings]


def a_run(method: str, way: Way, shots: int, settings: Sequence[str], stores: Path) -> WholeRun:
    """Compute one run in an empty results folder."""
    with tempfile.TemporaryDirectory() as results:
        setting = OFF if way.setting == OFF else ON
        words = [str(ONE_RUN), method, setting, str(shots), results, *FIXED, *settings]
        cost, text = measured(words, way.checkout, stores_in(stores))
    return read_run(cost, text)


def read_run(cost: Cost, text: str) -> WholeRun:
    """What a process took and printed."""
    found = json.loads(text.splitlines()[-1])
    phases = {name: Phase(**phase) for name, phase in found["phases"].items()}
    return WholeRun(phases, cost, tuple(found["accuracies"]))


def a_round(
    method: str, ways: Sequence[Way], shots: int, settings: Sequence[str], found: dict[Way, list[WholeRun]]
) -> None:
    """Compute a method in every way once; each way has stores of its own, but warm has those of on."""
    with tempfile.TemporaryDirectory() as folder:
        for way in ways:
            stores = Path(folder) / f"{ways.index(Way(way.checkout, ON)) if way.setting == WARM else ways.index(way)}"
            run = a_run(method, way, shots, settings, stores)
            found.setdefault(way, []).append(run)
            print(f"  {way.title}: {run.whole.cpu:.1f} CPU s, {run.whole.wall:.1f} s", file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    """0 of no values."""
    return statistics.median(values) if values else 0.0


def number(value: float, digits: int) -> str:
    """A dash for what a run does not have."""
    return f"{value:.{digits}f}" if value else "-"


def phase_numbers(runs: Sequence[WholeRun], quantity: str, digits: int) -> list[str]:
    """The medians of a quantity of every phase."""
    found = [[getattr(run.phases[name], quantity) for run in runs if name in run.phases] for name in PHASES]
    return [number(median(values), digits) for values in found]


def seconds_row(runs: Sequence[WholeRun], reference: Sequence[WholeRun]) -> list[str]:
    """CPU seconds of phases, rest and whole; wall seconds of rest and whole; how often on is contained in it."""
    pairs = list(zip(runs, reference, strict=True))
    in_phases = median([(a.whole.cpu - a.rest.cpu) / (b.whole.cpu - b.rest.cpu) for a, b in pairs])
    whole = median([a.whole.cpu / b.whole.cpu for a, b in pairs])
    rests, wholes = [run.rest for run in runs], [run.whole for run in runs]
    ends = [median([cost.cpu for cost in costs]) for costs in (rests, wholes)]
    ends += [median([cost.wall for cost in costs]) for costs in (rests, wholes)]
    ratios = ["1", "1"] if runs is reference else [f"{in_phases:.2f}", f"{whole:.2f}"]
    return [*phase_numbers(runs, "cpu", 2), *(f"{value:.2f}" for value in ends), *ratios]


def memory_row(runs: Sequence[WholeRun], reference: Sequence[WholeRun]) -> list[str]:
    """Peak of phases and run in MiB, and how often that of the reference is contained in it."""
    ratio = median([run.peak for run in runs]) / (median([run.peak for run in reference]) or 1.0)
    peak = number(median([run.peak for run in runs]), 1)
    return [*phase_numbers(runs, "mib", 1), peak, "1" if runs is reference else f"{ratio:.2f}"]


Found = dict[str, dict[Way, list[WholeRun]]]
SECONDS = (*PHASES, REST, "whole", "rest wall", "wall", "x phases", "x whole")
MEMORY = (*PHASES, "run", "x run")


def table(found: Found, columns: Sequence[str], row: Any) -> list[list[str]]:
    """Head and rows of a table; the first way of each method is what the others are compared with."""
    rows = [["method", "", *columns]]
    for method, by_way in found.items():
        reference = next(iter(by_way.values()))
        rows += [[method, way.title, *row(runs, reference)] for way, runs in by_way.items()]
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """A table with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = [
        [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join(" ".join(row).rstrip() for row in words)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same in Markdown."""
    head, *body = rows
    marks = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, marks, *body])


def unequal(found: Found) -> list[str]:
    """One line for each method whose accuracies are not the same in all ways."""
    lines = []
    for method, by_way in found.items():
        several = {way.title: runs[0].accuracies for way, runs in by_way.items()}
        if len(set(several.values())) > 1:
            shown = "; ".join(f"{way}: {', '.join(f'{one:.2f}' for one in them)}" for way, them in several.items())
            lines.append(f"accuracies of {method} differ: {shown}")
    return lines


def as_json(found: Found, settings: Sequence[str]) -> str:
    """Every run, as it was measured."""
    runs = [
        {"method": method, "way": way.title, "round": turn, "rest": run.rest._asdict(), **asdict(run)}
        | {"whole": run.whole._asdict()}
        for method, by_way in found.items()
        for way, several in by_way.items()
        for turn, run in enumerate(several)
    ]
    return json.dumps({"settings": list(settings), "runs": runs}, indent=1) + "\n"


def write(path: Path, found: Found, settings: Sequence[str]) -> None:
    """Write JSON, or with the ending .md both tables."""
    tables = [as_markdown(table(found, SECONDS, seconds_row)), as_markdown(table(found, MEMORY, memory_row))]
    path.write_text("\n\n".join(tables) + "\n" if path.suffix == ".md" else as_json(found, settings))


def main() -> None:
    """Measure in turn, and print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--methods", default="all", help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=(ON, OFF), help="only with the speed-ups, or only without")
    parser.add_argument("--warm", action="store_true", help="also a second run, with the stores of the first")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another checkout of the project")
    parser.add_argument("--shots", type=int, default=SHOTS, help="pictures of each class")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--write", type=Path, action="append", default=[], help="a file .json or .md; several times")
    parser.add_argument("settings", nargs="*", help=f"instead of {' '.join(SHORT)}: of the runs; '-' for the recipes'")
    asked = parser.parse_args()
    adopt_orphans()
    own = list(asked.settings or SHORT)
    settings = [f"runtime.threads={asked.threads}", *(word for word in own if word != "-")]
    methods = method_names() if asked.methods == "all" else asked.methods.split(",")
    ways = ways_of(asked.only, asked.warm, [path.resolve() for path in asked.beside])
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{asked.rounds} rounds; {asked.shots} shots; {' '.join(settings)}; {machine}")
    found: Found = {}
    for turn in range(asked.rounds):
        for place, method in enumerate(methods):
            done = turn * len(methods) + place
            print(f"{done}/{asked.rounds * len(methods)} {method}", file=sys.stderr, flush=True)
            a_round(method, ways, asked.shots, settings, found.setdefault(method, {}))
            for path in asked.write:
                write(path, found, settings)
    print(f"\nCPU seconds\n{as_text(table(found, SECONDS, seconds_row))}")
    print(f"\npeak MiB\n{as_text(table(found, MEMORY, memory_row))}\n")
    print("\n".join([*unequal(found), f"load {os.getloadavg()[0]:.1f}"]))


if __name__ == "__main__":
    main()
