"""Cells of tables from runs: values over seeds, averages over data sets, costs, ranks, paired tests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from harness.machine.costs import FIT, SELECT
from harness.report.below import below_zero_shot
from harness.report.marks import mark_in, refused_in
from harness.report.method_table import Column, cost_columns, numbers_of, other_score_columns
from harness.report.rounding import rounding_cells
from harness.report.runs import in_order
from harness.report.statistics import average_of_seeds, paired_tests, ranks, units_of
from harness.report.table import AVERAGE, COSTS, DIGITS, INCOMPLETE, REFUSED, SOURCE, TARGETS, Cell, Table
from harness.report.wordings import wording_cells
from harness.results.folder import DAMAGED, DONE, FAILED, MISSING
from harness.results.metrics import SummaryMetric, summary_metrics

Values = dict[tuple[str, str, str], pd.Series]
"""(method, data set, row) -> accuracy over seeds."""


NO_SEEDS = pd.Series(dtype=float)


def value_of(metric: SummaryMetric, source: str, accuracies: Mapping[str, float]) -> float | None:
    """A metric that sums up accuracies, in the unit of its title; None if it is not defined."""
    value = metric.of_accuracies(source, accuracies)
    return None if value is None else value * metric.scale


def summed_up(metric: SummaryMetric, source: str, accuracies: Mapping[str, pd.Series]) -> pd.Series:
    """A metric over seeds, from accuracies over seeds; only seeds that have every accuracy."""
    wide = pd.DataFrame(dict(accuracies)).dropna()
    rows = zip(*(wide[name] for name in accuracies), strict=True)
    found = [value_of(metric, source, dict(zip(accuracies, row, strict=True))) for row in rows]
    return pd.Series(found, index=wide.index, dtype=float)


def by_seed(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column of the runs by seed and sample, without runs that have no number in it.

    The same sample and seed may have been asked for in two ways; it counts once.
    """
    if name not in runs:
        return NO_SEEDS
    found = pd.to_numeric(runs[name]).set_axis(units_of(runs)).dropna()
    return found[~found.index.duplicated()]


def averaged(values: Values, label: str, row: str, datasets: Sequence[str]) -> pd.Series:
    """One method's average over data sets of a row, seed by seed."""
    wide = pd.DataFrame({dataset: values.get((label, dataset, row), NO_SEEDS) for dataset in datasets})
    return average_of_seeds(wide, datasets)


def summary(
    runs: pd.DataFrame,
    block: str,
    row: str,
    label: str,
    seeds: pd.Series,
    digits: int = DIGITS,
    parts: Collection[str] = (),
) -> Cell:
    """A cell from its values over seeds; if there are none, with the state of the runs that should have given them.

    Args:
        runs: of the table.
        block, row: of the cell.
        label: its column.
        seeds: the values.
        digits: after the decimal point.
        parts: evaluations that it is made of; empty: that of its row.
    """
    own = runs[runs["label"] == label]
    # A block of a data set has no runs of a method that was never meant to be trained on it.
    own = own if block in (AVERAGE, COSTS, SOURCE, TARGETS) else own[own["dataset"] == block]
    planned = units_of(own).nunique()
    if seeds.empty:
        return Cell(
            block, row, label, None, planned=planned, state=why_empty(own, block, parts or (row,)), digits=digits
        )
    return cell_of(block, row, label, seeds, planned, digits, mark_in(own))


def why_empty(own: pd.DataFrame, block: str, parts: Collection[str]) -> str:
    """The state of a cell of a method's runs that has no value.

    Args:
        own: runs that should have given one.
        block: of the cell.
        parts: evaluations that it is made of.
    """
    if refused_in(own).keys() & set(parts):
        return REFUSED
    states = set(own["state"])
    if states & {FAILED, DAMAGED}:
        return FAILED
    return INCOMPLETE if block == AVERAGE and DONE in states else MISSING


def cell_of(block: str, row: str, label: str, seeds: pd.Series, planned: int, digits: int, mark: str) -> Cell:
    """A cell from its values over seeds, of which there is at least one."""
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    values = tuple(map(float, seeds))
    return Cell(block, row, label, float(seeds.mean()), spread, len(seeds), planned,
                digits=digits, mark=mark, values=values)  # fmt: skip


def summary_cells(
    runs: pd.DataFrame,
    values: Values,
    metric: SummaryMetric,
    row: tuple[str, str],
    source: str,
    parts: Sequence[tuple[str, str]],
) -> list[Cell]:
    """One row of a metric that sums up accuracies, taken of the mean accuracies; its seeds are added to `values`.

    Args:
        runs: of the table.
        values: accuracies over seeds.
        metric: which.
        row: (block, row) of the cells.
        source: the training data set.
        parts: (block, row) of what it sums up.
    """
    cells = []
    for label in in_order(runs["label"]):
        accuracies = {name: values.get((label, block, name), NO_SEEDS) for block, name in parts}
        values[(label, *row)] = summed_up(metric, source, accuracies)
        cell = summary(runs, *row, label, values[(label, *row)], metric.digits, [name for _, name in parts])
        if cell.mean is not None:
            means = {name: float(seeds.mean()) for name, seeds in accuracies.items()}
            cell = replace(cell, mean=value_of(metric, source, means))
        cells.append(cell)
    return cells


def cost_cells(runs: pd.DataFrame, where: str = "") -> list[Cell]:
    """Costs of a run, averaged over data sets; empty for a method that lacks a data set or has no such phase.

    How far rounding and wordings move a method follows, where that is asked for.
    """
    datasets, done = in_order(runs["dataset"]), runs[runs["state"] == DONE]
    # A table of runs has hundreds of columns: rows are chosen once, not for every cost.
    methods = [MethodRuns.of(runs, label) for label in in_order(runs["label"])]
    cells = []
    for column in (*other_score_columns(runs), *cost_columns(done)):
        if column.values(done).isna().all():
            continue
        row = [cost_cell(own, column, datasets, where) for own in methods]
        if any(cell.mean is not None for cell in row):
            cells += row
    return [*cells, *rounding_cells(runs, where), *wording_cells(runs, where)]


@dataclass(frozen=True)
class MethodRuns:
    """The runs of one column of a table.

    Attributes:
        label: of the method.
        runs: all of them.
        done: those that are complete.
        places: unit (`units_of`) and data set of each of these.
        planned: number of units of all.
    """

    label: str
    runs: pd.DataFrame
    done: pd.DataFrame
    places: list[tuple[Any, str]]
    planned: int

    @classmethod
    def of(cls, runs: pd.DataFrame, label: str) -> "MethodRuns":
        """The runs of a method among others."""
        own = runs[runs["label"] == label]
        done = own[own["state"] == DONE]
        places = list(zip(units_of(done).tolist(), done["dataset"].tolist(), strict=True))
        return cls(label, own, done, places, units_of(own).nunique())


def cost_cell(own: MethodRuns, column: Column, datasets: Sequence[str], where: str) -> Cell:
    """One method's cost.

    Args:
        own: the method's runs.
        column: which cost.
        datasets: that the average must cover.
        where: added to the row's name.
    """
    values = averages(own.places, column.values(own.done), datasets)
    row = f"{column.title}{where}"
    if not values.empty:
        return cell_of(COSTS, row, own.label, values, own.planned, column.digits, column.mark(own.done))
    # A phase that does not exist, such as the training of zero-shot CLIP, is not a missing run.
    complete = {dataset for _, dataset in own.places} == set(datasets)
    state = DONE if complete else why_empty(own.runs, COSTS, (row,))
    return Cell(COSTS, row, own.label, None, planned=own.planned, state=state, digits=column.digits,
                mark=column.mark(own.done))  # fmt: skip


def averages(places: Sequence[tuple[Any, str]], numbers: pd.Series, datasets: Sequence[str]) -> pd.Series:
    """Means over data sets of one number of each run, unit by unit; only units that have it on every data set.

    Args:
        places: unit and data set of each run.
        numbers: of each run.
        datasets: that a mean must cover.
    """
    found: dict[Any, dict[str, list[float]]] = {}
    for (unit, dataset), number in zip(places, numbers, strict=True):
        if number == number:
            found.setdefault(unit, {}).setdefault(dataset, []).append(float(number))
    means = {
        unit: fmean(fmean(own[dataset]) for dataset in datasets)
        for unit, own in sorted(found.items())
        if own.keys() >= set(datasets)
    }
    return pd.Series(means, dtype=float)


def pairs_of(runs: pd.DataFrame, values: Values, rows: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The matrix for paired tests: one row per (seed, sample) and (data set, row), one column per method.

    The one value of a method that trains nothing counts for all seeds.
    """
    seeds = sorted(units_of(runs).unique())
    pairs = {}
    for label in in_order(runs["label"]):
        column: dict[tuple[Any, ...], float] = {}
        for block, row in rows:
            series = values.get((label, block, row), NO_SEEDS)
            if len(series) == 1 and untrained(runs, label):
                series = pd.Series(series.iloc[0], index=seeds)
            column.update({(block, row, seed): value for seed, value in series.items()})
        pairs[label] = pd.Series(column, dtype=float)
    return pd.DataFrame(pairs)


def untrained(runs: pd.DataFrame, label: str) -> bool:
    """Whether a method learns nothing from the shots, so that all seeds give the same result."""
    own = runs[runs["label"] == label]
    settings = own["settings"].iloc[0] if "settings" in runs else {}
    learns = any((numbers_of(own, f"{phase}.seconds") > 0).any() for phase in (FIT, SELECT))
    return dict(settings).get("train.epochs") == 0 and not learns


def table_of(
    runs: pd.DataFrame,
    headers: tuple[str, str],
    cells: Sequence[Cell],
    pairs: dict[tuple[str, str], pd.DataFrame],
) -> Table:
    """A table with ranks, marks of methods that are significantly worse than the best of their row, and of numbers
    below zero-shot CLIP.

    Numbers that chose on too much are neither ranked nor tested.

    Args:
        runs: what it is made of.
        headers: of the two columns of row names.
        cells: row by row.
        pairs: (block, row) -> matrix for the paired tests of that row.
    """
    found = ranked(below_zero_shot(cells, runs))
    best = {(cell.block, cell.row): cell.column for cell in reversed(found) if cell.rank == 1}
    unfair = {(cell.block, cell.row, cell.column) for cell in found if cell.mark}
    fair = {row: values[[name for name in values if (*row, name) not in unfair]] for row, values in pairs.items()}
    tests = {row: paired_tests(values, best[row]) for row, values in fair.items() if row in best}
    worse = {(*row, test.other) for row, several in tests.items() for test in several if test.worse}
    cells = tuple(replace(cell, worse=(cell.block, cell.row, cell.column) in worse) for cell in found)
    return Table("", "", headers, cells, runs, tests)


def ranked(cells: Sequence[Cell], by_column: bool = False, unranked: Collection[str] = frozenset()) -> tuple[Cell, ...]:
    """The cells with ranks within their row or column; costs, published and marked numbers are not ranked.

    Args:
        cells: of one table.
        by_column: rank within columns instead of rows.
        unranked: columns that are not ranked.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, cell in enumerate(cells):
        is_cost = cell.block == COSTS or cell.column in unranked
        if cell.mean is not None and not cell.published and not cell.mark and not is_cost:
            groups.setdefault((cell.column,) if by_column else (cell.block, cell.row), []).append(index)
    falling = {metric.title for metric in summary_metrics() if not metric.higher_is_better}
    found = list(cells)
    for group, indices in groups.items():
        sign = -1.0 if group[-1] in falling else 1.0
        for index, rank in zip(indices, ranks([sign * (cells[i].mean or 0.0) for i in indices]), strict=True):
            found[index] = replace(cells[index], rank=rank)
    return tuple(found)
