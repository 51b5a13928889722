"""From what the user asks for to a list of runs: experiments, axes, protocols and recipes come together here."""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.data.datasets import find_dataset
from harness.data.own_names import PREFIXES, split_names
from harness.data.shots import FORM, is_long_tail, most_shots, parse_long_tail
from harness.errors import UserError
from harness.experiment.axes import NO_VALUE, Kind, points, read_axes, text_of, values_of
from harness.experiment.files import find_experiment_file, short_name
from harness.experiment.layers import COMMAND_LINE, DEFAULT, Layer, PlannedRun
from harness.experiment.needs import depends_on_sample, is_idle
from harness.experiment.one_run import once_each, plan_run, setting_kind
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import check_sections, choose_variant, for_method, recipe_layers
from harness.experiment.registry import check_method, method_class, method_names
from harness.experiment.scalar_types import check_value
from harness.experiment.settings import Section, Settings, by_sections, flat_settings, merge, nest, read_yaml, validate
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.experiment.yaml_values import LARGEST
from harness.machine.garbage import no_garbage_search
from harness.text import counted

EVERY_METHOD = "all"
MOST_RUNS = 100_000
"""A grid with more runs is taken for a mistake."""

# Setting of a run -> the field of an experiment that gives it.
AXES = {
    "data.dataset": "datasets",
    "data.shots": "shots",
    "backbone": "backbone",
    "method": "methods",
    "seed": "seeds",
    "protocol": "protocol",
    "recipe": "recipe",
}

PLURALS = {name: f"{name}s" for name in ("backbone", "method", "recipe", "seed")}
PLURALS |= {"data.dataset": "data sets", "data.shots": "shots"}


class Experiment(Section):
    """A grid of runs under one protocol: the product of its axes, which every setting may be."""

    name: str = Field(
        "bench", min_length=1, max_length=128, description="W&B group of its runs; default: the experiment file's name"
    )
    protocol: str = "base_to_new"
    methods: tuple[str, ...] = Field(("skip",), min_length=1)
    datasets: tuple[str, ...] = Field(("emoji",), min_length=1)
    backbones: tuple[str, ...] = Field(("clip-emoji",), min_length=1, alias="backbone")
    shots: tuple[int | str, ...] = Field((16,), min_length=1, description="numbers, or longtail:MOST..FEWEST")
    seeds: tuple[Annotated[int, Field(ge=0, le=LARGEST)], ...] = Field((1, 2, 3), min_length=1)
    targets: tuple[str, ...] | None = Field(
        None, description="data sets to be evaluated on besides the training one; null: the protocol's own"
    )
    recipes: tuple[str | None, ...] = Field(
        (None,), min_length=1, alias="recipe", description="variants or YAML files; null: the backbone's, else official"
    )
    settings: Settings = Field({}, description="settings of every run, as on the command line")
    schedule: ScheduleSpec = ScheduleSpec()
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("methods", "datasets", "backbones", "recipes", "targets", "shots", "seeds", mode="before")
    @classmethod
    def _several_values(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if name == "targets" and value is None:
            return value
        if name in ("datasets", "targets") and isinstance(value, str) and any(prefix in value for prefix in PREFIXES):
            return split_names(value)
        if name == "shots":
            return shots_of(value)
        kind = Kind.NUMBER if name == "seeds" else Kind.WORD
        return values_of(cls.model_fields[name].alias or name, value, kind)

    @field_validator("methods")
    @classmethod
    def _all_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(method_names()) if value == (EVERY_METHOD,) else value

    @field_validator("methods", "datasets", "backbones", "recipes", "shots", "seeds", mode="after")
    @classmethod
    def _once_each(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("settings", mode="before")
    @classmethod
    def _nested(cls, value: Any) -> Any:
        return by_sections(value)

    def with_settings(self, overrides: Settings, source: str = COMMAND_LINE) -> "Experiment":
        """The same with settings on top of its own; `source` says where they come from.

        Raises:
            UserError: a setting that is an axis of every experiment, or neither a spec's nor one of the methods'.
        """
        settings = merge(self.settings, overrides)
        check_sections(settings, self.methods)
        changed: Experiment = self.model_copy(update={"settings": settings})
        given = {f"settings.{key}": source for key in flat_settings(overrides)}
        changed._sources = {**self._sources, **given}
        return changed

    def source_of(self, key: str) -> str:
        """Where the value of one of its fields comes from."""
        return self._sources.get(key, DEFAULT)

    def setting_sources(self) -> dict[str, str]:
        """Dotted key of a setting of runs -> where it comes from."""
        prefix = "settings."
        return {key.removeprefix(prefix): self._sources[key] for key in self._sources if key.startswith(prefix)}


def shots_of(written: Any) -> tuple[Any, ...]:
    """The numbers of shots that a written value stands for; a long tail is one value, as text.

    Raises:
        UserError: a range or a long tail of another form.
    """
    found: list[Any] = []
    for item in values_of("shots", written, Kind.WORD):
        if is_long_tail(item):
            found.append(str(parse_long_tail(item)))
            continue
        for value in values_of("shots", item, Kind.NUMBER):
            if isinstance(value, str):
                raise UserError(f"shots={value}: a whole number is needed, or {FORM}")
            check_value(int, value, "shots")
            found.append(value)
    return tuple(dict.fromkeys(found))


def load_experiment(path: Path, changes: Settings | None = None, source: str = COMMAND_LINE) -> Experiment:
    """An experiment file, with changes on top of it; `source` says where the changes come from.

    Raises:
        UserError: missing file, unknown key, method, data set or protocol.
    """
    path = find_experiment_file(path)
    content, changes = read_yaml(path), changes or {}
    experiment: Experiment = validate(Experiment, merge({"name": path.stem}, content, changes), "")
    of_file = {**content, "settings": experiment.settings}
    experiment._sources = dict.fromkeys(flat_settings(of_file), f"experiment {short_name(path)}")
    experiment._sources |= dict.fromkeys(flat_settings(changes), source)
    for method in experiment.methods:
        check_method(method)
    for dataset in (*experiment.datasets, *(experiment.targets or ())):
        find_dataset(dataset)
    find_protocol(experiment.protocol)
    return experiment


def expand(experiment: Experiment, overrides: Settings | None = None) -> list[RunSpec]:
    """The specs of `plan_grid`; arguments and errors are the same."""
    return [item.spec for item in plan_grid(experiment, overrides)]


@no_garbage_search()
def plan_grid(experiment: Experiment, overrides: Settings | None = None) -> list[PlannedRun]:
    """All runs of an experiment, each once, in the order in which they are best run.

    Precedence: defaults < data set < protocol < recipe < experiment < overrides.

    Args:
        experiment: the grid.
        overrides: settings from the command line; sections under a method's name go to that method only.

    Raises:
        UserError: a setting that no run can take, naming the nearest; several values of a setting that changes no
            result.
    """
    experiment = experiment.with_settings(overrides or {})
    for key in axes_of(experiment):
        if key.startswith(("runtime.", "tracking.", "wandb.")):
            raise UserError(f"'{key}' changes no result, so that its values would be one run: give one value")
    return once_each(plan_all(experiment))


def all_runs(experiment: Experiment) -> Iterator[RunSpec]:
    """The specs of `plan_all`."""
    return (item.spec for item in plan_all(experiment))


def plan_all(experiment: Experiment) -> Iterator[PlannedRun]:
    """The runs of an experiment; those that differ only in what changes no result are all there.

    Raises:
        UserError: a setting that no run can take, or more runs than can be meant.
    """
    if (number := count_runs(experiment)) > MOST_RUNS:
        raise UserError(f"the grid has {number:,} runs, at most {MOST_RUNS:,} are possible: give fewer values")
    outer = (experiment.backbones, experiment.datasets, experiment.shots, experiment.methods, experiment.recipes)
    for backbone, dataset, shots, method, recipe in itertools.product(*outer):
        for point in points(setting_axes(experiment, method, backbone)):
            settings = merge(experiment.settings, nest(point))
            planned = plan_one(experiment, backbone, dataset, shots, method, recipe, settings)
            # Where nothing depends on the sample, all seeds give the same.
            for seed in experiment.seeds if depends_on_sample(planned.spec) else experiment.seeds[:1]:
                yield replace(planned, spec=planned.spec.model_copy(update={"seed": seed}))


def setting_axes(experiment: Experiment, method: str, backbone: str) -> dict[str, tuple[Any, ...]]:
    """The settings of an experiment for one method -> the values that each stands for, one or several.

    Raises:
        UserError: an empty list or range.
    """
    axes = read_axes(
        for_method(experiment.settings, method),
        lambda key: setting_kind(method, key),
        lambda: blocks_of(parse_backbone(backbone)),
    )
    # What changes nothing, such as how a method without training would be trained, makes no second run.
    return {**axes, **{key: axes[key][:1] for key in axes if is_idle(method_class(method), key)}}


def axes_of(experiment: Experiment) -> dict[str, tuple[Any, ...]]:
    """What an experiment varies: setting -> its values, where there are several.

    Raises:
        UserError: an empty list or range.
    """
    axes: dict[str, tuple[Any, ...]] = {
        "backbone": experiment.backbones,
        "data.dataset": experiment.datasets,
        "data.shots": experiment.shots,
        "method": experiment.methods,
        "recipe": experiment.recipes,
        **dict.fromkeys(flat_settings(experiment.settings), ()),
    }
    for backbone, method in itertools.product(experiment.backbones, experiment.methods):
        for key, values in setting_axes(experiment, method, backbone).items():
            axes[key] = tuple({repr(value): value for value in (*axes[key], *values)}.values())
    axes["seed"] = experiment.seeds
    return {key: values for key, values in axes.items() if len(values) > 1}


NO_ABLATION = ("data.dataset", "data.shots", "method", "seed", "data.sample_seed")  # means are over the last two


def ablation_axes(experiment: Experiment) -> list[str]:
    """The settings in which runs of one method on the same data set, shots, seed and sample differ."""
    return [key for key in axes_of(experiment) if key not in NO_ABLATION]


def differing_settings(specs: Sequence[RunSpec]) -> list[str]:
    """The settings in which runs of one protocol, method, data set, number of shots and seed differ."""
    first: dict[tuple[str, str, str, str, int], Settings] = {}
    found: dict[str, None] = {}
    for spec in specs:
        settings = flat_settings(spec.settings())
        cell = (spec.protocol, spec.method, spec.data.dataset, spec.data.shots_text, spec.seed)
        other = first.setdefault(cell, settings)
        found |= dict.fromkeys(key for key in settings if settings[key] != other.get(key))
    same_result = ("evaluate", "recipe", "runtime", "tracking", "tuned", "wandb")
    return [key for key in found if key.split(".")[0] not in same_result]


def values_at(spec: RunSpec, keys: Sequence[str]) -> dict[str, str]:
    """The values of some settings in a run, as text; a dash for one that its method does not have."""
    settings = flat_settings(spec.settings()) if keys else {}
    return {key: text_of(settings[key]) if key in settings else NO_VALUE for key in keys}


def count_runs(experiment: Experiment) -> int:
    """How many runs there are, if something is learned in all of them and no two are the same."""
    products = [
        math.prod(map(len, setting_axes(experiment, method, backbone).values()))
        for backbone, method in itertools.product(experiment.backbones, experiment.methods)
    ]
    others = (experiment.datasets, experiment.shots, experiment.recipes, experiment.seeds)
    return sum(products) * math.prod(map(len, others))


def describe_grid(experiment: Experiment, num_runs: int) -> str:
    """The grid as a product, such as `11 data sets x 7 methods x 3 seeds = 231 runs`, and how many of them differ."""
    axes = axes_of(experiment)
    sizes = [f"{len(values)} {PLURALS.get(key, f'values of {key}')}" for key, values in axes.items()]
    total = math.prod(map(len, axes.values()))
    if num_runs == total:
        return f"{' x '.join(sizes) or '1'} = {counted(total, 'run')}"
    different = count_runs(experiment)
    reasons = ["settings vary only the methods that use them"] if different != total else []
    if num_runs != different:
        several = len(experiment.seeds) > 1
        reasons.append("seeds change nothing where nothing is learned" if several else "some settings are the same")
    return f"{' x '.join(sizes)} = {counted(total, 'run')}, {num_runs:,} of them different: {'; '.join(reasons)}"


def plan_one(
    experiment: Experiment,
    backbone: str,
    dataset: str,
    shots: int | str,
    method: str,
    recipe: str | None,
    settings: Settings,
) -> PlannedRun:
    """The run of one point of the grid, with the first seed.

    Args:
        experiment: says protocol, targets and seeds, and where settings come from.
        backbone: of the run.
        dataset: to train on.
        shots: images a class, or a long tail.
        method: of the run.
        recipe: a variant or a file; None for the backbone's own.
        settings: those of the experiment, one value each.

    Raises:
        UserError: settings that no run can take.
    """
    variant = choose_variant(recipe, backbone, method)
    protocol = find_protocol(experiment.protocol)
    axes: Settings = {
        "data": {"dataset": dataset, "shots": shots},
        "backbone": backbone,
        "method": method,
        "seed": experiment.seeds[0],
        "protocol": experiment.protocol,
        "recipe": variant,
    }
    known = {key: experiment.source_of(name) for key, name in AXES.items()}
    if not recipe:
        known["recipe"] = f"recipe of backbone {backbone}" if variant == backbone else DEFAULT
    evaluate = protocol.evaluations(dataset, experiment.targets)
    layers = [
        Layer("grid", axes, known),
        Layer(f"data set {dataset}", find_dataset(dataset).settings),
        Layer(f"protocol {experiment.protocol}", {**protocol.settings(), "evaluate": evaluate}),
        *recipe_layers(method, variant, experiment.protocol, dataset, most_shots(shots)),
        Layer("experiment", for_method(settings, method), experiment.setting_sources()),
    ]
    group = os.environ.get("WANDB_RUN_GROUP")
    source = "WANDB_RUN_GROUP" if group else "name of the experiment"
    return plan_run(layers, Layer(source, {"wandb": {"group": group or experiment.name}}))
