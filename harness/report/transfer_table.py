"""The table of a transfer matrix: settings chosen in one place, tested in all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness.experiment.protocols import find_protocol
from harness.experiment.spec import RunSpec
from harness.report.cells import by_seed, summed_up, value_of
from harness.report.method_table import evaluations_in
from harness.report.paper_tables import file_name
from harness.report.runs import TUNED, experiment_runs
from harness.report.statistics import units_of
from harness.report.table import Cell, Table
from harness.results.folder import DONE
from harness.results.metrics import ACCURACY, SummaryMetric, summary_metrics
from harness.text import counted

RECIPE = "the recipe itself"
TO_OWN, TO_RECIPE = "minus chosen there", "minus the recipe"
Runs = Mapping[tuple[str | None, str], Sequence[RunSpec]]
"""(chosen on, tested on) -> runs on test images; chosen on None: the recipe itself."""


def named(value: str | None, over: str) -> str:
    """What a place is called: its data set, shots or protocol; None: the recipe itself."""
    return RECIPE if value is None else counted(int(value), "shot") if over == "shots" else value


def headline_metric(protocol: str) -> SummaryMetric | None:
    """The metric that runs under a protocol are judged by; None: the accuracy of their only evaluation."""
    headline = find_protocol(protocol).headline
    return next((metric for metric in summary_metrics() if metric.name == headline), None)


def transfer_table(over: str, runs: Runs, results: Path) -> Table:
    """The matrix: rows are where settings were chosen, columns where they were tested; below it differences.

    Args:
        over: what differs between the places: dataset, shots or protocol.
        runs: all of one method.
        results: the results folder.
    """
    cells: dict[tuple[str, str], Cell] = {}
    frames = []
    for (chosen_on, value), specs in runs.items():
        row, tested_on = named(chosen_on, over), named(value, over)
        frame = experiment_runs(specs, results)
        frames.append(frame.assign(label=row, variant="", exact=""))
        cells[row, tested_on] = cell_of(frame, row, tested_on)
    columns = list(dict.fromkeys(tested_on for _, tested_on in cells))
    rows = list(dict.fromkeys(row for row, _ in cells))
    score = " or ".join(dict.fromkeys(cell.block for cell in cells.values()))
    found = [replace(cells[row, column], block=score) for row in rows for column in columns]
    for block, other in ((TO_OWN, None), (TO_RECIPE, RECIPE)):
        compared = [row for row in rows if row != other]
        found += [
            difference(cells[row, column], cells.get((other or column, column)), block)
            for row in compared
            for column in columns
        ]
    spec = next(iter(runs.values()))[0]
    same = {"protocol": spec.protocol, "dataset": spec.data.dataset, "shots": counted(spec.data.shots, "shot")}
    words = [f"transfer of {spec.method} over {over}", *(word for key, word in same.items() if key != over)]
    return Table(
        name=file_name(("transfer", spec.method, over, *columns)),
        title=", ".join([*words, spec.backbone]),
        headers=("", "chosen on"),
        cells=tuple(found),
        runs=pd.concat(frames, ignore_index=True),
        tests={},
        leaderboard=TUNED,
    )


def cell_of(runs: pd.DataFrame, chosen_on: str, tested_on: str) -> Cell:
    """The headline metric of some runs: taken of the mean accuracies over seeds, as in other tables."""
    metric, done = headline_metric(str(runs["protocol"].iloc[0])), runs[runs["state"] == DONE]
    dataset = str(runs["dataset"].iloc[0])
    accuracies = {name: by_seed(done, f"{ACCURACY}.{name}") for name in evaluations_in(done)}
    title = metric.title if metric else ACCURACY
    planned = units_of(runs).nunique()
    if not accuracies:
        state = next((str(state) for state in runs["state"] if state != DONE), DONE)
        return Cell(title, chosen_on, tested_on, None, planned=planned, state=state)
    if metric:
        seeds = summed_up(metric, dataset, accuracies)
        mean = value_of(metric, dataset, {name: float(one.mean()) for name, one in accuracies.items()})
    else:
        seeds = next(iter(accuracies.values()))
        mean = float(seeds.mean())
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return Cell(title, chosen_on, tested_on, mean, spread, len(seeds), planned)


def difference(cell: Cell, other: Cell | None, block: str) -> Cell:
    """A cell minus another one of its column; no number if one of them has none."""
    known = other is not None and other.mean is not None and cell.mean is not None
    mean = (cell.mean or 0.0) - (other.mean or 0.0) if known and other else None
    return Cell(block, cell.row, cell.column, mean, seeds=cell.seeds, planned=cell.planned, state=cell.state)
