"""How figures are arranged for print: crowded curves in several panels, costs side by side, intervals over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

from harness.report.comparison_figures import CellMap, Drawn
from harness.report.figures import BARS, ERROR_BARS, LINES, SCATTER, Figure, Panel, Series
from harness.report.statistics import signed
from harness.statistics.intervals import BOOTSTRAP, FEWEST_SEEDS, SEEDS_OF_BOOTSTRAP, STUDENT, Ends, ends_of_mean

INTERVALS = "Bars: 95 % confidence interval of the mean over seeds ({}), of at least {} seeds. "
MIXED = f"{BOOTSTRAP} where there are {SEEDS_OF_BOOTSTRAP} and more, else {STUDENT}"
# More lines than these in one panel cannot be followed; each panel of a crowded figure has one line of every colour.
MOST_LINES, LINES_OF_A_PANEL = 8, 7
MOST_BAR_PANELS = 6


def for_print(figures: Iterable[Figure]) -> list[Drawn]:
    """Figures as they are printed; those whose panels were arranged anew stand in the place of the others."""
    found = [with_intervals(figure) for figure in figures]
    return [part for figure in [*found, *costs_side_by_side(found)] for part in uncrowded(figure)]


def with_intervals(figure: Figure) -> Figure:
    """The same figure with confidence intervals in place of standard deviations; its note says how they were computed.

    Without any interval the note speaks of no bars.
    """
    ends = {one: ends_of(one) for panel in figure.panels for one in panel.series}
    panels = tuple(
        replace(panel, series=tuple(replace(one, error=(), reach=reach_of(ends[one])) for one in panel.series))
        for panel in figure.panels
    )
    kinds = {end.kind for several in ends.values() for end in several if end is not None}
    told = INTERVALS.format(MIXED if len(kinds) > 1 else "".join(kinds), FEWEST_SEEDS) if kinds else ""
    return replace(figure, panels=panels, note=figure.note.replace(ERROR_BARS, told))


def ends_of(series: Series) -> tuple[Ends | None, ...]:
    """The interval of each point; None for a point with too few seeds."""
    if not series.seeds:
        return ()
    values = series.values or ((),) * len(series.seeds)
    return tuple(
        None if std is None else ends_of_mean(std, seeds, of_seeds)
        for std, seeds, of_seeds in zip(series.error, series.seeds, values, strict=True)
    )


def reach_of(several: Sequence[Ends | None]) -> tuple[tuple[float, float] | None, ...]:
    """How far the bar of each point reaches below and above it."""
    return tuple(None if ends is None else (ends.below, ends.above) for ends in several)


def costs_side_by_side(figures: Sequence[Figure]) -> list[Figure]:
    """Of each table one figure that has its accuracies against every cost as panels."""
    by_table: dict[str, list[Figure]] = {}
    for figure in figures:
        table, found, _ = figure.name.rpartition("-accuracy-")
        if found and figure.kind == SCATTER:
            by_table.setdefault(table, []).append(figure)
    joined = []
    for table, several in by_table.items():
        if len(several) > 1:
            panels = tuple(replace(panel, x_label=one.x_label) for one in several for panel in one.panels)
            notes = [one.note for one in several]
            title = several[0].title.partition("(")[2]
            joined.append(
                replace(
                    several[0],
                    name=f"{table}-accuracy-costs",
                    title=f"Accuracy against costs ({title}",
                    panels=panels,
                    note=max(notes, key=len),
                )
            )
    return joined


def uncrowded(figure: Figure) -> list[Drawn]:
    """The same figure; of curves with too many lines one for each panel, whose lines are shared out to several panels.

    The lines are in the order of their last values, best first. Those of the other panels are drawn in grey. Bars of
    too many methods become a map of cells.
    """
    if figure.kind == BARS and len(figure.panels) > MOST_BAR_PANELS:
        return [as_map(figure)]
    if figure.kind != LINES or max((len(panel.series) for panel in figure.panels), default=0) <= MOST_LINES:
        return [figure]
    several = len(figure.panels) > 1
    return [
        replace(
            figure,
            name=f"{figure.name}-{panel.title}" if several else figure.name,
            title=f"{figure.title}: {panel.title}" if several else figure.title,
            panels=shared_out(panel, figure.y_down),
        )
        for panel in figure.panels
        if panel.series
    ]


def shared_out(panel: Panel, low_is_best: bool) -> tuple[Panel, ...]:
    """The lines of a panel in several panels, the best lines in the first."""
    ordered = sorted(panel.series, key=lambda one: one.y[-1] if low_is_best else -one.y[-1])
    number = ceil(len(ordered) / LINES_OF_A_PANEL)
    size = ceil(len(ordered) / number)
    found = []
    for first in range(0, len(ordered), size):
        own = ordered[first : first + size]
        others = tuple(one for one in ordered if one not in own)
        title = f"places {first + 1} to {first + len(own)} of {len(ordered)}, at the right end"
        found.append(Panel(title, tuple(own), context=others))
    return tuple(found)


def as_map(figure: Figure) -> CellMap:
    """Bars of many methods as cells: a row for each method, a column for each bar, in the order of the first panel."""
    panels = [panel for panel in figure.panels if panel.series]
    columns = tuple(dict.fromkeys(str(name) for panel in panels for name in panel.series[0].x))
    heights = [dict(zip(panel.series[0].x, panel.series[0].y, strict=True)) for panel in panels]
    values = tuple(tuple(row.get(name) for name in columns) for row in heights)
    return CellMap(
        figure.name,
        figure.title,
        tuple(panel.title for panel in panels),
        columns,
        values,
        tuple(
            tuple(() if value is None else (signed(value, 0).replace("+0", "0"),) for value in row) for row in values
        ),
        tuple(tuple(False for _ in row) for row in values),
        f"Cells: {figure.x_label}. {figure.note}",
        figure.key,
        figure.marks,
    )
