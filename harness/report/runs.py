"""The runs that a table, a figure or a page is about: one row per run, whatever its state."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from harness.data.own_split import OWN_SPLIT
from harness.errors import UserError
from harness.experiment.axes import NO_VALUE
from harness.experiment.grid import values_at
from harness.experiment.protocols import Protocol, find_protocol
from harness.experiment.settings import Settings, flat_settings
from harness.experiment.spec import RunSpec
from harness.machine.garbage import no_garbage_search
from harness.report.labels import Variant, as_left_open, by_group, differing, label_variants, sort_key, told_apart
from harness.report.marks import choices_of, mark_of
from harness.report.nearest_runs import no_run_over
from harness.report.sample_sources import with_sources
from harness.report.superseded import newest_of_each
from harness.report.zero_shot import evaluated, is_zero_shot
from harness.results.folder import DAMAGED
from harness.results.frame import result_row, spec_row
from harness.results.index import StoredRun, planned_runs, runs_if_any
from harness.results.metrics import ACCURACY
from harness.results.record import Result

FIXED, TUNED = "fixed", "tuned"
# Settings that make no variant of a method: where it ran, what it was called, and the axes of a grid.
NO_VARIANT = {"method", "seed", "recipe", "tuned", "protocol", "backbone", "evaluate", "wandb", "tracking", "runtime"}
PRECISION, TEST = "train.precision", "test"
# Samples are averaged over, as seeds are; those that come from elsewhere make a variant.
GRID_AXES = {"data.dataset", "data.shots", "data.sample_seed"}
# What is learned and what is asked afterwards: they follow from the protocol, unless a run says otherwise.
TASK = ("data.classes", "evaluate")
MOST_KEPT = 1024
BEYOND_ALL_COSTS = 1e15
# What may differ between runs that are values of one axis: the axis itself and what changes no result.
NO_RESULT = ("recipe", "wandb", "tracking", "runtime")


@no_garbage_search()
def experiment_runs(specs: Sequence[RunSpec], results: Path) -> pd.DataFrame:
    """The runs of an experiment, whether or not they are in the results folder.

    Args:
        specs: as the plan gives them.
        results: the results folder.

    Returns:
        The columns of `result_row`, state (see `harness.results.folder.STATES`), reason (why a run failed or is
        damaged), settings (flat: what makes variants of a method), template, versions, what it chose and its mark;
        label is the method and what sets it apart.
    """
    pairs = zip(specs, planned_runs(specs, results), strict=True)
    # A finished run may have been given the same sample under another name.
    return labelled(pd.DataFrame([{**run_row(run), "sample_index": spec.data.index or ""} for spec, run in pairs]))


@dataclass(frozen=True)
class FolderRuns:
    """The runs of a results folder.

    Attributes:
        runs: in the form of `experiment_runs`.
        damage: why some runs are damaged, one line per run.
        left_out: number of runs that evaluate no test image and are not among them.
        older: ids of those that are not among them because a later one has their settings and seeds.
    """

    runs: pd.DataFrame
    damage: list[str]
    left_out: int = 0
    older: tuple[str, ...] = ()


@no_garbage_search()
def folder_runs(results: Path, all_runs: bool = False) -> FolderRuns:
    """The runs of a results folder whose spec is known.

    Args:
        results: the results folder.
        all_runs: also those that evaluate no test image, such as the trials of a sweep.
    """
    rows, damage, left_out = [], [], 0
    for run in runs_if_any(results):
        if run.state == DAMAGED:
            damage.append(run.reason)
        if run.spec is None:
            continue
        if all_runs or evaluates_tests(run.spec):
            rows.append(run_row(run))
        else:
            left_out += 1
    if not rows:
        return FolderRuns(pd.DataFrame(), damage, left_out)
    order = ["protocol", "backbone", "dataset", "tail", "shots", "method", "precision", "place", "seed", "sample_seed"]
    newest, older = newest_of_each(labelled(pd.DataFrame(rows)), results)
    runs = newest.sort_values(order, kind="stable", ignore_index=True)
    return FolderRuns(runs, list(dict.fromkeys([*damage, *damage_in(runs)])), left_out, older)


def evaluates_tests(spec: RunSpec) -> bool:
    """Whether a run evaluates test images; trials of sweeps never do."""
    return any(TEST in item.splits for item in spec.evaluate)


def damage_in(runs: pd.DataFrame) -> list[str]:
    """Why some of the runs of `experiment_runs` are damaged, one line per run."""
    return [str(reason) for reason in runs.loc[runs["state"] == DAMAGED, "reason"]]


def damage_of(results: Path) -> list[str]:
    """Why runs of a results folder are damaged, one line per run."""
    found = ((run, impossible_in(run)) for run in runs_if_any(results))
    return [problem or run.reason for run, problem in found if problem or run.state == DAMAGED]


def stored_run_row(run: StoredRun) -> pd.DataFrame:
    """One run in the form of `experiment_runs`."""
    return labelled(pd.DataFrame([run_row(run)]))


def run_row(run: StoredRun) -> dict[str, Any]:
    """The row of one run whose spec is known."""
    assert run.spec is not None
    row = {"id": run.id, **spec_row(run.spec), "state": run.state, "reason": run.reason}
    row["settings"] = variant_settings(run.spec)
    if run.result:
        if reason := impossible_in(run):
            return {**row, "state": DAMAGED, "reason": reason}
        row |= result_row(run.result)
        row |= {"template": run.result.template, "versions": run.result.environment.versions()}
        row |= {"threads": run.result.environment.threads, "fewest_most": shots_of(run.result)}
        row |= {"same_prompts": same_prompts_of(run.result), "tested_on": tested_on(run.result)}
        row["own_splits"] = own_splits(run.result)
        row |= {"choices": choices_of(run.result), "mark": mark_of(run.result, run.spec.recipe)}
        row["sample_hash"] = run.result.sample.hash if run.result.sample else None
        row["noisy_labels"] = run.result.sample.noisy_labels if run.result.sample else None
        row |= {"zero_shot": is_zero_shot(run.result), "evaluated": evaluated(run.result)}
        row["refusals"] = tuple((item.evaluation, item.reason) for item in run.result.refusals)
    return row


def tested_on(result: Result) -> tuple[tuple[str, str], ...]:
    """Data set with its classes, and the hash of its test images, for each evaluation on these that has one."""
    tests = [item for item in result.evaluations if item.splits == (TEST,) and item.pictures_hash]
    return tuple((f"{item.dataset} ({item.classes})", str(item.pictures_hash)) for item in tests)


def own_splits(result: Result) -> tuple[tuple[str, str], ...]:
    """Data set and remark, for each that a run read and that was split here, without the published split file."""
    read = [(result.spec.data.dataset, result.layout), *((item.dataset, item.layout) for item in result.evaluations)]
    found = ((name, fact) for name, facts in read for fact in facts if fact.startswith(OWN_SPLIT))
    return tuple(dict.fromkeys(found))


def shots_of(result: Result) -> tuple[int, int] | None:
    """Fewest and most training images of a class, if they differ from the number of shots that was asked for."""
    shots = result.sample.shots if result.sample else None
    asked = (result.spec.data.fewest_shots, result.spec.data.shots)
    return None if shots is None or shots == asked else shots


def same_prompts_of(result: Result) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Data set and names of every group of classes that share a prompt."""
    pairs = ((item.dataset, group) for item in result.evaluations for group in item.same_prompts)
    return tuple(dict.fromkeys(pairs))


def impossible_in(run: StoredRun) -> str | None:
    """Why a result that can be read is damaged all the same: a number that no run can have; None if there is none."""
    problem = impossible_number(run.result) if run.result else None
    where = f"'{run.folder.result_file}'"
    return f"{where} holds {problem}: remove its folder to compute the run again" if problem else None


def impossible_number(result: Result) -> str | None:
    """The first number of a result that no run can have, in words; None if there is none."""
    for item in result.evaluations:
        for name, value in ((ACCURACY, item.accuracy), ("calibration error", item.ece or 0.0)):
            if not 0 <= value <= 100:
                return f"{name} {value:g} % of '{item.name}'"
    for name, phase in result.costs.phases.items():
        for cost, value in (("seconds", phase.seconds), ("images", phase.images), ("bytes", phase.peak_bytes or 0)):
            if not 0 <= value < BEYOND_ALL_COSTS:
                return f"{value:g} {cost} of phase '{name}'"
    return None


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
    found, keys, settings_of = [], [], []
    others: list[RunSpec] = []
    for run in runs_if_any(results):
        if run.result is not None and not impossible_in(run):
            settings = run.result.spec.settings()
            values = flat_settings(settings)
            if not set(axes) <= values.keys():
                continue
            if without_axes(settings, axes) in wanted:
                found.append({**run_row(run), "axis": row_name(values_at(run.result.spec, axes))})
                keys.append([values[axis] for axis in axes])
                settings_of.append(values)
            else:
                others.append(run.result.spec)
    if not found:
        raise UserError(no_run_over(specs, others, results, axes))
    order = sorted(range(len(found)), key=lambda number: [sort_key(value) for value in keys[number]])
    runs = pd.DataFrame([found[number] for number in order])
    rows = [row_name(values) for values in told_apart(axes, [settings_of[number] for number in order])]
    return newest_of_each(runs.assign(label=runs["method"], row=rows), results)[0]


def grid_runs(specs: Sequence[RunSpec], results: Path, axes: Sequence[str]) -> pd.DataFrame:
    """The runs of a grid, whether or not they are in the results folder, in the form of `axis_runs`.

    A method that a setting does not vary has a dash as its value.
    """
    values = [values_at(spec, axes) for spec in specs]
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for spec, own in zip(specs, values, strict=True):
        for axis, value in own.items():
            kinds[spec.method, axis].add(value)
    settings = [flat_settings(spec.settings()) for spec in specs]
    short = told_apart(axes, settings)
    exact_rows, short_texts = [], []
    for spec, own, texts in zip(specs, values, short, strict=True):
        varied = [axis for axis in axes if len(kinds[spec.method, axis]) > 1]
        exact_rows.append(row_name({axis: own[axis] if axis in varied else NO_VALUE for axis in axes}))
        short_texts.append(row_name({axis: texts[axis] if axis in varied else NO_VALUE for axis in axes}))
    runs = experiment_runs(specs, results)
    return runs.assign(axis=exact_rows, row=short_texts, label=runs["method"])


def row_name(values: Mapping[str, str]) -> str:
    """The values of some settings as the name of a row."""
    return ", ".join(values.values())


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
    values = column.unique() if isinstance(column, pd.Series) else column
    return list(dict.fromkeys(map(str, values)))


def without_axes(settings: Settings, axes: Sequence[str]) -> str:
    """Everything that decides the result of a run, except for some settings."""
    kept = {
        key: value
        for key, value in as_left_open(flat_settings(settings)).items()
        if key not in axes and value is not None and key.split(".")[0] not in NO_RESULT
    }
    return json.dumps(kept, sort_keys=True)


def variant_settings(spec: RunSpec) -> Settings:
    """Settings that make variants of a method, flat; the same object for all runs that share it, as thousands do."""
    return _flat_variant(spec.method, spec.model_dump_json(exclude=NO_VARIANT), evaluations_in_words(spec))


def evaluations_in_words(spec: RunSpec) -> str:
    """What a run is evaluated on, the same for all data sets of a protocol that evaluates on the training data set."""
    own = spec.data.dataset
    return "; ".join(
        " ".join([f"{item.name}:", *([item.dataset] if item.dataset != own else []), item.classes, *item.splits])
        for item in spec.evaluate
    )


@lru_cache(MOST_KEPT)
def _flat_variant(method: str, fields: str, evaluations: str) -> Settings:
    """As `variant_settings`, from the JSON of the other fields that count."""
    settings = json.loads(fields)
    flat = as_left_open(flat_settings({method: settings.pop("options"), **settings, "evaluate": evaluations}))
    return {key: value for key, value in flat.items() if key not in GRID_AXES}


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with columns `label` (see `Variant`), `variant`, `exact` and `place`: what sets them apart in a table.

    So a results folder that holds a method at depths 2 and 3 gives two columns, and never a mean over both. Precision,
    training classes and evaluations belong to the label where methods of one table differ in them.
    """
    runs = with_sources(runs)
    boards = [leaderboard(tuned) for tuned in runs["tuned"].tolist()]
    tables = list(zip(runs["protocol"].tolist(), runs["backbone"].tolist(), boards, strict=True))
    precisions: dict[Any, set[str]] = defaultdict(set)
    for table, precision in zip(tables, runs["precision"].tolist(), strict=True):
        precisions[table].add(precision)
    methods, settings = runs["method"].tolist(), runs["settings"].tolist()
    cells = list(zip(*(runs[axis].tolist() for axis in ("dataset", "tail", "shots")), strict=True))
    variants: dict[int, Variant] = {}
    tasks = {table: differing_tasks(cells, settings, places) for table, places in by_group(tables).items()}
    for (table, method), places in by_group(list(zip(tables, methods, strict=True))).items():
        always = [*tasks[table], *([PRECISION] if len(precisions[table]) > 1 else [])]
        own = [(cells[place], settings[place]) for place in places]
        variants |= dict(zip(places, label_variants(method, own, bare=[PRECISION], always=always), strict=True))
    found = [variants[place] for place in range(len(runs))]
    return runs.assign(
        label=[one.label for one in found],
        variant=[one.settings for one in found],
        exact=[one.exact for one in found],
        place=[one.place for one in found],
    )


def differing_tasks(cells: Sequence[Any], settings: Sequence[Settings], places: Iterable[int]) -> list[str]:
    """The settings of TASK in which runs at some places differ, on the same data set with the same shots."""
    return sorted(differing((cells[place], {key: settings[place].get(key) for key in TASK}) for place in places))


def leaderboard(tuned: str) -> str:
    """The leaderboard of a run: `tuned` if its recipe came from a sweep, else `fixed`."""
    return TUNED if tuned else FIXED
