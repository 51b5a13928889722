"""From what the user asks for to a list of runs: experiments, protocols and recipes come together here."""

import itertools
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, field_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.data.datasets import find_dataset
from harness.data.fewshot import class_subset
from harness.errors import UserError, nearest
from harness.registry import check_method, method_class, method_names
from harness.spec import (
    SPEC_KEYS,
    RunSpec,
    Section,
    Settings,
    check_shape,
    merge,
    parse_run_spec,
    read_yaml,
    validate,
)

EXPERIMENTS = Path(str(files("experiments")))
RECIPES = EXPERIMENTS / "recipes"
OFFICIAL = "official"
EVERY_METHOD = "all"
# Axes of the grid: setting one for every run would undo the grid.
GRID = {
    "method": "METHOD",
    "seed": "SEEDS",
    "protocol": "PROTOCOL",
    "backbone": "BACKBONE",
    "recipe": "RECIPE",
    "data.dataset": "DATASET",
    "data.shots": "SHOTS",
}

# What a run trains on and where it is evaluated; `evaluate` entries without a data set mean the training data set.
PROTOCOLS: dict[str, Settings] = {
    "base_to_new": {
        "data": {"classes": "base"},
        "evaluate": [{"name": "base", "classes": "base"}, {"name": "new", "classes": "new"}],
    },
    # Base-to-new inside the base classes: hyper-parameters are chosen here, without test pictures or new classes.
    "base_to_new_validation": {
        "data": {"classes": "base.base"},
        "evaluate": [
            {"name": "base", "classes": "base.base", "splits": ["val"]},
            {"name": "new", "classes": "base.new", "splits": ["train", "val"]},
        ],
    },
    "few_shot": {"data": {"classes": "all"}, "evaluate": [{"name": "all", "classes": "all"}]},
    "cross_dataset": {"data": {"classes": "all"}},
    "domain_generalization": {"data": {"classes": "all"}},
}

# Protocols that are evaluated on the training data set and on others: protocol -> training data set -> the others.
TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "cross_dataset": {
        "imagenet": (
            "caltech101",
            "oxford_pets",
            "stanford_cars",
            "oxford_flowers",
            "food101",
            "fgvc_aircraft",
            "sun397",
            "dtd",
            "eurosat",
            "ucf101",
        ),
        "emoji": ("emoji-faces", "emoji-animals", "emoji-food", "emoji-travel", "emoji-objects"),
    },
    "domain_generalization": {
        "imagenet": ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
        "emoji": ("emoji-outline", "emoji-glyph"),
    },
}


class Experiment(Section):
    """A grid of runs: methods x data sets x shots x seeds under one protocol."""

    protocol: str = "base_to_new"
    methods: tuple[str, ...] = Field(("skip",), min_length=1)
    datasets: tuple[str, ...] = Field(("emoji",), min_length=1)
    backbone: str = "clip-emoji"
    shots: tuple[int, ...] = Field((16,), min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field((1, 2, 3), min_length=1)
    targets: tuple[str, ...] | None = Field(
        None, description="data sets to be evaluated on besides the training one; null: the protocol's own"
    )
    recipe: str | None = Field(None, description="recipe variant or YAML file; null: the backbone's, else official")
    settings: Settings = Field({}, description="settings of every run, as on the command line")

    @field_validator("methods")
    @classmethod
    def _all_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(method_names()) if value == (EVERY_METHOD,) else value

    @field_validator("methods", "datasets", "shots", "seeds", mode="after")
    @classmethod
    def _once_each(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value))


def load_experiment(path: Path, changes: Settings | None = None) -> Experiment:
    """An experiment file, with changes on top of it.

    Raises:
        UserError: missing file, unknown key, method, data set or protocol.
    """
    experiment: Experiment = validate(Experiment, merge(read_yaml(path), changes or {}), "")
    for method in experiment.methods:
        check_method(method)
    for dataset in (*experiment.datasets, *(experiment.targets or ())):
        find_dataset(dataset)
    find_protocol(experiment.protocol)
    if experiment.targets and experiment.protocol not in TARGETS:
        raise UserError(f"protocol '{experiment.protocol}' takes no targets: use {' or '.join(TARGETS)}")
    return experiment


def find_protocol(name: str) -> Settings:
    """Settings of a protocol.

    Raises:
        UserError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol '{name}'.{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def evaluations(experiment: Experiment, dataset: str) -> list[Settings]:
    """What a run that trains on a data set is evaluated on, as settings.

    Raises:
        UserError: the protocol needs target data sets and has none for this one.
    """
    protocol = find_protocol(experiment.protocol)
    if experiment.protocol not in TARGETS:
        return list(protocol["evaluate"])
    known = TARGETS[experiment.protocol]
    targets = experiment.targets or known.get(dataset)
    if not targets:
        raise UserError(
            f"protocol '{experiment.protocol}' has no targets for training data set '{dataset}': train on "
            f"{' or '.join(known)}, or set `targets` in the experiment file"
        )
    return [{"name": name, "dataset": name, "classes": "all"} for name in (dataset, *targets)]


@cache
def read_recipe_file(path: Path) -> Settings:
    """A recipe file, read once."""
    return read_yaml(path)


def recipe_variants(method: str) -> list[str]:
    """Names of the recipes that a method comes with."""
    path = RECIPES / f"{method}.yaml"
    return list(read_recipe_file(path)) if path.is_file() else []


def recipe_settings(method: str, variant: str, protocol: str, dataset: str, shots: int) -> Settings:
    """Settings that a recipe gives: its `all` section, then those of protocol, protocol and shots, data set, and of
    protocol and data set.

    Args:
        method: name of the method.
        variant: name of a variant in `experiments/recipes/<method>.yaml`, or the path of a YAML file of settings.
        protocol: name of the protocol.
        dataset: name of the training data set.
        shots: pictures a class.

    Raises:
        UserError: no such variant or file.
    """
    if variant.endswith((".yaml", ".yml")):
        settings = read_recipe_file(Path(variant))
        check_sections(settings, method_names())
        return for_method(settings, method)
    variants = recipe_variants(method)
    if variant not in variants:
        # A method without a recipe of its own runs with the defaults of its Config and of TrainSpec.
        if variant == OFFICIAL and not variants:
            return {}
        raise UserError(f"method '{method}' has no recipe '{variant}'.{nearest(variant, variants)}")
    sections = read_recipe_file(RECIPES / f"{method}.yaml")[variant]
    keys = ("all", protocol, f"{protocol}/{shots}shot", dataset, f"{protocol}/{dataset}")
    return merge(*(sections.get(key) or {} for key in keys))


def choose_variant(experiment: Experiment, method: str) -> str:
    """The recipe variant of a method: the one asked for, else the backbone's own, else the official one."""
    if experiment.recipe:
        return experiment.recipe
    return experiment.backbone if experiment.backbone in recipe_variants(method) else OFFICIAL


def expand(experiment: Experiment, overrides: Settings | None = None) -> list[RunSpec]:
    """All runs of an experiment, in the order in which they are best run.

    Precedence: defaults < data set < protocol < recipe < experiment < overrides.

    Args:
        experiment: the grid.
        overrides: settings from the command line; sections under a method's name go to that method only.

    Raises:
        UserError: a setting that no run can take, naming the nearest.
    """
    overrides = merge(experiment.settings, overrides or {})
    check_sections(overrides, experiment.methods)
    specs: list[RunSpec] = []
    for dataset, shots, method in itertools.product(experiment.datasets, experiment.shots, experiment.methods):
        # Recipes know no seed, so one spec is made and checked; where nothing trains, all seeds give the same.
        first = make_spec(experiment, method, dataset, shots, experiment.seeds[0], overrides)
        seeds = experiment.seeds if first.train.epochs else experiment.seeds[:1]
        specs += [first.model_copy(update={"seed": seed}) for seed in seeds]
    return specs


def describe_grid(experiment: Experiment, num_runs: int) -> str:
    """The grid as a product, such as `11 data sets x 7 methods x 3 seeds = 231 runs`, and how many of them differ."""
    axes = {
        "data sets": experiment.datasets,
        "shots": experiment.shots,
        "methods": experiment.methods,
        "seeds": experiment.seeds,
    }
    sizes = [f"{len(values)} {name}" for name, values in axes.items() if len(values) > 1]
    total = math.prod(len(values) for values in axes.values())
    same = "" if num_runs == total else f", {num_runs} of them different: seeds change nothing where nothing trains"
    return f"{' x '.join(sizes) or '1'} = {total} runs{same}"


def for_method(settings: Settings, method: str) -> Settings:
    """Settings without the sections of other methods."""
    return {key: value for key, value in settings.items() if key in SPEC_KEYS or key == method}


def check_sections(overrides: Settings, methods: Sequence[str]) -> None:
    """Raise a UserError for a setting that is an axis of the grid, or neither a spec's nor one of the methods'."""
    check_shape(overrides, *methods)
    for key in (*overrides, *(f"data.{key}" for key in overrides.get("data", {}))):
        if key in GRID:
            raise UserError(f"'{key}' is an axis of the experiment: set it with {GRID[key]}=...")
    for key in overrides:
        if key in SPEC_KEYS or key in methods:
            continue
        if key in method_names():
            raise UserError(f"settings for method '{key}' are given, but it is not run: add it to the methods")
        raise UserError(f"unknown key '{key}'.{nearest(key, [*SPEC_KEYS, *methods])}")


def make_spec(experiment: Experiment, method: str, dataset: str, shots: int, seed: int, overrides: Settings) -> RunSpec:
    """One validated spec of the grid."""
    variant = choose_variant(experiment, method)
    settings = merge(
        {"data": {"dataset": dataset, "shots": shots}, "backbone": experiment.backbone},
        {"method": method, "seed": seed, "protocol": experiment.protocol, "recipe": variant},
        find_dataset(dataset).settings,
        find_protocol(experiment.protocol),
        {"evaluate": evaluations(experiment, dataset)},
        recipe_settings(method, variant, experiment.protocol, dataset, shots),
        for_method(overrides, method),
    )
    settings["evaluate"] = [{"dataset": dataset, **evaluation} for evaluation in settings["evaluate"]]
    if not method_class(method).trains:
        settings = merge(settings, {"train": {"epochs": 0}})
    spec = parse_run_spec(settings)
    check_fits(spec)
    return spec


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
