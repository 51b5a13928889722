"""The description of a sweep: a search space over the settings of runs, objectives, and a budget."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import optuna
from pydantic import Field, ValidationInfo, field_validator, model_validator

from harness.errors import UserError
from harness.experiment.axes import Kind, points, values_of
from harness.experiment.grid import MOST_RUNS, Experiment, load_experiment, plan_grid
from harness.experiment.layers import PlannedRun
from harness.experiment.protocols import PROTOCOLS, validation_protocols
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import (
    Section,
    Settings,
    by_sections,
    merge,
    nest,
)
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.units import parse_seconds
from harness.results.metrics import METRICS, find_metric
from harness.text import counted
from harness.tune.address import check_address
from harness.tune.space import Parameter, Value

APART = frozenset(
    (
        "name",
        "trials",
        "time_budget",
        "seconds_budget",
        "equal_for",
        "workers",
        "storage",
        "schedule",
        "sampler",
        "pruner",
        "seed",
    )
)
"""Keys that the trials of a study do not depend on: with others it is the same study."""
# In bytes. W&B takes groups of up to 128 characters, file systems names of up to 255 bytes.
LONGEST_NAME, LONGEST_STUDY, SHORTEST_DATASET = 64, 128, 16


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
    seconds_budget: float | None = Field(
        None, gt=0, description="no trial starts once all trials together took so long, measured: seconds, or 30m, 2h"
    )
    equal_for: tuple[str, ...] = Field((), description="methods that are given the same budget; recipes say so")
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

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip() or value.startswith(".") or not value.isprintable() or set(value) & {"/", "\\"}:
            raise ValueError("it names a folder: no / and \\, no control characters, no dot in front, not empty")
        if len(value.encode()) > LONGEST_NAME:
            raise ValueError(f"it names a folder and is too long: at most {LONGEST_NAME} bytes")
        return value

    @field_validator("storage")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            check_address(value)
        return value

    @field_validator("settings", mode="before")
    @classmethod
    def _nested(cls, value: Any) -> Any:
        return by_sections(value)

    @field_validator("time_budget", "seconds_budget", mode="before")
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
        if self.sampler == "grid":
            number = math.prod(len(parameter.values()) for parameter in self.space.values())
            if number > MOST_RUNS:
                raise ValueError(f"space: the grid has {number:,} points, at most {MOST_RUNS:,} are possible")
        return self

    @property
    def study_name(self) -> str:
        """Name of the study: the name of the sweep, and a hash of everything that its trials share."""
        dump = json.dumps(self.model_dump(mode="json", exclude=set(APART)), sort_keys=True)
        digest = hashlib.sha256(dump.encode()).hexdigest()[:8]
        room = LONGEST_STUDY - len(f"{self.name}--{digest}".encode())
        return f"{self.name}-{short_dataset(self.dataset, room)}-{digest}"

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Whether more or less is better, of every objective."""
        return ["maximize" if find_metric(metric).higher_is_better else "minimize" for metric in self.objectives]

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        return len(self.grid()) if self.sampler == "grid" else self.trials

    @property
    def budget(self) -> str | None:
        """The budget that several methods have alike, in words; None if it is not said that they have."""
        if not self.equal_for:
            return None
        return f"{self.seconds_budget:g} s" if self.seconds_budget else counted(self.num_trials, "trial")

    def grid(self) -> list[dict[str, Value]]:
        """All points of the grid."""
        return list(points({key: parameter.values() for key, parameter in self.space.items()}))

    def outermost_points(self) -> Iterator[tuple[str, dict[str, Value]]]:
        """A point of the space for every bound and choice of every setting, to find those that no run can take."""
        first = {key: parameter.extremes()[0] for key, parameter in self.space.items()}
        for key, parameter in self.space.items():
            for value in parameter.extremes():
                yield key, {**first, key: value}

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

    def needed(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """A point without the settings whose condition does not hold in it."""
        chosen: dict[str, Value] = {}
        for key, parameter in self.space.items():
            if parameter.is_needed(chosen):
                chosen[key] = point[key]
        return chosen

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
            UserError: settings that no run can take, or an evaluation or a choice on test images.
        """
        always = {"train": {"validate_every": 1}} if self.pruner != "none" else {}
        folds: list[Settings] = [{"data": {"held_out": f"{n}/{self.folds}"}} for n in range(1, (self.folds or 0) + 1)]
        planned = []
        for fold in folds or [{}]:
            settings = merge(self.settings, always, fold, nest(chosen))
            planned += plan_grid(self.experiment().with_settings(settings, f"sweep {self.name}"))
        for item in planned:
            for key in ("pictures", "epoch_pictures"):
                if getattr(item.spec.select, key) == "test":
                    raise UserError(f"a sweep must not look at test images: leave select.{key} at val")
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
        return f"{self.protocol} of {self.dataset}, {counted(self.shots, 'shot')}{folds}"


def short_dataset(dataset: str, room: int) -> str:
    """The name of a data set as part of a folder's name: of a long path its end, which says most.

    Args:
        dataset: its name; that of an own folder holds a path.
        room: bytes that it may take. Names that are cut are told apart by the hash that stands behind them.
    """
    name = "".join(letter if letter.isprintable() else "_" for letter in dataset.replace("/", "_"))
    data = name.encode(errors="replace")
    return name if len(data) <= room else data[-room:].decode(errors="ignore")
