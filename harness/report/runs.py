"""The runs that a table, a figure or a page is about: one row per run, whatever its state."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.experiment.axes import NO_VALUE
from harness.experiment.grid import values_at
from harness.experiment.protocols import Protocol, find_protocol
from harness.experiment.settings import Settings, flat_settings
from harness.experiment.spec import RunSpec
from harness.results.folder import DAMAGED
from harness.results.frame import result_row, spec_row
from harness.results.index import StoredRun, planned_runs, runs_if_any

FIXED, TUNED = "fixed", "tuned"
# Settings that make no variant of a method: where it ran, what it was called, and the axes of a grid.
NO_VARIANT = {"method", "seed", "recipe", "tuned", "protocol", "backbone", "evaluate", "wandb", "runtime"}
GRID_AXES = {"data.dataset", "data.shots", "data.classes", "data.index"}
# What may differ between runs that are values of one axis: the axis itself and what changes no result.
NO_RESULT = ("recipe", "wandb", "runtime")


def experiment_runs(specs: Sequence[RunSpec], results: Path) -> pd.DataFrame:
    """The runs of an experiment, whether or not they are in the results folder.

    Args:
        specs: as the plan gives them.
        results: the results folder.

    Returns:
        The columns of `result_row`, state (see `harness.results.folder.STATES`), reason (why a run failed or is
        damaged), settings (flat: what makes variants of a method), template and versions; label is the method and what
        sets it apart.
    """
    return labelled(pd.DataFrame([run_row(run) for run in planned_runs(specs, results)]))


def folder_runs(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """All runs of a results folder whose spec is known, in the form of `experiment_runs`, and why runs are damaged."""
    rows, damage = [], []
    for run in runs_if_any(results):
        if run.state == DAMAGED:
            damage.append(run.reason)
        if run.spec is not None:
            rows.append(run_row(run))
    if not rows:
        return pd.DataFrame(), damage
    order = ["protocol", "backbone", "dataset", "shots", "label", "seed"]
    return labelled(pd.DataFrame(rows)).sort_values(order, kind="stable", ignore_index=True), damage


def damage_in(runs: pd.DataFrame) -> list[str]:
    """Why some of the runs of `experiment_runs` are damaged, one line per run."""
    return [str(reason) for reason in runs.loc[runs["state"] == DAMAGED, "reason"]]


def damage_of(results: Path) -> list[str]:
    """Why runs of a results folder are damaged, one line per run."""
    return [run.reason for run in runs_if_any(results) if run.state == DAMAGED]


def stored_run_row(run: StoredRun) -> pd.DataFrame:
    """One run in the form of `experiment_runs`."""
    return labelled(pd.DataFrame([run_row(run)]))


def run_row(run: StoredRun) -> dict[str, Any]:
    """The row of one run whose spec is known."""
    assert run.spec is not None
    row = {"id": run.id, **spec_row(run.spec), "state": run.state, "reason": run.reason}
    row["settings"] = variant_settings(run.spec.settings())
    if run.result:
        row |= result_row(run.result)
        row |= {"template": run.result.template, "versions": run.result.environment.versions()}
    return row


def axis_runs(specs: Sequence[RunSpec], results: Path, axes: Sequence[str]) -> pd.DataFrame:
    """Finished runs that differ from those of an experiment in some settings at most, in the order of their values.

    Args:
        specs: of the experiment.
        results: the results folder.
        axes: the settings, such as skip.depth.

    Returns:
        The columns of `experiment_runs`, and `axis`: the values of the settings as text.

    Raises:
        UserError: no finished run has these settings.
    """
    wanted = {without_axes(spec.settings(), axes) for spec in specs}
    found, keys = [], []
    for run in runs_if_any(results):
        if run.result is not None:
            settings = run.result.spec.settings()
            values = flat_settings(settings)
            if set(axes) <= values.keys() and without_axes(settings, axes) in wanted:
                found.append({**run_row(run), "axis": row_name(values_at(run.result.spec, axes))})
                keys.append([values[axis] for axis in axes])
    if not found:
        example = " ".join(f"{axis}=A,B" for axis in axes)
        raise UserError(
            f"no finished run of the experiment has the setting '{', '.join(axes)}' in '{results}': run it with "
            f"several values, such as `skipbench bench METHODS {example}`"
        )
    order = sorted(range(len(found)), key=lambda number: [sort_key(value) for value in keys[number]])
    runs = pd.DataFrame([found[number] for number in order])
    return runs.assign(label=runs["method"])


def grid_runs(specs: Sequence[RunSpec], results: Path, axes: Sequence[str]) -> pd.DataFrame:
    """The runs of a grid, whether or not they are in the results folder, in the form of `axis_runs`.

    A method that a setting does not vary has a dash as its value.
    """
    values = [values_at(spec, axes) for spec in specs]
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for spec, own in zip(specs, values, strict=True):
        for axis, value in own.items():
            kinds[spec.method, axis].add(value)
    names = [
        row_name({axis: value if len(kinds[spec.method, axis]) > 1 else NO_VALUE for axis, value in own.items()})
        for spec, own in zip(specs, values, strict=True)
    ]
    runs = experiment_runs(specs, results)
    return runs.assign(axis=names, label=runs["method"])


def row_name(values: Mapping[str, str]) -> str:
    """The values of some settings as the name of a row."""
    return ", ".join(values.values())


def sort_key(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, before everything else by its text."""
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, str(value)


def protocol_of(runs: pd.DataFrame) -> Protocol:
    """The protocol of some runs, all of the same.

    Raises:
        UserError: it is unknown; names the run and the nearest.
    """
    try:
        return find_protocol(str(runs["protocol"].iloc[0]))
    except UserError as error:
        raise UserError(f"run {runs['id'].iloc[0]}: {error}") from None


def groups(runs: pd.DataFrame, *keys: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Runs that agree in some columns, in their order of appearance: the values of the columns, and the runs."""
    yield from runs.groupby(list(keys) if len(keys) > 1 else keys[0], sort=False)


def in_order(column: Iterable[object]) -> list[str]:
    """Different values, in their order of appearance, as text."""
    return list(dict.fromkeys(map(str, column)))


def without_axes(settings: Settings, axes: Sequence[str]) -> str:
    """Everything that decides the result of a run, except for some settings."""
    kept = {
        key: value
        for key, value in flat_settings(settings).items()
        if key not in axes and value is not None and key.split(".")[0] not in NO_RESULT
    }
    return json.dumps(kept, sort_keys=True)


def variant_settings(settings: Settings) -> Settings:
    """Settings that make variants of a method, flat."""
    kept = {key: value for key, value in settings.items() if key not in NO_VARIANT}
    return {key: value for key, value in flat_settings(kept).items() if key not in GRID_AXES}


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with a column `label`: the method, and the settings in which runs of the same cell and seed differ.

    So a results folder that holds a method at depths 2 and 3 gives two columns, and never a mean over both. Precision
    belongs to the label where methods of one protocol differ in it.
    """
    differing: dict[tuple[str, ...], set[str]] = defaultdict(set)
    first: dict[tuple[str, ...], Settings] = {}
    keys = [list(runs[name]) for name in ("protocol", "backbone", "method", "dataset", "shots", "seed")]
    for settings, *key in zip(runs["settings"], *keys, strict=True):
        other = first.setdefault(tuple(key), settings)
        if other is not settings:
            names = {*other, *settings}
            differing[tuple(key[:3])] |= {name for name in names if other.get(name) != settings.get(name)}
    mixed = runs.groupby(["protocol", "backbone"])["precision"].nunique()
    labels = []
    columns = [list(runs[name]) for name in ("protocol", "backbone", "method", "precision", "settings")]
    for protocol, backbone, method, precision, settings in zip(*columns, strict=True):
        apart = sorted(differing.get((protocol, backbone, method), set()) - {"train.precision"})
        parts = [f"{name.removeprefix(f'{method}.')}={settings.get(name)}" for name in apart]
        if mixed[protocol, backbone] > 1:
            parts.insert(0, precision)
        labels.append(f"{method} ({', '.join(parts)})" if parts else method)
    return runs.assign(label=labels)


def leaderboard(tuned: str) -> str:
    """The leaderboard of a run: `tuned` if its recipe came from a sweep, else `fixed`."""
    return TUNED if tuned else FIXED
