"""The cells of a table that lie below zero-shot CLIP in the same evaluation: training that hurt."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from harness.report.table import AVERAGE, COSTS, SOURCE, TARGETS, Cell
from harness.report.zero_shot import is_below, reference_of
from harness.results.folder import DONE
from harness.results.metrics import summary_metrics

RowName = tuple[str, str]
"""(method, values of the settings that were varied)."""
WHOLE_TABLE = (AVERAGE, SOURCE, TARGETS)


def below_zero_shot(cells: Sequence[Cell], runs: pd.DataFrame) -> list[Cell]:
    """The cells of one table, those below zero-shot CLIP in the same evaluation with `below` set.

    Means are compared as they are, without a test. H and averages are held against those of zero-shot CLIP.

    Args:
        cells: row by row, one column for each label.
        runs: of the table, in the form of `experiment_runs`.
    """
    done = runs[runs["state"] == DONE]
    by_place = {(cell.block, cell.row, cell.column): cell for cell in cells}
    references: dict[tuple[str, str], str | None] = {}
    for block in dict.fromkeys(cell.block for cell in cells if cell.block != COSTS):
        part = done if block in WHOLE_TABLE else done[done["dataset"] == block]
        groups = {str(label): group for label, group in part.groupby("label", sort=False)}
        references |= {(block, label): reference_of(group, groups.items()) for label, group in groups.items()}
    reference = ((cell, references.get((cell.block, cell.column))) for cell in cells)
    return [held_against(cell, by_place.get((cell.block, cell.row, label or ""))) for cell, label in reference]


def below_in_ablation(
    rows: Mapping[RowName, dict[str, Cell]], groups: Mapping[RowName, pd.DataFrame], costs: Collection[str]
) -> dict[RowName, dict[str, Cell]]:
    """The rows of an ablation in the same way; zero-shot CLIP is one of them, if it is there.

    Args:
        rows: row -> metric -> cell.
        groups: row -> its runs.
        costs: the metrics that are no scores.
    """
    found = {}
    for name, row in rows.items():
        reference = reference_of(groups[name], groups.items())
        levels = rows[reference] if reference else {}
        found[name] = {
            metric: cell if metric in costs else held_against(cell, levels.get(metric)) for metric, cell in row.items()
        }
    return found


def held_against(cell: Cell, reference: Cell | None) -> Cell:
    """A cell with `below` set if its mean is below that of another; costs and published numbers are no scores."""
    falling = {metric.title for metric in summary_metrics() if not metric.higher_is_better}
    if reference is None or reference.mean is None or cell.mean is None or cell.published:
        return cell
    if cell.block == COSTS or falling & {cell.row, cell.column}:
        return cell
    return replace(cell, below=is_below(cell.mean, reference.mean))
