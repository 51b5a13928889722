"""Transfer in both directions: where runs trained on A were tested on B and the reverse, both stand side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import pandas as pd

from harness.experiment.protocols import Layout
from harness.report.comparison_figures import CellMap
from harness.report.figures import UNTRAINED
from harness.report.footnotes import variant_key
from harness.report.marks import marked, strongest
from harness.report.paper_tables import file_name, where
from harness.report.run_notes import marks_note
from harness.report.runs import in_order, protocol_of
from harness.report.statistics import signed
from harness.report.table import TARGETS, Cell, Table
from harness.results.folder import DONE

BOTH = "both-directions"


def direction_tables(tables: Iterable[Table]) -> list[Table]:
    """Of tables with one training data set each: those of the pairs of data sets that were measured both ways.

    Args:
        tables: as `paper_tables` gives them; those of other layouts are left out.

    Returns:
        One table for all tables that differ in their training data set alone, if it has a pair at all.
    """
    alike: dict[tuple[str, ...], dict[str, Table]] = {}
    for table in tables:
        if protocol_of(table.runs).layout == Layout.TARGETS:
            shared = table.runs[["protocol", "backbone", "tail", "shots"]].iloc[0]
            alike.setdefault((*map(str, shared), table.leaderboard, table.track), {})[source_of(table)] = table
    found = [both_directions(of_sources) for of_sources in alike.values()]
    return [table for table in found if table is not None]


def source_of(table: Table) -> str:
    """The data set that the runs of a table were trained on."""
    return str(table.runs["dataset"].iloc[0])


def both_directions(of_sources: dict[str, Table]) -> Table | None:
    """One block for each pair of training data sets, one row for each direction; None without such a pair."""
    cells: list[Cell] = []
    used: dict[str, None] = {}
    for one, other in combinations(of_sources, 2):
        ways = [(one, other), (other, one)]
        rows = [cells_on(of_sources[source], target) for source, target in ways]
        # Zero-shot CLIP has no source: alone, it says nothing of a transfer.
        untrained = {UNTRAINED, *labels_of(of_sources[one], UNTRAINED)}
        if all(any(cell.mean is not None and cell.column not in untrained for cell in row) for row in rows):
            used |= dict.fromkeys((one, other))
            for (source, target), row in zip(ways, rows, strict=True):
                cells += [replace(cell, block=f"{one}, {other}", row=f"{source} → {target}") for cell in row]
    if not cells:
        return None
    first = of_sources[next(iter(used))]
    runs = pd.concat([of_sources[name].runs for name in used], ignore_index=True)
    trained_on = where(Layout.TARGETS, first.runs)
    title = first.title.replace(
        trained_on, f"both directions, {trained_on.removeprefix(f'trained on {source_of(first)}, ')}"
    )
    words = file_name([source_of(first)])
    return replace(
        first,
        name=first.name.replace(f"-{words}-", f"-{BOTH}-", 1),
        title=title,
        headers=("data sets", "trained → tested"),
        cells=tuple(cells),
        runs=runs,
        tests={},
    )


def labels_of(table: Table, method: str) -> list[str]:
    """What a table calls the runs of a method."""
    return in_order(table.runs.loc[table.runs["method"] == method, "label"])


def cells_on(table: Table, target: str) -> list[Cell]:
    """Our cells of one target data set."""
    return [cell for cell in table.cells if (cell.block, cell.row) == (TARGETS, target) and not cell.published]


def direction_maps(tables: Sequence[Table]) -> list[CellMap]:
    """The tables of `direction_tables` as maps of cells: accuracies, coloured by the gain against zero-shot CLIP."""
    return [direction_map(table) for table in direction_tables(tables)]


def direction_map(table: Table) -> CellMap:
    """One of them: methods as rows, largest mean accuracy first, and directions as columns."""
    known = {(cell.column, cell.row): cell for cell in table.cells if cell.mean is not None}
    columns = tuple(dict.fromkeys(cell.row for cell in table.cells))
    means = {
        method: [known[method, column].mean or 0.0 for column in columns if (method, column) in known]
        for method in table.columns
    }
    order = sorted((name for name in means if means[name]), key=lambda name: -sum(means[name]) / len(means[name]))
    untrained = labels_of(table, UNTRAINED)
    before = {
        column: known[name, column].mean for name in untrained[:1] for column in columns if (name, column) in known
    }

    def gain(method: str, column: str) -> float | None:
        cell, base = known.get((method, column)), before.get(column)
        return None if cell is None or cell.mean is None or base is None else cell.mean - base

    def text(method: str, column: str) -> tuple[str, ...]:
        cell, change = known.get((method, column)), gain(method, column)
        if cell is None or cell.mean is None:
            return ()
        return (
            (f"{cell.mean:.1f}",) if change is None or method in untrained else (f"{cell.mean:.1f}", signed(change, 1))
        )

    note = "Accuracy on the data set behind the arrow (%), trained on the one before it; means over seeds."
    note += " Below it, and as colour: points above zero-shot CLIP." if before else ""
    return CellMap(
        f"{table.name}-map",
        f"Transfer ({table.title})",
        tuple(
            marked(name, strongest(cell.mark for (method, _), cell in known.items() if method == name))
            for name in order
        ),
        columns,
        tuple(tuple(gain(name, column) for column in columns) for name in order),
        tuple(tuple(text(name, column) for column in columns) for name in order),
        tuple(tuple(known[name, column].rank == 1 if (name, column) in known else False for column in columns)
              for name in order),
        f"{note} Bold: best.",
        tuple(f"{label}: {settings}" for label, settings in variant_key(table.runs).items()),
        tuple(marks_note(table.runs[table.runs["state"] == DONE])),
    )  # fmt: skip
