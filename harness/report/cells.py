"""Cells of tables from runs: values over seeds, averages over data sets, costs, ranks, paired tests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
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
    if seeds.empty and refused_in(own).keys() & set(parts or (row,)):
        return Cell(block, row, label, None, planned=planned, state=REFUSED, digits=digits)
    if seeds.empty:
        states = set(own["state"]) - {DONE}
        partly = block == AVERAGE and DONE in set(own["state"])
        state = FAILED if states & {FAILED, DAMAGED} else INCOMPLETE if partly else MISSING
        return Cell(block, row, label, None, planned=planned, state=state, digits=digits)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    mark = mark_in(own)
    return Cell(block, row, label, float(seeds.mean()), spread, len(seeds), planned, digits=digits, mark=mark)


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
    by_label = {label: runs[runs["label"] == label] for label in in_order(runs["label"])}
    finished = {label: own[own["state"] == DONE] for label, own in by_label.items()}
    cells = []
    for column in (*other_score_columns(runs), *cost_columns(done)):
        if column.values(done).isna().all():
            continue
        row = [cost_cell(own, finished[label], column, label, datasets, where) for label, own in by_label.items()]
        if any(cell.mean is not None for cell in row):
            cells += row
    return [*cells, *rounding_cells(runs, where), *wording_cells(runs, where)]


def cost_cell(
    own: pd.DataFrame, done: pd.DataFrame, column: Column, label: str, datasets: Sequence[str], where: str
) -> Cell:
    """One method's cost.

    Args:
        own: the method's runs.
        done: those of them that are complete.
        column: which cost.
        label: of the method.
        datasets: that the average must cover.
        where: added to the row's name.
    """
    costs = pd.DataFrame({"seed": units_of(done), "dataset": done["dataset"], "cost": column.values(done)})
    values = average_of_seeds(costs.pivot_table(index="seed", columns="dataset", values="cost"), datasets)
    cell = summary(own, COSTS, f"{column.title}{where}", label, values, column.digits)
    cell = replace(cell, mark=column.mark(done))
    complete = set(done["dataset"]) == set(datasets)
    # A phase that does not exist, such as the training of zero-shot CLIP, is not a missing run.
    return replace(cell, state=DONE) if cell.mean is None and complete else cell


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
