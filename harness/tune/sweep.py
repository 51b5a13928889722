"""The description of a sweep: a search space over the settings of runs, objectives, and a budget."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
from pydantic import Field, ValidationInfo, field_validator, model_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.errors import UserError, nearest
from harness.experiment.axes import Kind, points, read_axes, values_of
from harness.experiment.grid import Experiment, load_experiment, plan_grid, setting_kind
from harness.experiment.layers import PlannedRun
from harness.experiment.protocols import PROTOCOLS, find_protocol, validation_protocols
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import check_method
from harness.experiment.settings import (
    Section,
    Settings,
    by_sections,
    flat_settings,
    merge,
    nest,
    read_yaml,
    validate,
)
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.units import parse_seconds
from harness.results.metrics import METRICS, find_metric
from harness.tune.space import Parameter, Value, read_space

SWEEPS = EXPERIMENTS / "sweeps"


class Sweep(Section):
    """A search for settings of one method on one data set."""

    name: str | None = Field(None, description="null: the file's name")
    method: str
    dataset: str = "emoji"
    backbone: str = "clip-emoji"
    shots: int = Field(16, ge=1)
    seeds: tuple[int, ...] = Field((1, 2), min_length=1, description="every trial runs with all of them")
    protocol: str = Field(
        "base_to_new_validation",
        description=f"how a trial is judged: {', '.join(validation_protocols())}; never on test images",
    )
    folds: int | None = Field(None, ge=2, description="parts for cross-validation, with the held_out protocols")
    recipe: str | None = Field(None, description="what the space changes; null: the backbone's recipe, else official")
    settings: Settings = Field({}, description="settings of every run, as on the command line")
    space: dict[str, Parameter] = Field(min_length=1, description="settings by their keys, such as skip.depth")
    objectives: tuple[str, ...] = Field(
        ("H", "train_memory"),
        min_length=1,
        description=f"metrics: {', '.join(METRICS)}; of one evaluation: accuracy.NAME; with several objectives the "
        "result is a Pareto front",
    )
    limits: dict[str, float] = Field({}, description="what a trial may cost at most, such as {peak_memory: 900} MiB")
    sampler: Literal["tpe", "nsga2", "random", "grid"] = "tpe"
    pruner: Literal["none", "median", "halving", "hyperband"] = Field(
        "none", description="stops trials early by their accuracy after each epoch; with one objective only"
    )
    trials: int = Field(40, ge=1, description="number of trials; a grid has all its points")
    time_budget: float | None = Field(None, gt=0, description="no trial starts after this time: seconds, or 30m, 2h")
    seed: int = Field(0, ge=0, le=10**6, description="of the sampler")
    workers: int | None = Field(None, ge=1, description="trials at a time; null: one per slot of this machine")
    storage: str | None = Field(
        None, description="of the study: null: SQLite in RESULTS/sweeps/; postgresql://..., mysql://..., journal:/path"
    )
    schedule: ScheduleSpec = ScheduleSpec()

    @field_validator("seeds", "objectives", mode="before")
    @classmethod
    def _several_values(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        return values_of(name, value, Kind.NUMBER if name == "seeds" else Kind.WORD)

    @field_validator("settings", mode="before")
    @classmethod
    def _nested(cls, value: Any) -> Any:
        return by_sections(value)

    @field_validator("time_budget", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        return parse_seconds(value)

    @model_validator(mode="after")
    def _fits_together(self) -> "Sweep":
        for metric in (*self.objectives, *self.limits):
            try:
                find_metric(metric)
            except UserError as error:
                raise ValueError(str(error)) from None
        if self.pruner != "none" and len(self.objectives) > 1:
            raise ValueError("pruner: several objectives cannot be pruned; use one, and limits for the others")
        if self.pruner != "none" and not find_metric(self.objectives[0]).higher_is_better:
            raise ValueError("pruner: it compares accuracies after each epoch; make H or accuracy the objective")
        protocol = PROTOCOLS.get(self.protocol)
        if protocol and (self.folds is None) == protocol.needs_folds:
            raise ValueError(f"folds={self.folds} and protocol={self.protocol}: held-out shots need folds, others none")
        for key, parameter in self.space.items():
            for other in parameter.when:
                if other not in self.space or list(self.space).index(other) > list(self.space).index(key):
                    raise ValueError(f"space: '{key}' depends on '{other}', which must come before it")
            if self.sampler == "grid":
                if parameter.when:
                    raise ValueError(f"space: '{key}' has `when`, which a grid cannot have")
                try:
                    parameter.values()
                except ValueError as error:
                    raise ValueError(f"space: '{key}': {error}") from None
        return self

    @property
    def study_name(self) -> str:
        """Name of the study: the name of the sweep, and a hash of everything that its trials share."""
        apart = {"name", "trials", "time_budget", "workers", "storage", "schedule", "sampler", "pruner", "seed"}
        dump = json.dumps(self.model_dump(mode="json", exclude=apart), sort_keys=True)
        return f"{self.name}-{self.dataset.replace('/', '_')}-{hashlib.sha256(dump.encode()).hexdigest()[:8]}"

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        return len(self.grid()) if self.sampler == "grid" else self.trials

    def grid(self) -> list[dict[str, Value]]:
        """All points of the grid."""
        return list(points({key: parameter.values() for key, parameter in self.space.items()}))

    def recipe_point(self) -> dict[str, Value] | None:
        """The settings of the recipe itself; None if they are not in the space."""
        settings = self.specs({})[0].settings()
        point: dict[str, Value] = {}
        for key, parameter in self.space.items():
            if not parameter.is_needed(point):
                continue
            value: Any = settings
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if not parameter.holds(value):
                return None
            point[key] = value
        return point

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """Let a trial choose its settings; settings whose condition does not hold are left out."""
        chosen: dict[str, Value] = {}
        for key, parameter in self.space.items():
            if parameter.is_needed(chosen):
                chosen[key] = parameter.suggest(trial, key)
        return chosen

    def experiment(self) -> Experiment:
        """The grid of one trial's runs."""
        changes = {
            "name": self.study_name,
            "protocol": self.protocol,
            "methods": [self.method],
            "datasets": [self.dataset],
            "backbone": self.backbone,
            "shots": [self.shots],
            "seeds": list(self.seeds),
            "recipe": self.recipe,
        }
        return load_experiment(EXPERIMENTS / "bench.yaml", changes, f"sweep {self.name}")

    def specs(self, chosen: dict[str, Value]) -> list[RunSpec]:
        """The specs of the runs of a trial; errors as `planned`."""
        return [item.spec for item in self.planned(chosen)]

    def planned(self, chosen: dict[str, Value]) -> list[PlannedRun]:
        """The runs of a trial.

        Raises:
            UserError: settings that no run can take, or an evaluation on test images.
        """
        always = {"train": {"validate_every": 1}} if self.pruner != "none" else {}
        folds: list[Settings] = [{"data": {"held_out": f"{n}/{self.folds}"}} for n in range(1, (self.folds or 0) + 1)]
        planned = []
        for fold in folds or [{}]:
            settings = merge(self.settings, always, fold, nest(chosen))
            planned += plan_grid(self.experiment().with_settings(settings, f"sweep {self.name}"))
        for item in planned:
            tested = [evaluation.name for evaluation in item.spec.evaluate if "test" in evaluation.splits]
            if tested:
                raise UserError(
                    f"a sweep must not look at test images, as evaluation '{tested[0]}' of '{self.protocol}' does: "
                    f"use {', '.join(validation_protocols())}"
                )
        return planned

    def judged_on(self) -> str:
        """The images that trials are judged on, in words."""
        folds = f", {self.folds} folds" if self.folds else ""
        return f"{self.protocol} of {self.dataset}, {self.shots} shots{folds}"


def split_changes(settings: Settings) -> Settings:
    """KEY=VALUE settings as changes of a sweep: keys of the sweep itself, and settings of its runs under `settings`."""
    own = set(Sweep.model_fields) - {"method", "settings", "space", "name", "schedule"}
    changes = {key: value for key, value in settings.items() if key in own}
    of_runs = {key: value for key, value in settings.items() if key not in own}
    return {**changes, **({"settings": of_runs} if of_runs else {})}


def load_sweep(name: str, changes: Settings, schedule: Settings | None = None) -> Sweep:
    """A sweep by its name in experiments/sweeps/ or by the path of its file, with changes on top.

    Raises:
        UserError: no such sweep, or something in it that is wrong.
    """
    known = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
    path = SWEEPS / f"{name}.yaml" if name in known else Path(name)
    if name not in known and path.suffix not in (".yaml", ".yml"):
        raise UserError(f"no sweep '{name}' in experiments/sweeps/.{nearest(name, known)} Or give a YAML file")
    settings = merge({"name": path.stem}, read_yaml(path), {"schedule": schedule or {}})
    of_runs = by_sections(changes.get("settings", {}))
    # A new space, new objectives or new limits replace the old ones as a whole.
    settings = {**settings, **changes, "settings": merge(by_sections(settings.get("settings") or {}), of_runs)}
    method = check_method(str(settings["method"])) if "method" in settings else ""
    if method and isinstance(settings.get("space"), Mapping):
        settings = search_over(settings, of_runs, method)
    sweep: Sweep = validate(Sweep, settings, "")
    find_protocol(sweep.protocol)
    return sweep


def search_over(settings: Settings, changes: Settings, method: str) -> Settings:
    """A sweep whose space is read and follows changes of its runs' settings.

    A setting that is changed to several values is searched over; one that is changed to a single value no longer is.

    Raises:
        UserError: the file gives several values to a setting outside its space.
    """
    backbone = str(settings.get("backbone", Sweep.model_fields["backbone"].default))
    space, fixed = dict(settings["space"]), flat_settings(settings["settings"])
    axes = read_axes(
        settings["settings"], lambda key: setting_kind(method, key), lambda: blocks_of(parse_backbone(backbone))
    )
    changed = flat_settings(changes)
    for key, values in axes.items():
        if len(values) > 1 and key not in changed:
            raise UserError(f"settings: '{key}' has several values: a sweep searches over what is in its `space`")
        if len(values) > 1:
            space[key] = fixed.pop(key)
        elif key in changed:
            space.pop(key, None)
    return {**settings, "settings": nest(fixed), "space": read_space(space, method, backbone)}
