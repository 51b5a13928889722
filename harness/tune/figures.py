"""The figures of a sweep: front, importance, slices, contours, and curves of a grid over one setting."""

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from harness.results.metrics import run_metrics
from harness.tune.importance import MAY_BE_CHANCE, Importance
from harness.tune.objective import METRICS, headline_of
from harness.tune.sweep import Sweep

FORMATS = ("svg", "pdf")


def draw_figures(study: optuna.Study, sweep: Sweep, found: Mapping[str, Importance], folder: Path) -> None:
    """Draw the Pareto front, importances, slices, and the contour of the first two numeric settings."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as draw

    varied = [key for key in sweep.space if len({trial.params.get(key) for trial in study.trials}) > 1]
    numeric = [key for key in varied if sweep.space[key].choice is None]
    drawings: dict[str, partial[Any]] = {}
    if len(sweep.objectives) == 2:
        drawings["pareto"] = partial(draw.plot_pareto_front, study, target_names=list(sweep.objectives))
    for index, metric in enumerate(sweep.objectives):
        about: dict[str, Any] = {"target": partial(value_of, index=index), "target_name": metric}
        if varied:
            drawings[f"slice-{metric}"] = partial(draw.plot_slice, study, params=varied, **about)
        if len(numeric) > 1:
            drawings[f"contour-{metric}"] = partial(draw.plot_contour, study, params=numeric[:2], **about)
        if metric in found and found[metric].shares:
            drawings[f"importance-{metric}"] = partial(draw_importance, found[metric], metric)
    for name, make in drawings.items():
        try:
            # Matplotlib and optuna warn of axes on which all points are equal.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make()
                for form in FORMATS:
                    plt.gcf().savefig(folder / f"{name}.{form}", bbox_inches="tight")
        except (ValueError, RuntimeError):
            continue  # too few different points for this figure
        finally:
            plt.close("all")


def draw_importance(importance: Importance, metric: str) -> None:
    """Draw the shares of the settings; pale where they may be chance."""
    import matplotlib.pyplot as plt

    keys = list(importance.shares)[::-1]
    labels = [f"{key} ({MAY_BE_CHANCE})" if key in importance.by_chance else key for key in keys]
    _, axis = plt.subplots(figsize=(6, 1 + 0.4 * len(keys)), layout="constrained")
    bars = axis.barh(labels, [importance.shares[key] for key in keys], color="#0072B2")
    for bar, key in zip(bars, keys, strict=True):
        bar.set_alpha(0.3 if key in importance.by_chance else 1.0)
    axis.set_xlim(0, 1)
    axis.set_xlabel(f"share of the importance for {metric} (PED-ANOVA)")


def value_of(trial: FrozenTrial, index: int) -> float:
    """One objective of a trial."""
    return float(trial.values[index])


def draw_curves(trials: list[FrozenTrial], sweep: Sweep, folder: Path) -> None:
    """Draw accuracy and costs of a grid over its only setting."""
    import matplotlib.pyplot as plt

    (key,) = sweep.space
    metrics = [trial.user_attrs[METRICS] for trial in trials]
    main = headline_of(sweep.protocol, metrics[0])
    costs = {metric.name: metric.axis for metric in run_metrics() if metric.axis and metric.name in metrics[0]}
    panels = {main: f"{main}, %", **costs}
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3), layout="constrained")
    places = [show(trial.params[key]) for trial in trials]
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        spread = [item.get(f"{name}.std", 0.0) for item in metrics]
        axis.errorbar(places, [item[name] for item in metrics], yerr=spread, marker="o", capsize=3, color="#0072B2")
        axis.set_xlabel(key)
        axis.set_ylabel(label, wrap=True)
    for form in FORMATS:
        figure.savefig(folder / f"curve.{form}")
    plt.close(figure)


def show(value: Any) -> str:
    """The value of a setting as short text."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
