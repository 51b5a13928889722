"""From what the user asks for to a list of runs: experiments, protocols and recipes come together here."""

import itertools
import math
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, field_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.data.datasets import find_dataset
from harness.data.fewshot import class_subset
from harness.errors import UserError
from harness.experiment.files import find_experiment_file
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import check_sections, choose_variant, for_method, recipe_settings
from harness.experiment.registry import check_method, method_class, method_names
from harness.experiment.settings import Section, Settings, merge, read_yaml, validate
from harness.experiment.spec import RunSpec, ScheduleSpec, parse_run_spec

EVERY_METHOD = "all"


class Experiment(Section):
    """A grid of runs: methods x data sets x shots x seeds under one protocol."""

    name: str = Field(
        "bench", min_length=1, max_length=128, description="W&B group of its runs; default: the experiment file's name"
    )
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
    schedule: ScheduleSpec = ScheduleSpec()

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
    path = find_experiment_file(path)
    experiment: Experiment = validate(Experiment, merge({"name": path.stem}, read_yaml(path), changes or {}), "")
    for method in experiment.methods:
        check_method(method)
    for dataset in (*experiment.datasets, *(experiment.targets or ())):
        find_dataset(dataset)
    find_protocol(experiment.protocol)
    return experiment


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
        spec = make_spec(experiment, method, dataset, shots, experiment.seeds[0], overrides)
        # Where nothing trains, all seeds give the same.
        seeds = experiment.seeds if spec.train.epochs else experiment.seeds[:1]
        specs += [spec.model_copy(update={"seed": seed}) for seed in seeds]
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


def make_spec(experiment: Experiment, method: str, dataset: str, shots: int, seed: int, overrides: Settings) -> RunSpec:
    """One validated spec of the grid."""
    variant = choose_variant(experiment.recipe, experiment.backbone, method)
    protocol = find_protocol(experiment.protocol)
    settings = merge(
        {"data": {"dataset": dataset, "shots": shots}, "backbone": experiment.backbone},
        {"method": method, "seed": seed, "protocol": experiment.protocol, "recipe": variant},
        find_dataset(dataset).settings,
        protocol.settings(),
        {"evaluate": protocol.evaluations(dataset, experiment.targets)},
        recipe_settings(method, variant, experiment.protocol, dataset, shots),
        for_method(overrides, method),
    )
    settings["evaluate"] = [{"dataset": dataset, **evaluation} for evaluation in settings["evaluate"]]
    if not method_class(method).trains:
        settings = merge(settings, {"train": {"epochs": 0}})
    spec = parse_run_spec(settings)
    if spec.wandb.group is None:
        spec = spec.model_copy(update={"wandb": spec.wandb.model_copy(update={"group": experiment.name})})
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
