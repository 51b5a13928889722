"""The outcome of a sweep: the best trials, the Pareto front, tables, recipes for `bench`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import choose_variant, recipe_settings
from harness.experiment.settings import Settings, merge, nest
from harness.experiment.tuned import TunedSpec
from harness.experiment.yaml_values import dump_yaml
from harness.machine.masking import masked_settings
from harness.results.files import write_atomically
from harness.results.metrics import PERCENT, RunMetric, find_metric
from harness.tune.figures import draw_curves, draw_figures, shown_value
from harness.tune.importance import Importance
from harness.tune.objective import FAILURE, METRICS, SECONDS, headline_of, seconds_of
from harness.tune.pending import counts, point_of, same_point
from harness.tune.sweep import Sweep

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
        seconds = {"seconds": trial.user_attrs[SECONDS]} if SECONDS in trial.user_attrs else {}
        rows.append({"trial": trial.number, "state": state, **trial.params, **metrics, **seconds, "reason": reason})
    return pd.DataFrame(rows)


def text_table(trials: list[FrozenTrial], sweep: Sweep) -> pd.DataFrame:
    """Text cells: settings, the headline metric with its sample deviation over the runs, objectives, limits, costs."""
    rows = []
    for trial in trials:
        values = trial.user_attrs[METRICS]
        main = headline_of(sweep.protocol, values)
        deviation = f"{main}.std"
        spread = f" ± {in_digits(main, values[deviation])}" if deviation in values else ""
        cells = {key: shown_value(trial.params.get(key)) for key in sweep.space}
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
    """Trials in the order of the points of the grid, the first of each point."""
    by_point = [(point_of(trial), trial) for trial in trials]
    found = (next((trial for other, trial in by_point if same_point(point, other)), None) for point in sweep.grid())
    return [trial for trial in found if trial]


def grid_title(trials: list[FrozenTrial], sweep: Sweep) -> str:
    """How much of the grid was judged, in words.

    Args:
        trials: those that were judged, each of another point.
    """
    if len(trials) == sweep.num_trials:
        return "All points of the grid"
    return f"{len(trials)} of {sweep.num_trials} points of the grid"


def recipe_of(trial: FrozenTrial, sweep: Sweep, num_trials: int, seconds: float | None = None) -> Settings:
    """A trial's settings as a complete recipe, with the sweep that they come from and its budget.

    Args:
        trial: the trial.
        sweep: the search.
        num_trials: how many trials were looked at.
        seconds: that all of them took together, measured.
    """
    protocol = find_protocol(sweep.protocol).validates or sweep.protocol
    variant = choose_variant(sweep.recipe, sweep.backbone, sweep.method)
    before = recipe_settings(sweep.method, variant, protocol, sweep.dataset, sweep.shots)
    chosen = nest(trial.params)
    tuned = TunedSpec(
        study=sweep.study_name,
        trials=num_trials,
        data=sweep.judged_on(),
        seeds=sweep.seeds,
        protocol=sweep.protocol,
        dataset=sweep.dataset,
        shots=sweep.shots,
        recipe=variant,
        settings=chosen,
        budget=sweep.budget,
        methods=sweep.equal_for,
        seconds=seconds,
    )
    return merge({"tuned": tuned.model_dump(mode="json", exclude_defaults=True)}, before, sweep.settings, chosen)


def write_outcome(
    study: optuna.Study, sweep: Sweep, found: Mapping[str, Importance], folder: Path, draws: bool = True
) -> list[Path]:
    """Write the sweep, all trials, one recipe per trial of the front (`best.yaml` for the first), and figures.

    Args:
        study: the study.
        sweep: the search.
        found: objective -> importance of the settings.
        folder: where to.
        draws: whether there are figures too, which take seconds.

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
    write_yaml(folder / "sweep.yaml", masked_settings(sweep.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    write_atomically(folder / "trials.csv", trials_table(trials, sweep).to_csv(index=False).encode())
    names = ["best.yaml", *(f"front-{number}.yaml" for number in range(2, len(front) + 1))]
    for name, trial in zip(names, front, strict=True):
        write_yaml(folder / name, recipe_of(trial, sweep, num_trials, round(seconds_of(trials), 1)))
    if not draws:
        return [folder / name for name in names]
    draw_figures(study, sweep, found, front, folder)
    if sweep.sampler == "grid" and len(sweep.space) == 1:
        draw_curves(in_grid_order([trial for trial in trials if METRICS in trial.user_attrs], sweep), sweep, folder)
    return [folder / name for name in names]


def write_yaml(path: Path, settings: Settings) -> None:
    """Write settings as YAML."""
    write_atomically(path, dump_yaml(settings, allow_unicode=True).encode())
