"""How far rounding moves the methods of a table, beside how far their seeds lie apart."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.experiment.protocols import find_protocol
from harness.report.marks import ROUNDING_MARK
from harness.report.table import COSTS, UNMEASURED, Cell
from harness.results.folder import DONE
from harness.results.metrics import METRICS, SummaryMetric, accuracies_in
from harness.results.rounding import read_rounding

ROUNDING = "rounding"
# Runs of one setting of a method: whatever sets them apart in a table, if it is there.
SETTING = ("protocol", "backbone", "label", "axis", "dataset", "tail", "shots")


def with_rounding(runs: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Runs with a column `rounding`: how far rounding moves their headline metric, in points; NaN where not measured.

    Where nothing trains by steps it is 0 by definition. The runs of a setting that rounding moves by the standard
    deviation of its seeds or more are marked, so that they are not ranked; runs that have another mark keep it.

    Args:
        runs: as `experiment_runs`, `folder_runs` or `axis_runs` gives them.
        results: the results folder.

    Raises:
        DamagedError: a measurement cannot be read.
    """
    moves = [moves_of(row, results) for row in runs.to_dict("records")]
    runs = runs.assign(**{ROUNDING: pd.Series(moves, index=runs.index, dtype=float)})
    marks = (runs["mark"] if "mark" in runs else pd.Series("", index=runs.index, dtype=object)).fillna("")
    keys = [key for key in SETTING if key in runs]
    done = runs[runs["state"] == DONE].groupby(keys, sort=False)
    moved = {index for _, group in done if is_as_far_as_seeds(group) for index in group.index}
    return runs.assign(mark=[mark or (ROUNDING_MARK if at in moved else "") for at, mark in marks.items()])


def moves_of(row: Mapping[Hashable, Any], results: Path) -> float:
    """How far rounding moves one run, in points; NaN if it is not complete or not measured."""
    settings = row.get("settings")
    if row["state"] != DONE:
        return float("nan")
    if isinstance(settings, dict) and settings.get("train.epochs") == 0:
        return 0.0
    found = read_rounding(results, str(row["id"]))
    return found.score_moves if found else float("nan")


def is_as_far_as_seeds(runs: pd.DataFrame) -> bool:
    """Whether rounding moves the runs of one setting by the sample standard deviation of their seeds or more."""
    moves, scores = runs[ROUNDING].max(), headline_scores(runs)
    return bool(moves > 0 and len(scores) > 1 and moves >= scores.std(ddof=1))


def headline_scores(runs: pd.DataFrame) -> pd.Series:
    """The metric that methods are ranked by, one value a run; the mean accuracy where it is not defined."""
    metric = METRICS[find_protocol(str(runs["protocol"].iloc[0])).headline]
    scores = []
    for row in runs.to_dict("records"):
        numbers = {str(name): value for name, value in row.items()}
        accuracies = {name: float(value) for name, value in accuracies_in(numbers).items() if value == value}
        found = metric.of_accuracies(row["dataset"], accuracies) if isinstance(metric, SummaryMetric) else None
        scores.append(pd.Series(accuracies, dtype=float).mean() if found is None else found)
    return pd.Series(scores, index=runs.index, dtype=float).dropna()


def rounding_cells(runs: pd.DataFrame, where: str = "") -> list[Cell]:
    """The row of a table that says how far rounding moves each method: the most of all of its runs in the table.

    Args:
        runs: of the table, in the form of `with_rounding`; without its column there are no cells.
        where: added to the row's name.
    """
    if ROUNDING not in runs:
        return []
    row = f"{title_of(runs)}{where}"
    cells = []
    for label, own in runs.groupby("label", sort=False):
        most, known = own[ROUNDING].max(), int(own[ROUNDING].notna().sum())
        mean, state = (float(most), DONE) if known else (None, UNMEASURED)
        cells.append(Cell(COSTS, row, str(label), mean, seeds=known, planned=known, state=state))
    return cells


def title_of(runs: pd.DataFrame) -> str:
    """The name of the row: the metric that moves."""
    return f"{METRICS[find_protocol(str(runs['protocol'].iloc[0])).headline].title} by rounding"


def rounding_notes(runs: pd.DataFrame) -> list[str]:
    """What the row means, which methods were measured in part, and why marked ones are not ranked."""
    if ROUNDING not in runs or runs.empty:
        return []
    names = runs["label" if "label" in runs else "method"]
    groups = list(runs.groupby(names, sort=False))
    partly = [
        f"{name} {own[ROUNDING].notna().sum()} of {len(own)}"
        for name, own in groups
        if 0 < own[ROUNDING].notna().sum() < len(own)
    ]
    measured = f" Measured in part (runs): {', '.join(partly)}." if partly else ""
    notes = [
        f"{title_of(runs)}: the most that a run moves, in points, when its initial values move by one unit in the last "
        f"place (skipbench stability); 0 where nothing trains by steps; a dash: not measured.{measured}"
    ]
    marked = [str(name) for name, own in groups if (own["mark"] == ROUNDING_MARK).any()]
    if marked:
        notes.append(
            f"{ROUNDING_MARK}: rounding moves it by the standard deviation of its seeds or more, so not ranked: "
            f"{', '.join(marked)}."
        )
    return notes
