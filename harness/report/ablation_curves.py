"""Ablation curves: accuracies over the values of one setting."""

import pandas as pd

from harness.report.figures import ERROR_BARS, LINES, Figure, Panel, Series
from harness.report.marks import marked, strongest
from harness.report.paper_tables import ablation
from harness.report.run_notes import marks_note
from harness.text import counted


def ablation_curves(runs: pd.DataFrame, axis: str) -> Figure:
    """Accuracies over the values of a setting, one panel per method.

    Args:
        runs: as `axis_runs` gives them.
        axis: the setting.
    """
    table = ablation(runs, [axis])
    metrics, short = [name for name in table.columns if name not in table.costs], table.row_names
    panels = []
    for method in dict.fromkeys(cell.block for cell in table.cells):
        series = []
        for metric in metrics:
            wanted = (method, metric)
            cells = [cell for cell in table.cells if (cell.block, cell.column) == wanted and cell.mean is not None]
            series.append(
                Series(
                    metric,
                    tuple(numbers_or_words([cell.row for cell in cells])),
                    tuple(cell.mean or 0.0 for cell in cells),
                    tuple(cell.std for cell in cells),
                    tuple(f"{axis}={short.get(cell.row, cell.row)}, {counted(cell.seeds, 'seed')}" for cell in cells),
                    seeds=tuple(cell.seeds for cell in cells),
                    values=tuple(cell.values for cell in cells),
                )
            )
        mark = strongest(cell.mark for cell in table.cells if cell.block == method and cell.column in metrics)
        panels.append(Panel(marked(method, mark), tuple(series)))
    return Figure(table.name, f"Ablation: {table.title}", LINES, axis, "accuracy (%)", tuple(panels),
                  note=ERROR_BARS if any(cell.std is not None for cell in table.cells) else "",
                  marks=tuple(marks_note(runs)))  # fmt: skip


def numbers_or_words(values: list[str]) -> list[float | str]:
    """The values as numbers if all of them are numbers, else as they are."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return list(values)
