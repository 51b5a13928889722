"""The runs that a table, a figure or a page is about: done, failed and missing, one row each."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from harness.errors import UserError
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from harness.results.frame import flatten, tuned_words
from harness.results.record import read_result

DONE, BEGUN, FAILED, MISSING = "done", "begun", "failed", "missing"
FIXED, TUNED = "fixed", "tuned"
# What makes no variant of a method: where it ran, what it was called, and the axes of a grid.
NO_VARIANT = {"method", "seed", "recipe", "tuned", "protocol", "backbone", "evaluate", "wandb", "runtime"}
GRID_AXES = {"data.dataset", "data.shots", "data.classes", "data.index"}
# What may differ between runs that are values of one knob: nothing but the knob and what changes no result.
NO_RESULT = ("recipe", "wandb", "runtime")
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]+Z ([A-Z]+) (.*)$")


def experiment_runs(specs: Sequence[RunSpec], results: Path) -> pd.DataFrame:
    """The runs of an experiment, whether or not they are there.

    Args:
        specs: as the plan gives them.
        results: the results folder.

    Returns:
        The columns of `results_frame`, state (done, begun, failed, missing), reason (of a failure), name, settings
        (flat: what makes variants of a method), template and versions; label is the method and what sets it apart.
    """
    rows = []
    for spec in specs:
        folder = results / "runs" / spec.id
        rows.append(done_row(folder) if (folder / "result.json").is_file() else left_row(spec.settings(), folder))
    return labelled(pd.DataFrame(rows))


def folder_runs(results: Path) -> pd.DataFrame:
    """All runs of a results folder, done or begun, in the form of `experiment_runs`."""
    rows = []
    for folder in sorted((results / "runs").glob("*")):
        if (folder / "result.json").is_file():
            rows.append(done_row(folder))
        elif (folder / "spec.yaml").is_file():
            rows.append(left_row(read_spec(folder / "spec.yaml"), folder))
    if not rows:
        return pd.DataFrame()
    order = ["protocol", "backbone", "dataset", "shots", "label", "seed"]
    return labelled(pd.DataFrame(rows)).sort_values(order, kind="stable", ignore_index=True)


def knob_runs(specs: Sequence[RunSpec], results: Path, knob: str) -> pd.DataFrame:
    """Runs that differ from those of an experiment in one setting at most, with its values in the column `knob`.

    Args:
        specs: of the experiment.
        results: the results folder.
        knob: a setting, such as skip.depth.

    Raises:
        UserError: no finished run has that setting.
    """
    wanted = {without_knob(spec.settings(), knob) for spec in specs}
    found = []
    for path in sorted((results / "runs").glob("*/result.json")):
        settings = read_result(path)["spec"]
        if knob in flat(settings) and without_knob(settings, knob) in wanted:
            found.append({**done_row(path.parent), "knob": flat(settings)[knob]})
    if not found:
        raise UserError(
            f"no finished run of the experiment has the setting '{knob}' in '{results}': run it with several values, "
            f"such as `skipbench bench ... {knob}=...`"
        )
    runs = pd.DataFrame(found)
    runs["label"] = runs["method"]
    numbers = pd.to_numeric(runs["knob"], errors="coerce")
    keys = numbers if numbers.notna().all() else runs["knob"].astype(str)
    return runs.iloc[keys.argsort(kind="stable")].reset_index(drop=True)


def groups(runs: pd.DataFrame, *keys: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Runs that agree in some columns, in the order in which they came: what they agree in, and they."""
    yield from runs.groupby(list(keys) if len(keys) > 1 else keys[0], sort=False)


def without_knob(settings: Settings, knob: str) -> str:
    """What decides the result of a run but for one setting."""
    kept = {
        key: value
        for key, value in flat(settings).items()
        if key != knob and value is not None and key.split(".")[0] not in NO_RESULT
    }
    return json.dumps(kept, sort_keys=True)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """Nested settings as `section.key: value`."""
    found: Settings = {}
    for key, value in settings.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return found


def done_row(folder: Path) -> Settings:
    """The row of a run that is complete."""
    result = read_result(folder / "result.json")
    try:
        environment = result["environment"]
        return {
            **flatten(result),
            "state": DONE,
            "reason": "",
            "name": result.get("name", ""),
            "settings": variant_settings(result["spec"]),
            "template": ", ".join(dict.fromkeys(str(item.get("template", "")) for item in result["evaluations"])),
            "versions": versions(environment),
        }
    except (KeyError, TypeError) as error:
        raise UserError(f"'{folder / 'result.json'}' is no result of a run: {error} is missing or of no use") from None


def versions(environment: Mapping[str, Any]) -> str:
    """SkipBench with its commit, and torch."""
    commit = environment.get("git_commit")
    code = f" ({commit[:7]}{'+changes' if environment.get('git_changed') else ''})" if commit else ""
    cuda = f" with CUDA {environment['cuda']}" if environment.get("cuda") else ""
    return f"SkipBench {environment.get('skipbench', '?')}{code}, torch {environment.get('torch', '?')}{cuda}"


def left_row(settings: Settings, folder: Path) -> Settings:
    """The row of a run that is not complete."""
    state, reason = state_of(folder)
    data = settings["data"]
    return {
        "id": folder.name,
        **{key: settings[key] for key in ("method", "backbone", "protocol", "seed", "recipe")},
        "dataset": data["dataset"],
        "shots": data["shots"],
        "precision": settings["train"]["precision"],
        "tuned": tuned_words(settings),
        "state": state,
        "reason": reason,
        "name": f"{settings['method']}-{data['dataset']}-{data['shots']}shot-seed{settings['seed']}",
        "settings": variant_settings(settings),
    }


def read_spec(path: Path) -> Settings:
    """The `spec.yaml` of a run that is not complete."""
    try:
        settings = yaml.safe_load(path.read_text())
        assert isinstance(settings, dict)
    except (OSError, yaml.YAMLError, AssertionError):
        raise UserError(f"'{path}' is damaged: remove its folder to start the run anew") from None
    return settings


def state_of(folder: Path) -> tuple[str, str]:
    """State of a run that is not complete, and why it failed: the scheduler's word, or an error that ends its log."""
    run = RunFolder(folder.parents[1], folder.name)
    state = run.state
    if state == FAILED:
        return FAILED, str((run.read_failure() or {}).get("reason", ""))
    try:
        lines = run.log_file.read_text(errors="replace").splitlines()
    except OSError:
        return MISSING, ""
    entries = [match for match in map(LOG_LINE.match, lines) if match]
    if not entries or entries[-1][1] != "ERROR" or state == "running":
        return BEGUN, ""
    # An unexpected error is logged as the word `failed` with a traceback, whose last line says what it was.
    return FAILED, lines[-1] if entries[-1][2] == "failed" else entries[-1][2]


def variant_settings(settings: Settings) -> Settings:
    """Settings that make variants of a method, flat."""
    kept = {key: value for key, value in settings.items() if key not in NO_VARIANT}
    return {key: value for key, value in flat(kept).items() if key not in GRID_AXES}


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


def leaderboard(row: Mapping[str, Any]) -> str:
    """Which leaderboard a run belongs to: `tuned` if its recipe came from a sweep, else `fixed`."""
    return TUNED if row["tuned"] else FIXED
