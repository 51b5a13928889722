"""The layouts of a paper's tables, as data: which cell stands where, and its mean, deviation and rank."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.report.method_table import COST_COLUMNS, Column
from harness.report.runs import DONE, FAILED, FIXED, MISSING, groups, leaderboard
from harness.report.statistics import (
    PairedTest,
    average_of_seeds,
    harmonic_mean,
    harmonic_means,
    paired_tests,
    ranks,
)

AVERAGE, COSTS, SOURCE, TARGETS = "average", "costs", "source", "targets"
BASE_TO_NEW = ("base_to_new", "base_to_new_validation")
FEW_SHOT = "few_shot"
INCOMPLETE = "incomplete"
DIGITS = 2
Values = dict[tuple[str, str, str], pd.Series]
"""(method, data set, row) -> accuracy over seeds."""


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        block: what its row belongs to: a data set, `average`, `source`, `targets` or `costs`.
        row: base, new, H, a number of shots, a target data set, or a cost with its unit.
        column: a method, or in an ablation a metric.
        mean: over seeds (percent, or the row's unit); None where there is no number.
        std: sample standard deviation over seeds; None for fewer than two.
        seeds: how many seeds there are.
        planned: how many there should be.
        state: done, missing or failed; incomplete for an average that lacks a data set.
        digits: behind the decimal point.
        rank: 1 best, 2 second, 0 neither or not ranked.
        worse: significantly worse than the best of its row.
        published: whether it is a paper's number and not ours.
    """

    block: str
    row: str
    column: str
    mean: float | None
    std: float | None = None
    seeds: int = 0
    planned: int = 0
    state: str = DONE
    digits: int = DIGITS
    rank: int = 0
    worse: bool = False
    published: bool = False


@dataclass(frozen=True)
class Table:
    """One table of a paper.

    Attributes:
        name: for its file, such as `base_to_new-16shot`.
        title: for people.
        headers: of the two columns of row names.
        cells: row by row.
        runs: what it was made of, in the form of `experiment_runs`.
        tests: paired tests, by the row that they belong to: (block, row) -> tests.
        sources: papers of the published numbers.
        leaderboard: fixed or tuned.
        by_column: whether ranks are within a column (ablations) and not within a row.
    """

    name: str
    title: str
    headers: tuple[str, str]
    cells: tuple[Cell, ...]
    runs: pd.DataFrame
    tests: dict[tuple[str, str], list[PairedTest]]
    sources: tuple[str, ...] = ()
    leaderboard: str = FIXED
    by_column: bool = False

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(block, row) in order."""
        return list(dict.fromkeys((cell.block, cell.row) for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Names of columns in order, ours before those of papers."""
        ours = dict.fromkeys(cell.column for cell in self.cells if not cell.published)
        return list(ours) + [name for name in dict.fromkeys(cell.column for cell in self.cells) if name not in ours]

    def frame(self) -> pd.DataFrame:
        """Unrounded, a line a cell."""
        return pd.DataFrame(
            [{"table": self.name, "leaderboard": self.leaderboard, **vars(cell)} for cell in self.cells]
        )


def paper_tables(runs: pd.DataFrame) -> list[Table]:
    """The tables of some runs: one for every protocol, backbone, leaderboard, and number of shots or source data set.

    Args:
        runs: as `experiment_runs` or `folder_runs` gives them.
    """
    runs = runs.assign(leaderboard=[leaderboard({"tuned": tuned}) for tuned in runs["tuned"]])
    one_backbone = runs["backbone"].nunique() == 1
    found = []
    for (protocol, backbone, board), group in groups(runs, "protocol", "backbone", "leaderboard"):
        for words, part in parts_of(protocol, group):
            # What is usual is not named in files: the only backbone, and recipes that are not tuned.
            parts = [protocol, *words, "" if one_backbone else backbone, "" if board == FIXED else board]
            title = [protocol, where(protocol, part), backbone, "" if board == FIXED else f"leaderboard: {board}"]
            table = whole_table(part)
            name, title_text = file_name(parts), ", ".join(word for word in title if word)
            found.append(replace(table, name=name, title=title_text, leaderboard=board))
    return found


def parts_of(protocol: str, runs: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The runs of one protocol in parts of which each makes a table, with words for its name."""
    if protocol == FEW_SHOT:
        yield (), runs
    elif protocol in BASE_TO_NEW:
        for shots, part in groups(runs.sort_values("shots", kind="stable"), "shots"):
            yield (f"{shots}shot",), part
    else:
        for (source, shots), part in groups(runs, "dataset", "shots"):
            yield (source, f"{shots}shot"), part


def where(protocol: str, runs: pd.DataFrame) -> str:
    """Data set and shots of a table, for its title; only what all of its runs share."""
    dataset = str(runs["dataset"].iloc[0]) if runs["dataset"].nunique() == 1 else ""
    shots = f"{runs['shots'].iloc[0]} shots" if runs["shots"].nunique() == 1 else ""
    trained = "" if protocol == FEW_SHOT or protocol in BASE_TO_NEW else "trained on "
    return ", ".join(part for part in (f"{trained}{dataset}" if dataset else "", shots) if part)


def file_name(words: Iterable[str]) -> str:
    """Words as the name of a file: data sets and backbones may be paths."""
    return "-".join(re.sub(r"[^\w.+]+", "-", str(word)).strip("-") for word in words if word)


def base_to_new(runs: pd.DataFrame) -> Table:
    """Data set x (base, new, H), then their average, whose H is that of the averages, then costs."""
    values: Values = {}
    for (label, dataset), group in groups(runs, "label", "dataset"):
        base, new = (by_seed(group, f"accuracy.{name}") for name in ("base", "new"))
        values[label, dataset, "base"], values[label, dataset, "new"] = base, new
        values[label, dataset, "H"] = harmonic_means(base, new)
    datasets = in_order(runs["dataset"])
    blocks = datasets + ([AVERAGE] if len(datasets) > 1 else [])
    for label in in_order(runs["label"]):
        for row in ("base", "new"):
            values[label, AVERAGE, row] = averaged(values, label, row, datasets)
        values[label, AVERAGE, "H"] = harmonic_means(
            values[label, AVERAGE, "base"], values[label, AVERAGE, "new"]
        ).dropna()
    cells = []
    for block in blocks:
        for row in ("base", "new", "H"):
            for label in in_order(runs["label"]):
                cell = summary(runs, block, row, label, values[label, block, row])
                if row == "H" and cell.mean is not None:
                    base, new = (values[label, block, name] for name in ("base", "new"))
                    cell = replace(cell, mean=harmonic_mean(base.mean(), new.mean()))
                cells.append(cell)
    pairs = {
        (blocks[-1], row): pairs_of(runs, values, [(name, row) for name in datasets]) for row in ("base", "new", "H")
    }
    return table_of(runs, ("data set", ""), [*cells, *cost_cells(runs)], pairs)


def few_shot(runs: pd.DataFrame) -> Table:
    """Data set x shots, then their average, then the costs at the largest number of shots."""
    values: Values = {}
    for (label, dataset, shots), group in groups(runs, "label", "dataset", "shots"):
        values[label, dataset, str(shots)] = by_seed(group, "accuracy.all")
    datasets, labels = in_order(runs["dataset"]), in_order(runs["label"])
    shots_in_order = [str(shots) for shots in sorted(runs["shots"].unique())]
    blocks = datasets + ([AVERAGE] if len(datasets) > 1 else [])
    for label in labels:
        for row in shots_in_order:
            values[label, AVERAGE, row] = averaged(values, label, row, datasets)
    none = pd.Series(dtype=float)
    cells = [
        summary(runs[runs["shots"] == int(row)], block, row, label, values.get((label, block, row), none))
        for block in blocks
        for row in shots_in_order
        for label in labels
    ]
    most = runs["shots"].max()
    costs = cost_cells(runs[runs["shots"] == most], f" at {most} shots" if len(shots_in_order) > 1 else "")
    pairs = {
        (blocks[-1], row): pairs_of(runs[runs["shots"] == int(row)], values, [(name, row) for name in datasets])
        for row in shots_in_order
    }
    return table_of(runs, ("data set", "shots"), [*cells, *costs], pairs)


def on_targets(runs: pd.DataFrame) -> Table:
    """The training data set, every target, the average over targets, and costs."""
    source = str(runs["dataset"].iloc[0])
    named = runs.columns[runs.notna().any()]
    names = [str(name).removeprefix("accuracy.") for name in named if str(name).startswith("accuracy.")]
    targets, labels = [name for name in names if name != source], in_order(runs["label"])
    values: Values = {}
    for label, group in groups(runs, "label"):
        for name in (source, *targets):
            block = SOURCE if name == source else TARGETS
            values[label, block, name] = by_seed(group, f"accuracy.{name}")
        wide = pd.DataFrame({name: values[label, TARGETS, name] for name in targets})
        values[label, TARGETS, AVERAGE] = average_of_seeds(wide, targets)
    rows = [(SOURCE, source), *((TARGETS, name) for name in targets)] + ([(TARGETS, AVERAGE)] if targets[1:] else [])
    cells = [summary(runs, *row, label, values[(label, *row)]) for row in rows for label in labels]
    pairs = {
        rows[-1]: pairs_of(runs, values, [(TARGETS, name) for name in targets]),
        rows[0]: pairs_of(runs, values, [rows[0]]),
    }
    return table_of(runs, ("", "data set"), [*cells, *cost_cells(runs)], pairs)


def ablation(runs: pd.DataFrame, knob: str) -> Table:
    """The values of one setting as rows, a block a method, with accuracies and costs as columns.

    Args:
        runs: as `knob_runs` gives them: of one protocol.
        knob: the setting, such as skip.depth.
    """
    cells = []
    for (method, value), group in groups(runs, "method", "knob"):
        for part in whole_table(group).cells:
            if (part.block, part.row) in summary_rows(group):
                cells.append(replace(part, block=str(method), row=str(value), column=part.row, rank=0, worse=False))
    protocol, shots = str(runs["protocol"].iloc[0]), in_order(runs["shots"])
    table = Table(
        name=file_name(("ablation", knob, protocol)),
        title=f"{knob}, {protocol}, {', '.join(in_order(runs['dataset']))}, {', '.join(shots)} shots",
        headers=("method", knob),
        cells=tuple(cells),
        runs=runs,
        tests={},
        by_column=True,
    )
    return replace(table, cells=ranked(table.cells, by_column=True))


def whole_table(runs: pd.DataFrame) -> Table:
    """The one table of runs of one protocol."""
    protocol = runs["protocol"].iloc[0]
    make = base_to_new if protocol in BASE_TO_NEW else few_shot if protocol == FEW_SHOT else on_targets
    return make(runs)


def summary_rows(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """(block, row) of the rows that say the most about runs of one protocol: the average, or the only data set."""
    rows = list(dict.fromkeys((cell.block, cell.row) for cell in whole_table(runs).cells))
    last = [block for block, _ in rows if block != COSTS][-1]
    return [(block, row) for block, row in rows if block in (SOURCE, COSTS) or (block == last and last != TARGETS)] + [
        (block, row) for block, row in rows if block == TARGETS and row == AVERAGE
    ]


# Parts of layouts.


def in_order(column: Iterable[object]) -> list[str]:
    """Different values, in the order in which they came, as text."""
    return list(dict.fromkeys(map(str, column)))


def by_seed(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column of the runs over their seeds, those without a number left out."""
    if name not in runs:
        return pd.Series(dtype=float)
    return pd.to_numeric(runs[name]).set_axis(runs["seed"]).dropna()


def averaged(values: Values, label: str, row: str, datasets: Sequence[str]) -> pd.Series:
    """Average over data sets of one method's row, seed by seed."""
    none = pd.Series(dtype=float)
    wide = pd.DataFrame({dataset: values.get((label, dataset, row), none) for dataset in datasets})
    return average_of_seeds(wide, datasets)


def summary(runs: pd.DataFrame, block: str, row: str, label: str, seeds: pd.Series, digits: int = DIGITS) -> Cell:
    """A cell from its values over seeds; where there are none, what became of the runs that should have given them."""
    own = runs[runs["label"] == label]
    of_dataset = own[own["dataset"] == block]
    own = of_dataset if len(of_dataset) else own
    planned = own["seed"].nunique()
    if seeds.empty:
        states = set(own["state"]) - {DONE}
        partly = block == AVERAGE and DONE in set(own["state"])
        state = FAILED if FAILED in states else INCOMPLETE if partly else MISSING
        return Cell(block, row, label, None, planned=planned, state=state, digits=digits)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return Cell(block, row, label, float(seeds.mean()), spread, len(seeds), planned, digits=digits)


def cost_cells(runs: pd.DataFrame, where: str = "") -> list[Cell]:
    """Costs of a run, averaged over data sets; a method that lacks a data set has none, one without a phase neither."""
    datasets = in_order(runs["dataset"])
    cells = []
    for column in COST_COLUMNS:
        row = [cost_cell(runs, column, label, datasets, where) for label in in_order(runs["label"])]
        if any(cell.mean is not None for cell in row):
            cells += row
    return cells


def cost_cell(runs: pd.DataFrame, column: Column, label: str, datasets: Sequence[str], where: str) -> Cell:
    """One cost of one method."""
    own = runs[(runs["label"] == label) & (runs["state"] == DONE)]
    wide = own.assign(cost=column.value(own)).pivot_table(index="seed", columns="dataset", values="cost")
    values = average_of_seeds(wide, datasets)
    cell = summary(runs, COSTS, f"{column.title}{where}", label, values, column.digits)
    complete = set(own["dataset"]) == set(datasets)
    # A phase that did not take place, such as the training of zero-shot CLIP, is no missing run.
    return replace(cell, state=DONE) if cell.mean is None and complete else cell


def pairs_of(runs: pd.DataFrame, values: Values, rows: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """What is paired in tests: a row for every seed and (data set, row), a column a method.

    A method that nothing trains has one value for all seeds.
    """
    seeds = sorted(runs["seed"].unique())
    pairs = {}
    for label in in_order(runs["label"]):
        column: dict[tuple[Any, ...], float] = {}
        for block, row in rows:
            series = values.get((label, block, row), pd.Series(dtype=float))
            if len(series) == 1 and untrained(runs, label):
                series = pd.Series(series.iloc[0], index=seeds)
            column.update({(block, row, seed): value for seed, value in series.items()})
        pairs[label] = pd.Series(column, dtype=float)
    return pd.DataFrame(pairs)


def untrained(runs: pd.DataFrame, label: str) -> bool:
    """Whether a method trains nothing, so that all seeds give the same."""
    settings = runs.loc[runs["label"] == label, "settings"].iloc[0] if "settings" in runs else {}
    return dict(settings).get("train.epochs") == 0


def table_of(
    runs: pd.DataFrame,
    headers: tuple[str, str],
    cells: Sequence[Cell],
    pairs: dict[tuple[str, str], pd.DataFrame],
) -> Table:
    """A table with ranks, and in some of its rows the methods that are significantly worse than the best."""
    found = ranked(cells)
    best = {(cell.block, cell.row): cell.column for cell in reversed(found) if cell.rank == 1}
    tests = {row: paired_tests(values, best[row]) for row, values in pairs.items() if row in best}
    worse = {(*row, test.other) for row, several in tests.items() for test in several if test.worse}
    marked = tuple(replace(cell, worse=(cell.block, cell.row, cell.column) in worse) for cell in found)
    return Table("", "", headers, marked, runs, tests)


def ranked(cells: Sequence[Cell], by_column: bool = False) -> tuple[Cell, ...]:
    """The cells with ranks: within a row, or within a column; accuracies only, and never papers' numbers."""
    groups: dict[tuple[str, ...], list[int]] = {}
    cost_titles = {column.title for column in COST_COLUMNS}
    for index, cell in enumerate(cells):
        is_cost = cell.block == COSTS or (by_column and cell.column in cost_titles)
        if cell.mean is not None and not cell.published and not is_cost:
            groups.setdefault((cell.column,) if by_column else (cell.block, cell.row), []).append(index)
    found = list(cells)
    for indices in groups.values():
        for index, rank in zip(indices, ranks([cells[i].mean or 0.0 for i in indices]), strict=True):
            found[index] = replace(cells[index], rank=rank)
    return tuple(found)
