"""The figures of a sweep, in the style of all others: front, importance, slices, contours, curves over one setting."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.results.files import write_atomically
from harness.results.metrics import RunMetric, find_metric, run_metrics
from harness.tune.importance import MAY_BE_CHANCE, Importance
from harness.tune.objective import METRICS, headline_of
from harness.tune.sweep import Sweep

FORMATS = ("svg", "pdf")
# Of one axis: more different values than these are drawn as a range.
MOST_VALUES = 12
PANEL_WIDTH, PANEL_HEIGHT, BAR_HEIGHT = 2.6, 2.4, 0.28
MOST_COLUMNS = 3
OTHERS = "#A6A6A6"
# Pixels of the screen that the number of a trial takes, with its distance from the next.
LABEL_WIDTH, LABEL_HEIGHT = 22, 14


def draw_figures(
    study: optuna.Study,
    sweep: Sweep,
    found: Mapping[str, Importance],
    front: Sequence[FrozenTrial],
    folder: Path,
) -> None:
    """Draw the Pareto front, importances, slices, and the contour of the first two numeric settings.

    Args:
        study: its complete trials are drawn.
        sweep: the search.
        found: objective -> importance of the settings.
        front: the trials that no other dominates, best first.
        folder: for the files.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = [key for key in sweep.space if len({shown_value(trial.params.get(key)) for trial in trials}) > 1]
    numeric = [key for key in varied if sweep.space[key].choice is None]
    drawings: dict[str, Callable[[], Any]] = {}
    if len(sweep.objectives) == 2:
        drawings["pareto"] = partial(front_drawing, trials, sweep, front)
    for index, metric in enumerate(sweep.objectives):
        if varied:
            drawings[f"slice-{metric}"] = partial(slices_drawing, trials, sweep, varied, index, front)
        if len(numeric) > 1:
            drawings[f"contour-{metric}"] = partial(contour_drawing, trials, sweep, numeric[:2], index)
        if metric in found and found[metric].shares:
            drawings[f"importance-{metric}"] = partial(importance_drawing, found[metric], metric)
    for name, compose in drawings.items():
        write_drawing(compose, folder / name)


def write_drawing(compose: Callable[[], Any], path: Path) -> None:
    """Write a drawing in all formats; `path` has no suffix."""
    from harness.report.plots import file_of

    for form in FORMATS:
        write_atomically(path.with_name(f"{path.name}.{form}"), file_of(compose, form))


def axis_label(name: str) -> str:
    """A metric as the title of an axis, with its unit."""
    metric = find_metric(name)
    if isinstance(metric, RunMetric):
        return metric.axis or metric.title
    evaluation = name.partition(".")[2]
    return f"{metric.title}{f' of {evaluation}' if evaluation else ''} ({metric.unit})"


def scaled(trial: FrozenTrial, name: str, index: int) -> float:
    """One objective of a trial, in the unit of its axis."""
    return float(trial.values[index]) * find_metric(name).scale


def panels_of(number: int, height: float = PANEL_HEIGHT, **options: Any) -> tuple[Any, list[Any]]:
    """A drawing with so many axes, of which those that are not needed are switched off."""
    from matplotlib import pyplot as plt

    columns = min(number, MOST_COLUMNS)
    rows = math.ceil(number / columns)
    width = max(PANEL_WIDTH * columns, 3.3)
    drawing, axes = plt.subplots(
        rows, columns, figsize=(width, height * rows), squeeze=False, layout="constrained", **options
    )
    cells = list(axes.flat)
    for axis in cells[number:]:
        axis.axis("off")
    return drawing, cells[:number]


def front_drawing(trials: Sequence[FrozenTrial], sweep: Sweep, front: Sequence[FrozenTrial]) -> Any:
    """All trials by their two objectives, and those that no other dominates, with their numbers."""
    from harness.report.display_names import display_name
    from harness.report.plots import COLOURS, literal

    drawing, (axis,) = panels_of(1)
    drawing.set_size_inches(4.6, 3.4)
    # What costs lies on the horizontal axis, whichever is named first.
    first, second = (0, 1) if sweep.directions[0] == "minimize" and sweep.directions[1] == "maximize" else (1, 0)
    names = sweep.objectives[first], sweep.objectives[second]

    def places(several: Sequence[FrozenTrial]) -> tuple[list[float], list[float]]:
        return [scaled(one, names[0], first) for one in several], [scaled(one, names[1], second) for one in several]

    chosen = {trial.number for trial in front}
    is_outside = {trial.number: any(value > 0 for value in trial.constraints.values()) for trial in trials}
    others = [trial for trial in trials if trial.number not in chosen]
    groups = {
        "trial": ([trial for trial in others if not is_outside[trial.number]], OTHERS, "o"),
        "beyond the limits": ([trial for trial in others if is_outside[trial.number]], OTHERS, "x"),
        "Pareto front, with numbers of trials": (front, COLOURS[0], "o"),
    }
    for label, (several, colour, marker) in groups.items():
        if several:
            axis.plot(*places(several), linestyle="none", marker=marker, color=colour, label=label)
    x, y = places(sorted(front, key=lambda trial: scaled(trial, names[0], first)))
    axis.plot(x, y, drawstyle="steps-post", color=COLOURS[0], linestyle=":", linewidth=1.2)
    axis.margins(0.1)
    label_apart(axis, [(str(trial.number), scaled(trial, names[0], first), scaled(trial, names[1], second))
                       for trial in front])  # fmt: skip
    axis.set(xlabel=axis_label(names[0]), ylabel=axis_label(names[1]))
    drawing.suptitle(literal(f"Trials of {display_name(sweep.method)} on {sweep.dataset}"), fontsize=10)
    drawing.legend(loc="outside lower center", ncols=2)
    return drawing


def label_apart(axis: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Write names beside points; of points that lie close together, only beside the first."""
    taken: list[tuple[float, float]] = []
    for name, x, y in points:
        left, bottom = axis.transData.transform((x, y))
        if all(abs(left - one) > LABEL_WIDTH or abs(bottom - other) > LABEL_HEIGHT for one, other in taken):
            taken.append((left, bottom))
            axis.annotate(name, (x, y), (-4, 4), textcoords="offset points", ha="right", fontsize=7)


def slices_drawing(
    trials: Sequence[FrozenTrial], sweep: Sweep, keys: Sequence[str], index: int, front: Sequence[FrozenTrial]
) -> Any:
    """One objective over every setting, one panel each, with one vertical axis."""
    from harness.report.plots import COLOURS, literal

    name = sweep.objectives[index]
    drawing, axes = panels_of(len(keys), sharey=True)
    chosen = {trial.number for trial in front}
    for number, (axis, key) in enumerate(zip(axes, keys, strict=True)):
        places = set_up_axis(axis.xaxis, sweep, key, [trial.params[key] for trial in trials if key in trial.params])
        for is_front, colour, label in ((False, OTHERS, "trial"), (True, COLOURS[0], "trial of the Pareto front")):
            own = [trial for trial in trials if key in trial.params and (trial.number in chosen) == is_front]
            x = [places(trial.params[key]) for trial in own]
            y = [scaled(trial, name, index) for trial in own]
            axis.plot(x, y, linestyle="none", marker="o", color=colour, label=label, alpha=0.85)
        axis.set_xlabel(literal(key))
        axis.set_ylabel(axis_label(name) if number % MOST_COLUMNS == 0 else "")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=2)
    return drawing


def set_up_axis(axis: Any, sweep: Sweep, key: str, values: Sequence[Any]) -> Callable[[Any], float]:
    """Prepare an axis for the values of a setting: words in their order, whole numbers at whole numbers.

    Returns:
        Where a value lies on it.
    """
    from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    from harness.report.plots import literal

    parameter = sweep.space[key]
    if parameter.choice is not None:
        words = [shown_value(value) for value in parameter.choice]
        axis.set_ticks(range(len(words)), [literal(word) for word in words])
        return lambda value: float(words.index(shown_value(value)))
    if parameter.log:
        axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    tried = sorted({float(value) for value in values})
    is_whole = all(value == int(value) for value in tried)
    if is_whole and len(tried) <= MOST_VALUES:
        axis.set_ticks(tried, [f"{value:g}" for value in tried])
        axis.set_minor_locator(NullLocator())
    elif parameter.log:
        # As many labels as there is room for in a narrow panel.
        decades = math.log10(tried[-1] / tried[0])
        steps = (1.0, 2.0, 5.0) if 0 < decades < 0.8 else (1.0, 3.0) if 0 < decades < 1.5 else (1.0,)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    elif is_whole:
        axis.set_major_locator(MaxNLocator(integer=True))
    return float


def contour_drawing(trials: Sequence[FrozenTrial], sweep: Sweep, keys: Sequence[str], index: int) -> Any:
    """One objective over two numeric settings: the trials, coloured by their values.

    Between them lies a contour only where both settings take any number; there is nothing between whole numbers.
    """
    import matplotlib.tri as triangles

    from harness.report.plots import literal

    name = sweep.objectives[index]
    both = [trial for trial in trials if all(key in trial.params for key in keys)]
    values = [scaled(trial, name, index) for trial in both]
    drawing, (axis,) = panels_of(1)
    drawing.set_size_inches(4.6, 3.4)
    sides = []
    for key, side in zip(keys, (axis.xaxis, axis.yaxis), strict=True):
        places = set_up_axis(side, sweep, key, [trial.params[key] for trial in both])
        sides.append([places(trial.params[key]) for trial in both])
    is_continuous = all(sweep.space[key].numbers is not None and sweep.space[key].step is None for key in keys)
    if is_continuous and len(set(values)) > 1:
        with suppress(ValueError, RuntimeError):  # all trials on one line
            axis.tricontourf(triangles.Triangulation(*sides), values, levels=8, cmap="cividis", alpha=0.35)
    points = axis.scatter(*sides, c=values, cmap="cividis", edgecolors="black", linewidths=0.5, zorder=3)
    drawing.colorbar(points, ax=axis, label=axis_label(name))
    axis.set(xlabel=literal(keys[0]), ylabel=literal(keys[1]))
    axis.margins(0.08)
    return drawing


def importance_drawing(importance: Importance, metric: str) -> Any:
    """The shares of the settings; pale where they may be chance."""
    from harness.report.plots import COLOURS, literal

    keys = list(importance.shares)
    drawing, (axis,) = panels_of(1, height=0.9 + BAR_HEIGHT * len(keys))
    drawing.set_size_inches(4.6, 1.1 + BAR_HEIGHT * len(keys))
    labels = [literal(f"{key} ({MAY_BE_CHANCE})" if key in importance.by_chance else key) for key in keys]
    bars = axis.barh(labels, [100 * importance.shares[key] for key in keys], color=COLOURS[0], height=0.7)
    for bar, key in zip(bars, keys, strict=True):
        bar.set_alpha(0.3 if key in importance.by_chance else 1.0)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set(xlim=(0, 100), xlabel=f"share of the importance for {axis_label(metric).partition(' (')[0]} (%)")
    drawing.suptitle(f"PED-ANOVA, {importance.trials}", fontsize=8)
    return drawing


def draw_curves(trials: Sequence[FrozenTrial], sweep: Sweep, folder: Path) -> None:
    """Draw accuracy and costs of a grid over its only setting."""
    write_drawing(partial(curves_drawing, trials, sweep), folder / "curve")


def curves_drawing(trials: Sequence[FrozenTrial], sweep: Sweep) -> Any:
    """Accuracy and costs over one setting, side by side."""
    from harness.report.plots import COLOURS, literal

    (key,) = sweep.space
    metrics = [trial.user_attrs[METRICS] for trial in trials]
    main = headline_of(sweep.protocol, metrics[0])
    names = [main, *(metric.name for metric in run_metrics() if metric.axis and metric.name in metrics[0])]
    drawing, axes = panels_of(len(names))
    has_bars = False
    for axis, name in zip(axes, names, strict=True):
        places = set_up_axis(axis.xaxis, sweep, key, [trial.params[key] for trial in trials])
        measured = [pair for pair in zip(trials, metrics, strict=True) if name in pair[1]]
        own = [(places(trial.params[key]), values) for trial, values in measured]
        scale = find_metric(name).scale
        spread = [scale * values.get(f"{name}.std", 0.0) for _, values in own]
        has_bars = has_bars or any(spread)
        axis.errorbar(
            [place for place, _ in own],
            [scale * values[name] for _, values in own],
            yerr=spread if any(spread) else None,
            marker="o",
            capsize=2,
            color=COLOURS[0],
        )
        axis.set(xlabel=literal(key), ylabel=axis_label(name))
    if has_bars:
        drawing.suptitle("bars: sample standard deviation over the runs of a trial", fontsize=8)
    return drawing


def shown_value(value: Any) -> str:
    """The value of a setting as short text."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
