"""Figures as data; `plots.py` draws them for print, and the report page draws them on the screen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from harness.experiment.protocols import Layout
from harness.machine.costs import PHASES
from harness.report.display_names import shown_label
from harness.report.footnotes import variant_key
from harness.report.marks import SHARED_MARK, marked, marks_by_label, shared_seconds, strongest
from harness.report.method_table import numbers_of, shown_values
from harness.report.paper_tables import file_name
from harness.report.run_notes import marks_note, shared_note
from harness.report.runs import groups, in_order, protocol_of
from harness.report.table import AVERAGE, COSTS, REFUSED, SOURCE, TARGETS, Table
from harness.results.folder import DONE, RunFolder
from harness.results.metrics import PERCENT, RunMetric, run_metrics, summary_metrics
from harness.text import counted

LINES, SCATTER, BARS, STACKED, RELIABILITY = "lines", "scatter", "bars", "stacked", "reliability"
UNTRAINED = "zeroshot"
ERROR_BARS = "Bars: sample standard deviation over seeds. "
# For data sets with more classes, only those that change the most are drawn: half of them gains, half losses.
MOST_CLASSES = 30


@dataclass(frozen=True)
class Series:
    """The points or bars that are drawn in one colour.

    Attributes:
        name: for the legend.
        x: positions: numbers, or names of bars.
        y: heights, one per position.
        error: sample standard deviation over seeds of each point; None if there is none.
        words: text of each point, shown when a reader points at it.
        mark: of a method that chose on too much, behind its name in the legend.
        bars: (left, right, height) of bars below the points of a reliability diagram.
        seeds: behind each point; empty if that is not known.
        values: of the seeds behind each point; empty if they are not known.
        reach: how far a bar reaches below and above each point, in place of `error`; None for no bar.
    """

    name: str
    x: tuple[float | str, ...]
    y: tuple[float, ...]
    error: tuple[float | None, ...] = ()
    words: tuple[str, ...] = ()
    mark: str = ""
    bars: tuple[tuple[float, float, float], ...] = ()
    seeds: tuple[int, ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    reach: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: for example the data set.
        series: in the order of the legend.
        front: points (x, y) of the Pareto front, sorted by x; empty if there is none.
        x_label: with its unit; empty: that of the figure.
        context: lines of other panels, drawn in grey.
    """

    title: str
    series: tuple[Series, ...]
    front: tuple[tuple[float, float], ...] = ()
    x_label: str = ""
    context: tuple[Series, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: for its file.
        title: for people.
        kind: lines, scatter, bars (horizontal), stacked (horizontal) or reliability.
        x_label, y_label: with units.
        panels: side by side.
        log_x: whether x is drawn on a logarithmic axis.
        y_down: whether smaller is better, and drawn higher.
        note: what a reader must know to read it.
        key: what the numbers of variants stand for.
        marks: what the marks of names stand for.
    """

    name: str
    title: str
    kind: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]
    log_x: bool = False
    y_down: bool = False
    note: str = ""
    key: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


def paper_figures(tables: Sequence[Table], root: Path) -> list[Figure]:
    """All figures of some tables: curves over shots, accuracy against costs, changes of classes, time by phase.

    Args:
        tables: as `paper_tables` gives them.
        root: the results folder, which holds the accuracies of single classes.
    """
    found: list[Figure] = []
    for table in tables:
        before = len(found)
        found += [few_shot_curves(table)] if protocol_of(table.runs).layout == Layout.SHOTS else []
        found += [accuracy_against(table, metric) for metric in run_metrics() if metric.axis]
        found += class_changes(table, root)
        found.append(phase_costs(table))
        key = tuple(f"{label}: {settings}" for label, settings in variant_key(table.runs).items())
        marks = tuple(marks_note(table.runs[table.runs["state"] == DONE]))
        has_bars = any(cell.std is not None for cell in table.cells)
        found[before:] = [
            replace(figure, key=key, marks=marks, note=figure.note if has_bars else figure.note.replace(ERROR_BARS, ""))
            for figure in found[before:]
        ]
    return [figure for figure in found if any(panel.series for panel in figure.panels)]


def few_shot_curves(table: Table) -> Figure:
    """Accuracy over shots, one panel per data set and one for their average."""
    panels = []
    for block in dict.fromkeys(block for block, _ in table.rows if block != COSTS):
        series = []
        for column in table.columns:
            cells = [cell for cell in table.cells if (cell.block, cell.column) == (block, column)]
            known = [cell for cell in cells if cell.mean is not None]
            if known:
                series.append(
                    Series(
                        column,
                        tuple(float(cell.row) for cell in known),
                        tuple(cell.mean or 0.0 for cell in known),
                        tuple(cell.std for cell in known),
                        tuple(f"{counted(int(cell.row), 'shot')}, {counted(cell.seeds, 'seed')}" for cell in known),
                        strongest(cell.mark for cell in known),
                        seeds=tuple(cell.seeds for cell in known),
                        values=tuple(cell.values for cell in known),
                    )
                )
        panels.append(Panel(block, tuple(series)))
    # Readers look at the average first.
    panels.sort(key=lambda panel: panel.title != AVERAGE)
    return Figure(
        f"{table.name}-curves",
        f"Accuracy over shots ({table.title})",
        LINES,
        "shots (images per class)",
        "accuracy (%)",
        tuple(panels),
        log_x=True,
        note=ERROR_BARS,
    )


def headline(table: Table) -> tuple[str, str]:
    """(block, row) of the number that methods are judged by, such as H, accuracy at the most shots, or an average."""
    rows = [row for row in table.rows if row[0] != COSTS]
    return next((row for row in reversed(rows) if row[0] != SOURCE), rows[-1])


def headline_name(table: Table) -> str:
    """Title of an axis that shows this number."""
    block, row = headline(table)
    layout = protocol_of(table.runs).layout
    unit = next((metric.unit for metric in summary_metrics() if metric.title == row), PERCENT)
    if layout == Layout.PARTS:
        return f"{row} of {block} ({unit})" if block != AVERAGE else f"{row} of the averages ({unit})"
    if layout == Layout.SHOTS:
        return f"accuracy at {counted(int(row), 'shot')}, {block} (%)"
    if row in {metric.title for metric in summary_metrics()}:
        return f"{row} ({unit})"
    return "average accuracy of targets (%)" if block == TARGETS and row == AVERAGE else f"accuracy on {row} (%)"


def accuracy_against(table: Table, metric: RunMetric) -> Figure:
    """Accuracy against a measured cost: one point per method, and the Pareto front of those without a mark."""
    block, row = headline(table)
    runs = table.runs[table.runs["state"] == DONE]
    runs = runs[runs["shots"] == int(row)] if protocol_of(table.runs).layout == Layout.SHOTS else runs
    cells = {cell.column: cell for cell in table.cells if (cell.block, cell.row) == (block, row) and not cell.published}
    series = []
    for label, group in groups(runs.assign(cost=shown_values(metric, runs)), "label"):
        # The mean over data sets of the means over seeds, as for accuracy.
        value = group.groupby("dataset")["cost"].mean().mean()
        cell = cells.get(str(label))
        if cell is not None and cell.mean is not None and value == value:
            words = f"{value:.1f} {metric.unit}, {counted(cell.seeds, 'seed')}"
            point = (str(label), (float(value),), (cell.mean,), (cell.std,), (words,), cell.mark)
            series.append(Series(*point, seeds=(cell.seeds,), values=(cell.values,)))
    points = [(float(one.x[0]), one.y[0]) for one in series if not one.mark]
    refused = [shown_label(cell.column, runs["method"]) for cell in cells.values() if cell.state == REFUSED]
    device = ", ".join(in_order(runs["device"].dropna()))
    return Figure(
        f"{table.name}-accuracy-{metric.figure or metric.name}",
        f"Accuracy against {metric.figure or metric.title} ({table.title})",
        SCATTER,
        metric.axis or "",
        headline_name(table),
        (Panel("", tuple(series), tuple(pareto_front(points))),),
        note=f"Line: Pareto front. {ERROR_BARS}Measured on: {device}."
        + (" Methods that train nothing have no memory of training." if metric.unit == "MiB" else "")
        + (f" Not drawn, since they cannot be evaluated on all classes: {', '.join(refused)}." if refused else ""),
    )


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, accuracy) that no other point dominates, sorted by cost."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


def class_changes(table: Table, root: Path) -> list[Figure]:
    """Change of every class's accuracy against zero-shot CLIP, averaged over seeds; one figure per evaluation.

    If the runs have several numbers of shots, only those with the most shots are shown.
    """
    runs = table.runs[(table.runs["state"] == DONE) & (table.runs["shots"] == table.runs["shots"].max())]
    if UNTRAINED not in set(runs["method"]):
        return []
    classes = pd.DataFrame(
        [
            {"label": label, "dataset": dataset, "evaluation": item.name, "class": name, "accuracy": accuracy}
            for run_id, label, dataset in zip(runs["id"], runs["label"], runs["dataset"], strict=True)
            for item in RunFolder(root, run_id).read_result().evaluations
            for name, accuracy in item.per_class.items()
            if 0 <= accuracy <= 100
        ]
    )
    if classes.empty:
        return []
    before = in_order(runs.loc[runs["method"] == UNTRAINED, "label"])[0]
    found = []
    for (dataset, evaluation), group in groups(classes, "dataset", "evaluation"):
        means = group.pivot_table(index="class", columns="label", values="accuracy", sort=False)
        if before not in means:
            continue
        changes = means.drop(columns=before).sub(means[before], axis=0).dropna(how="all", axis=1)
        marks = marks_by_label(runs)
        labels = [label for label in in_order(runs["label"]) if label in changes]
        order = common_order(changes[labels])
        panels = tuple(class_panel(marked(label, marks.get(label, "")), changes.loc[order, label]) for label in labels)
        where = str(dataset) if evaluation in ("all", dataset) else f"{dataset}, {evaluation}"
        found.append(
            Figure(
                file_name((table.name, "classes", str(dataset), str(evaluation))),
                f"Change of each class against zero-shot CLIP ({where})",
                BARS,
                "change of accuracy (points)",
                "",
                panels,
                note=" ".join(
                    [
                        *(["Means over seeds."] if runs["seed"].nunique() > 1 else []),
                        *([f"The {MOST_CLASSES} classes that change the most."] if len(changes) > MOST_CLASSES else []),
                    ]
                ),
            )
        )
    return found


def common_order(changes: pd.DataFrame) -> list[str]:
    """The classes that change the most, largest mean gain over methods first: one order for all panels."""
    ordered = changes.mean(axis=1).sort_values(ascending=False, kind="stable").index
    half = MOST_CLASSES // 2
    return [*ordered] if len(ordered) <= MOST_CLASSES else [*ordered[:half], *ordered[-half:]]


def class_panel(label: str, changes: pd.Series) -> Panel:
    """The changes of one method as bars, in the order that they have."""
    shown = changes.dropna()
    series = (Series(label, tuple(map(str, shown.index)), tuple(map(float, shown))),) if len(shown) else ()
    return Panel(label, series)


def phase_costs(table: Table) -> Figure:
    """Seconds of every phase of a run as if alone, stacked; means over data sets and seeds.

    Of runs that trained as one with others they are not known.
    """
    done = table.runs[table.runs["state"] == DONE]
    of_shots = protocol_of(table.runs).layout == Layout.SHOTS
    most = int(done["shots"].max()) if of_shots and len(done) else None
    done = done if most is None else done[done["shots"] == most]
    runs = done[done["together"].isna()] if "together" in done else done
    labels, marks = in_order(runs["label"]), marks_by_label(runs)
    names = tuple(marked(label, marks.get(label, "")) for label in labels)
    series = []
    for phase in PHASES:
        if f"{phase}.seconds" in runs:
            whole = numbers_of(runs, f"{phase}.seconds").fillna(0.0) + shared_seconds(runs, [phase])
            of_datasets = runs.assign(whole=whole).groupby(["label", "dataset"])["whole"].mean()
            means = of_datasets.groupby("label").mean()
            series.append(Series(phase, names, tuple(float(means[label]) for label in labels)))
    several = [f"{noun}s" for noun, name in (("data set", "dataset"), ("seed", "seed")) if runs[name].nunique() > 1]
    note = f"Means over {' and '.join(several)}; evaluation on all test images." if several else ""
    at = "" if most is None or done["shots"].nunique() == table.runs["shots"].nunique() else counted(most, "shot")
    shared = " ".join(shared_note(runs, PHASES)).removeprefix(f"{SHARED_MARK}: ")
    note = " ".join([part for part in (f"{at}." if at else "", note, shared[:1].upper() + shared[1:]) if part])
    return Figure(
        f"{table.name}-phases",
        f"Time of a run by phase ({table.title})",
        STACKED,
        "time (s)",
        "",
        (Panel("", tuple(series)),),
        note=note,
    )


def on_screen(figure: Figure) -> Figure:
    """The same figure without what only print draws, so that a page stays small."""
    panels = tuple(
        replace(panel, series=tuple(replace(one, values=(), reach=()) for one in panel.series))
        for panel in figure.panels
    )
    return replace(figure, panels=panels)
