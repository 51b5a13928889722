"""From what the user asks for to a list of runs: experiments, axes, protocols and recipes come together here."""

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.data.datasets import find_dataset
from harness.data.fewshot import class_subset
from harness.errors import UserError
from harness.experiment.axes import NO_VALUE, Kind, kind_at, points, read_axes, text_of, values_of
from harness.experiment.files import find_experiment_file
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import check_sections, choose_variant, for_method, recipe_settings
from harness.experiment.registry import check_method, method_class, method_names
from harness.experiment.settings import Section, Settings, by_sections, flat_settings, merge, nest, read_yaml, validate
from harness.experiment.spec import RunSpec, ScheduleSpec, parse_run_spec
from harness.text import counted

EVERY_METHOD = "all"
MOST_RUNS = 100_000
"""A grid with more runs is taken for a mistake."""

PLURALS = {
    "backbone": "backbones",
    "data.dataset": "data sets",
    "data.shots": "shots",
    "method": "methods",
    "recipe": "recipes",
    "seed": "seeds",
}


class Experiment(Section):
    """A grid of runs under one protocol: the product of its axes, which every setting may be."""

    name: str = Field(
        "bench", min_length=1, max_length=128, description="W&B group of its runs; default: the experiment file's name"
    )
    protocol: str = "base_to_new"
    methods: tuple[str, ...] = Field(("skip",), min_length=1)
    datasets: tuple[str, ...] = Field(("emoji",), min_length=1)
    backbones: tuple[str, ...] = Field(("clip-emoji",), min_length=1, alias="backbone")
    shots: tuple[int, ...] = Field((16,), min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field((1, 2, 3), min_length=1)
    targets: tuple[str, ...] | None = Field(
        None, description="data sets to be evaluated on besides the training one; null: the protocol's own"
    )
    recipes: tuple[str | None, ...] = Field(
        (None,), min_length=1, alias="recipe", description="variants or YAML files; null: the backbone's, else official"
    )
    settings: Settings = Field({}, description="settings of every run, as on the command line")
    schedule: ScheduleSpec = ScheduleSpec()

    @field_validator("methods", "datasets", "backbones", "recipes", "targets", "shots", "seeds", mode="before")
    @classmethod
    def _several_values(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if name == "targets" and value is None:
            return value
        kind = Kind.NUMBER if name in ("shots", "seeds") else Kind.WORD
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

    def with_settings(self, overrides: Settings) -> "Experiment":
        """The same with settings on top of its own.

        Raises:
            UserError: a setting that is an axis of every experiment, or neither a spec's nor one of the methods'.
        """
        settings = merge(self.settings, overrides)
        check_sections(settings, self.methods)
        return self.model_copy(update={"settings": settings})


def load_experiment(path: Path, changes: Settings | None = None) -> Experiment:
    """An experiment file, with changes on top of it.

    Raises:
        UserError: missing file, unknown key, method, data set or protocol.
    """
    path = find_experiment_file(path)
    experiment: Experiment = validate(Experiment, merge({"name": path.stem}, read_yaml(path), changes or {}), "")
    for method in experiment.methods:
        check_method(method)
    for dataset in (*experiment.datasets, *(experiment.targets or ())):
        find_dataset(dataset)
    find_protocol(experiment.protocol)
    return experiment


def expand(experiment: Experiment, overrides: Settings | None = None) -> list[RunSpec]:
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
        if key.startswith(("runtime.", "wandb.")):
            raise UserError(f"'{key}' changes no result, so that its values would be one run: give one value")
    return once_each(all_runs(experiment))


def once_each(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The runs with different ids, the first of each."""
    found: dict[str, RunSpec] = {}
    for spec in specs:
        found.setdefault(spec.id, spec)
    return list(found.values())


def all_runs(experiment: Experiment) -> Iterator[RunSpec]:
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
            grid = (backbone, dataset, shots, method, recipe)
            spec = make_spec(experiment, *grid, seed=experiment.seeds[0], settings=settings)
            # Where nothing trains, all seeds give the same.
            for seed in experiment.seeds if spec.train.epochs else experiment.seeds[:1]:
                yield spec.model_copy(update={"seed": seed})


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
    if method_class(method).trains:
        return axes
    # Nothing trains: how it would be trained makes no second run.
    trained = [key for key in axes if key.startswith("train.") and key != "train.precision"]
    return {**axes, **{key: axes[key][:1] for key in trained}}


def setting_kind(method: str, key: str) -> Kind | None:
    """The kind of the setting with a dotted key in runs of a method; None for an unknown setting."""
    section, _, option = key.partition(".")
    if section == method:
        return kind_at(method_class(method).Config, option.split("."))
    return kind_at(RunSpec, key.split("."))


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


def ablation_axes(experiment: Experiment) -> list[str]:
    """The settings in which runs of one method on the same data set, shots and seed differ."""
    return [key for key in axes_of(experiment) if key not in ("data.dataset", "data.shots", "method", "seed")]


def differing_settings(specs: Sequence[RunSpec]) -> list[str]:
    """The settings in which runs of one protocol, method, data set, number of shots and seed differ."""
    first: dict[tuple[str, str, str, int, int], Settings] = {}
    found: dict[str, None] = {}
    for spec in specs:
        settings = flat_settings(spec.settings())
        cell = (spec.protocol, spec.method, spec.data.dataset, spec.data.shots, spec.seed)
        other = first.setdefault(cell, settings)
        found |= dict.fromkeys(key for key in settings if settings[key] != other.get(key))
    same_result = ("evaluate", "recipe", "runtime", "tuned", "wandb")
    return [key for key in found if key.split(".")[0] not in same_result]


def values_at(spec: RunSpec, keys: Sequence[str]) -> dict[str, str]:
    """The values of some settings in a run, as text; a dash for one that its method does not have."""
    settings = flat_settings(spec.settings()) if keys else {}
    return {key: text_of(settings[key]) if key in settings else NO_VALUE for key in keys}


def count_runs(experiment: Experiment) -> int:
    """How many runs there are, if something trains in all of them and no two are the same."""
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
        reasons.append("seeds change nothing where nothing trains" if several else "some settings are the same")
    return f"{' x '.join(sizes)} = {counted(total, 'run')}, {num_runs} of them different: {'; '.join(reasons)}"


def make_spec(
    experiment: Experiment,
    backbone: str,
    dataset: str,
    shots: int,
    method: str,
    recipe: str | None,
    *,
    seed: int,
    settings: Settings,
) -> RunSpec:
    """One validated spec of the grid."""
    variant = choose_variant(recipe, backbone, method)
    protocol = find_protocol(experiment.protocol)
    layers = merge(
        {"data": {"dataset": dataset, "shots": shots}, "backbone": backbone},
        {"method": method, "seed": seed, "protocol": experiment.protocol, "recipe": variant},
        find_dataset(dataset).settings,
        protocol.settings(),
        {"evaluate": protocol.evaluations(dataset, experiment.targets)},
        recipe_settings(method, variant, experiment.protocol, dataset, shots),
        for_method(settings, method),
    )
    layers["evaluate"] = [{"dataset": dataset, **evaluation} for evaluation in layers["evaluate"]]
    if not method_class(method).trains:
        layers = merge(layers, {"train": {"epochs": 0}})
    spec = parse_run_spec(layers)
    if spec.wandb.group is None:
        group = os.environ.get("WANDB_RUN_GROUP") or experiment.name
        spec = spec.model_copy(update={"wandb": spec.wandb.model_copy(update={"group": group})})
    check_fits(spec)
    return spec


def vary(settings: Settings, overrides: Settings) -> list[RunSpec]:
    """One run as a file describes it, changed by overrides; every combination of their values makes a run.

    Raises:
        UserError: settings that no run can take.
    """
    whole = merge(settings, overrides)
    method = check_method(str(whole.get("method", "")))
    backbone = str(whole.get("backbone", RunSpec.model_fields["backbone"].default))
    axes = read_axes(overrides, lambda key: setting_kind(method, key), lambda: blocks_of(parse_backbone(backbone)))
    specs = [parse_run_spec(merge(whole, nest(point))) for point in points(axes)]
    for spec in specs:
        check_fits(spec)
    return once_each(specs)


def check_fits(spec: RunSpec) -> None:
    """Check a spec against its backbone and class subsets, as far as that needs neither weights nor pictures.

    Raises:
        UserError: an unknown backbone, data set or class subset, or an option beyond the backbone.
    """
    for evaluation in spec.evaluate:
        find_dataset(evaluation.dataset)
        class_subset(2**16, evaluation.classes)
    class_subset(2**16, spec.data.classes)
    check_options(spec.method, tuple(sorted(spec.options.items())), spec.backbone)


@cache
def check_options(method: str, options: tuple[tuple[str, Any], ...], backbone: str) -> None:
    """Check a method's options against the number of blocks of the backbone (the same for all seeds)."""
    num_blocks = blocks_of(parse_backbone(backbone))
    if num_blocks is not None:
        cls = method_class(method)
        try:
            cls.check(cls.Config(**dict(options)), num_blocks)
        except ValueError as error:
            raise UserError(f"{method}.{error} (backbone {backbone})") from None
