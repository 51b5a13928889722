"""The outcome of a sweep: the best trials, the Pareto front, recipes for `bench`, figures."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import choose_variant, recipe_settings
from harness.experiment.settings import Settings, merge, nest
from harness.experiment.spec import TunedSpec
from harness.experiment.yaml_values import dump_yaml
from harness.results.files import write_atomically
from harness.results.metrics import PERCENT, RunMetric, find_metric
from harness.tune.objective import FAILURE, METRICS, headline_of
from harness.tune.study import counts
from harness.tune.sweep import Sweep

FORMATS = ("svg", "pdf")
SHOWN_COSTS = ("train_memory", "peak_memory", "train_seconds", "train_flops")


def best_trials(study: optuna.Study, sweep: Sweep) -> list[FrozenTrial]:
    """The trials within the limits that no other trial dominates, sorted by the first objective, best first.

    Raises:
        UserError: no trial finished within the limits.
    """
    inside = [trial for trial in study.get_trials(deepcopy=False) if is_inside(trial)]
    if not inside:
        attributes = [trial.user_attrs for trial in study.get_trials(deepcopy=False)]
        reasons = {str(about[FAILURE]) for about in attributes if FAILURE in about}
        limits = f" within {sweep.limits}" if sweep.limits else ""
        told = f": {sorted(reasons)[0]}" if reasons else ""
        raise UserError(f"no trial of sweep '{sweep.study_name}' came to its end{limits}{told}")
    front = [trial for trial in inside if not any(beats(other, trial, sweep) for other in inside)]
    first: dict[tuple[float, ...], FrozenTrial] = {}
    for trial in front:
        first.setdefault(tuple(trial.values or ()), trial)
    return sorted(first.values(), key=lambda trial: gains(trial, sweep), reverse=True)


def is_inside(trial: FrozenTrial) -> bool:
    """Whether a trial finished and is within the limits."""
    return trial.state == TrialState.COMPLETE and all(value <= 0 for value in trial.constraints.values())


def gains(trial: FrozenTrial, sweep: Sweep) -> tuple[float, ...]:
    """The objectives, with signs such that higher is better."""
    signs = [1.0 if find_metric(metric).higher_is_better else -1.0 for metric in sweep.objectives]
    return tuple(sign * value for sign, value in zip(signs, trial.values or (), strict=True))


def beats(one: FrozenTrial, other: FrozenTrial, sweep: Sweep) -> bool:
    """Whether one trial dominates another: at least as good in every objective, and better in one."""
    mine, theirs = gains(one, sweep), gains(other, sweep)
    return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def trials_table(trials: Iterable[FrozenTrial], sweep: Sweep) -> pd.DataFrame:
    """Trials as rows: number, state, settings, and all metrics (percent, MiB, seconds, operations)."""
    rows = []
    for trial in trials:
        state = "failed" if FAILURE in trial.user_attrs else trial.state.name.lower()
        metrics = trial.user_attrs.get(METRICS, {})
        reason = trial.user_attrs.get(FAILURE, "")
        rows.append({"trial": trial.number, "state": state, **trial.params, **metrics, "reason": reason})
    return pd.DataFrame(rows)


def text_table(trials: list[FrozenTrial], sweep: Sweep) -> pd.DataFrame:
    """Text cells: settings, the headline metric with its sample deviation over the runs, objectives, limits, costs."""
    rows = []
    for trial in trials:
        values = trial.user_attrs[METRICS]
        main = headline_of(sweep.protocol, values)
        deviation = f"{main}.std"
        spread = f" ± {in_digits(main, values[deviation])}" if deviation in values else ""
        cells = {key: show(trial.params.get(key)) for key in sweep.space}
        others = [name for name in dict.fromkeys((*sweep.objectives, *sweep.limits, *SHOWN_COSTS)) if name != main]
        others.sort(key=lambda name: isinstance(find_metric(name), RunMetric))
        cells |= {
            main: f"{in_digits(main, values[main])}{spread}",
            **{title_of(name): shown(name, values) for name in others},
        }
        rows.append({"trial": str(trial.number), **cells})
    return pd.DataFrame(rows)


def title_of(name: str) -> str:
    """Title of a metric in the table of trials."""
    metric = find_metric(name)
    return metric.title if isinstance(metric, RunMetric) else name


def shown(name: str, values: Mapping[str, float]) -> str:
    """A metric of a trial; a dash if it was not measured."""
    return in_digits(name, values[name]) if name in values else "-"


def in_digits(name: str, value: float) -> str:
    """A value of a metric, with one digit after the decimal point for percentages."""
    metric = find_metric(name)
    return f"{value:.1f}" if metric.unit == PERCENT else metric.shown(value)


def in_grid_order(trials: list[FrozenTrial], sweep: Sweep) -> list[FrozenTrial]:
    """Trials in the order of the points of the grid, one per point."""
    by_point = {tuple(trial.params.get(key) for key in sweep.space): trial for trial in trials}
    points = [tuple(point.values()) for point in sweep.grid()]
    return [by_point[point] for point in points if point in by_point]


def draw_curves(trials: list[FrozenTrial], sweep: Sweep, folder: Path) -> None:
    """Draw accuracy, memory and time of a grid over its only setting."""
    import matplotlib.pyplot as plt

    (key,) = sweep.space
    metrics = [trial.user_attrs[METRICS] for trial in trials]
    main = headline_of(sweep.protocol, metrics[0])
    panels = {main: f"{main}, %", "train_memory": "training memory, MiB", "train_seconds": "training, s"}
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 3), layout="constrained")
    places = [show(trial.params[key]) for trial in trials]
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        spread = [item.get(f"{name}.std", 0.0) for item in metrics]
        axis.errorbar(places, [item[name] for item in metrics], yerr=spread, marker="o", capsize=3, color="#0072B2")
        axis.set_xlabel(key)
        axis.set_ylabel(label)
    for form in FORMATS:
        figure.savefig(folder / f"curve.{form}")
    plt.close(figure)


def show(value: Any) -> str:
    """The value of a setting as short text."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def recipe_of(trial: FrozenTrial, sweep: Sweep, num_trials: int) -> Settings:
    """A trial's settings as a complete recipe, with the sweep that they come from."""
    protocol = find_protocol(sweep.protocol).validates or sweep.protocol
    variant = choose_variant(sweep.recipe, sweep.backbone, sweep.method)
    before = recipe_settings(sweep.method, variant, protocol, sweep.dataset, sweep.shots)
    tuned = TunedSpec(study=sweep.study_name, trials=num_trials, data=sweep.judged_on(), seeds=sweep.seeds)
    return merge({"tuned": tuned.model_dump(mode="json")}, before, sweep.settings, nest(trial.params))


def write_outcome(study: optuna.Study, sweep: Sweep, folder: Path) -> list[Path]:
    """Write the sweep, all trials, one recipe per trial of the front (`best.yaml` for the first), and figures.

    Returns:
        The recipes, best first.

    Raises:
        UserError: no trial finished, or the folder cannot be written.
    """
    front = best_trials(study, sweep)
    trials = study.get_trials(deepcopy=False)
    num_trials = sum(map(counts, trials))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("front-*.yaml"):
        old.unlink()
    write_yaml(folder / "sweep.yaml", sweep.model_dump(mode="json", by_alias=True, exclude_unset=True))
    write_atomically(folder / "trials.csv", trials_table(trials, sweep).to_csv(index=False).encode())
    names = ["best.yaml", *(f"front-{number}.yaml" for number in range(2, len(front) + 1))]
    for name, trial in zip(names, front, strict=True):
        write_yaml(folder / name, recipe_of(trial, sweep, num_trials))
    draw_figures(study, sweep, folder)
    if sweep.sampler == "grid" and len(sweep.space) == 1:
        draw_curves(in_grid_order([trial for trial in trials if METRICS in trial.user_attrs], sweep), sweep, folder)
    return [folder / name for name in names]


def write_yaml(path: Path, settings: Settings) -> None:
    """Write settings as YAML."""
    write_atomically(path, dump_yaml(settings, allow_unicode=True).encode())


def value_of(trial: FrozenTrial, index: int) -> float:
    """One objective of a trial."""
    return float(trial.values[index])


def importances(study: optuna.Study, sweep: Sweep) -> dict[str, dict[str, float]]:
    """Objective -> setting -> importance (PED-ANOVA); objectives with too few trials are left out."""
    found: dict[str, dict[str, float]] = {}
    for index, metric in enumerate(sweep.objectives):
        try:
            found[metric] = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=partial(value_of, index=index),
            )
        except (ValueError, RuntimeError, ZeroDivisionError):
            continue
    return found


def draw_figures(study: optuna.Study, sweep: Sweep, folder: Path) -> None:
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
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    known = importances(study, sweep)
    for index, metric in enumerate(sweep.objectives):
        about: dict[str, Any] = {"target": partial(value_of, index=index), "target_name": metric}
        if varied:
            drawings[f"slice-{metric}"] = partial(draw.plot_slice, study, params=varied, **about)
        if len(numeric) > 1:
            drawings[f"contour-{metric}"] = partial(draw.plot_contour, study, params=numeric[:2], **about)
        if metric in known:
            drawings[f"importance-{metric}"] = partial(draw.plot_param_importances, study, evaluator=evaluator, **about)
    for name, make in drawings.items():
        try:
            make()
            for form in FORMATS:
                plt.gcf().savefig(folder / f"{name}.{form}", bbox_inches="tight")
        except (ValueError, RuntimeError):
            continue  # too few different points for this figure
        finally:
            plt.close("all")
