"""Options that say which runs: the grid of an experiment, changed by words of the command line."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import numbers, separated

if TYPE_CHECKING:
    from harness.experiment.grid import Experiment
    from harness.experiment.settings import Settings
    from harness.experiment.spec import RunSpec


GRID_OPTIONS = (
    click.option(
        "--experiment", type=click.Path(path_type=Path), help="Experiment file; default experiments/bench.yaml."
    ),
    click.option("--dataset", help="Training data sets, by comma."),
    click.option("--backbone", help="clip-emoji, an open_clip name, NAME:TAG, NAME:/path, NAME:random or /path."),
    click.option("--shots", help="Pictures a class, by comma."),
    click.option("--seeds", help="By comma."),
    click.option("--protocol", help="base_to_new, few_shot, cross_dataset, domain_generalization, ...: see `list`."),
    click.option("--recipe", help="Recipe variant of the methods, or a YAML file."),
)


def takes_grid(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that change the grid of an experiment."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(GRID_OPTIONS), command)


SCHEDULE_OPTIONS = (
    click.option(
        "--executor", type=click.Choice(["local", "ray", "slurm"]), help="Where runs are executed; default local."
    ),
    click.option("--devices", help="GPUs by number, by comma, or cpu; default all GPUs, else the CPU."),
)


def takes_schedule(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where runs are executed."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(SCHEDULE_OPTIONS), command)


def split_schedule(
    overrides: tuple[str, ...], executor: str | None = None, devices: str | None = None
) -> "tuple[Settings, Settings]":
    """KEY=VALUE words as settings of runs, and those of `schedule` with the options beside them."""
    from harness.experiment.settings import merge, parse_overrides
    from harness.experiment.spec import check_shape

    settings = parse_overrides(overrides)
    check_shape(settings)
    options = {"executor": executor, "devices": devices}
    given = {key: value for key, value in options.items() if value}
    return settings, merge(settings.pop("schedule", {}), given)


def read_grid(
    methods: str | None, overrides: tuple[str, ...], grid: dict[str, Any]
) -> "tuple[Experiment, list[RunSpec]]":
    """The experiment that the words of a command line ask for, and its runs."""
    if methods and "=" in methods:
        overrides, methods = (methods, *overrides), None
    check_names(methods, grid["dataset"])
    from harness.experiment.grid import expand, load_experiment
    from harness.experiment.recipes import EXPERIMENTS

    settings, schedule = split_schedule(overrides, grid.get("executor"), grid.get("devices"))
    changes = {
        "methods": separated(methods) if methods else None,
        "datasets": separated(grid["dataset"]) if grid["dataset"] else None,
        "shots": numbers(grid["shots"]) if grid["shots"] else None,
        "seeds": numbers(grid["seeds"]) if grid["seeds"] else None,
        **{key: grid[key] for key in ("backbone", "protocol", "recipe")},
        "schedule": schedule,
    }
    experiment = load_experiment(
        grid["experiment"] or EXPERIMENTS / "bench.yaml", {key: value for key, value in changes.items() if value}
    )
    return experiment, expand(experiment, settings)


def read_file_grid(
    experiment_file: Path | None, overrides: tuple[str, ...], grid: dict[str, Any], methods: str | None = None
) -> "tuple[Experiment, list[RunSpec]]":
    """The same where the file stands first and may be left out."""
    if experiment_file and "=" in str(experiment_file):
        overrides, experiment_file = (str(experiment_file), *overrides), None
    return read_grid(methods, overrides, {**grid, "experiment": experiment_file or grid["experiment"]})


def check_names(methods: str | None, datasets: str | None) -> None:
    """Answer mistyped names before anything slow is imported."""
    from harness.data.datasets import find_dataset
    from harness.experiment.grid import EVERY_METHOD
    from harness.experiment.registry import check_method

    for name in separated(methods or ""):
        if name != EVERY_METHOD:
            check_method(name)
    for name in separated(datasets or ""):
        find_dataset(name)
