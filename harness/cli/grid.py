"""Words and options that say which runs: the grid of an experiment, changed by the command line."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from harness.cli.completion import complete_methods
from harness.errors import UserError, plain
from harness.experiment.grid import Experiment, load_experiment, plan_grid
from harness.experiment.layers import PlannedRun
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.experiment.settings import Settings, merge, parse_overrides
from harness.experiment.spec import RunSpec, check_shape

Command = Callable[..., None]
OnReading = Callable[[Experiment], None]


@dataclass(frozen=True)
class Words:
    """The words of a command line that are no options.

    Attributes:
        first: methods, or a file; None if it is left out.
        settings: words of the form KEY=VALUE.
    """

    first: str | None
    settings: tuple[str, ...]

    @property
    def file(self) -> Path | None:
        """The first word as the path of a file."""
        return Path(self.first) if self.first else None


def split_words(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> Words:
    """The words with the first apart; it may be left out, since only settings have an equals sign."""
    if words and not words[0].strip():
        raise UserError("the first word is empty: name a method or a file, or leave it out")
    if words and "=" not in words[0]:
        return Words(words[0], words[1:])
    return Words(None, words)


def split_methods(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> Words:
    """As `split_words`; all methods stand in one word."""
    found = split_words(context, parameter, words)
    others = [word for word in found.settings if "=" not in word]
    if found.first and others and {plain(word) for word in others} <= {plain(name) for name in method_names()}:
        raise UserError(f"several methods are separated by commas: {','.join([found.first, *others])}")
    return found


METHODS_AND_SETTINGS = click.argument(
    "words",
    nargs=-1,
    metavar="[METHODS] [KEY=VALUE]...",
    callback=split_methods,
    shell_complete=complete_methods,
)
ONE_FILE_AND_SETTINGS = click.argument("words", nargs=-1, metavar="FILE [KEY=VALUE]...", callback=split_words)
FILE_AND_SETTINGS = click.argument("words", nargs=-1, metavar="[FILE] [KEY=VALUE]...", callback=split_words)


@dataclass(frozen=True)
class GridOptions:
    """Options that change an experiment, as they are written; None where one is not given."""

    experiment: Path | None = None
    dataset: str | None = None
    backbone: str | None = None
    shots: str | None = None
    seeds: str | None = None
    protocol: str | None = None
    recipe: str | None = None

    def given(self) -> list[str]:
        """Names of the options that are given."""
        return given_options(self)

    def changes(self, methods: str | None) -> Settings:
        """What these options and a list of methods change in an experiment."""
        names = {"dataset": "datasets"}
        changes = {names.get(name, name): getattr(self, name) for name in self.given() if name != "experiment"}
        return {**changes, **({"methods": methods} if methods else {})}


@dataclass(frozen=True)
class ScheduleOptions:
    """Options that say where runs are executed; None where one is not given."""

    executor: str | None = None
    devices: str | None = None

    def settings(self) -> Settings:
        """As settings of the section `schedule`."""
        return {name: getattr(self, name) for name in given_options(self)}


def given_options(options: GridOptions | ScheduleOptions) -> list[str]:
    """Names of the options that are given.

    Raises:
        UserError: one is empty, as a variable of a shell is that was never set.
    """
    given = [item.name for item in fields(options) if getattr(options, item.name) is not None]
    for name in given:
        if not str(getattr(options, name)).strip():
            raise UserError(f"--{name} is empty: give a value, or leave the option out")
    return given


GRID_OPTIONS = (
    click.option("--experiment", type=click.Path(path_type=Path), help="Experiment file; default: bench."),
    click.option("--dataset", help="Training data sets."),
    click.option("--backbone", help="clip-emoji, an open_clip name, NAME:TAG, NAME:/path, NAME:random or /path."),
    click.option("--shots", help="Training images per class."),
    click.option("--seeds", help="Such as 1..3."),
    click.option("--protocol", help="base_to_new, few_shot, cross_dataset, domain_generalization, ...: see `list`."),
    click.option("--recipe", help="Recipe variants of the methods, or YAML files; null: each backbone's own."),
)

SCHEDULE_OPTIONS = (
    click.option(
        "--executor", type=click.Choice(["local", "ray", "slurm"]), help="Where runs are executed; default local."
    ),
    click.option("--devices", help="Numbers of GPUs, such as 0,1, or cpu; default: all GPUs, else the CPU."),
)


def takes_grid(command: Command) -> Command:
    """Give a command the options that change the grid of an experiment; it gets them as `grid`."""
    return collected(command, "grid", GridOptions, GRID_OPTIONS)


def takes_report_grid(command: Command) -> Command:
    """As `takes_grid`, for commands that are about all results where nothing is chosen."""
    about = "Experiment file; default: all of RESULTS, or bench if any of these options is given."
    experiment = click.option("--experiment", type=click.Path(path_type=Path), help=about)
    every = click.option(
        "--all-runs", is_flag=True, help="Also runs that evaluate no test image, such as the trials of sweeps."
    )
    by = click.option(
        "--by",
        type=click.Choice(["track"]),
        help="track: only what was chosen alike is ranked together (docs/tracks.md).",
    )
    return collected(by(every(command)), "grid", GridOptions, (experiment, *GRID_OPTIONS[1:]))


def takes_schedule(command: Command) -> Command:
    """Give a command the options that say where runs are executed; it gets them as `schedule`."""
    return collected(command, "schedule", ScheduleOptions, SCHEDULE_OPTIONS)


def collected(
    command: Command,
    name: str,
    kind: type[GridOptions] | type[ScheduleOptions],
    options: tuple[Callable[[Command], Command], ...],
) -> Command:
    """A command with some options, which it gets as one argument."""

    @functools.wraps(command)
    def collecting(**values: Any) -> None:
        own = {item.name: values.pop(item.name) for item in fields(kind)}
        command(**values, **{name: kind(**own)})

    wrapped: Command = collecting
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def split_schedule(words: tuple[str, ...], options: ScheduleOptions | None = None) -> tuple[Settings, Settings]:
    """KEY=VALUE words as settings of runs, and those of `schedule` with the options on top of them."""
    settings = parse_overrides(words)
    check_shape(settings)
    return settings, merge(settings.pop("schedule", {}), options.settings() if options else {})


def read_experiment(
    methods: str | None, words: tuple[str, ...], grid: GridOptions, schedule: ScheduleOptions | None = None
) -> Experiment:
    """The experiment that a command line asks for.

    KEY=VALUE may be a key of an experiment file, such as backbone=A,B, or a setting of its runs.
    """
    settings, scheduled = split_schedule(words, schedule)
    own = {info.alias or name for name, info in Experiment.model_fields.items()} - {"settings", "schedule"}
    changes = {key: settings.pop(key) for key in own & settings.keys()}
    changes = {**changes, **grid.changes(methods), **({"schedule": scheduled} if scheduled else {})}
    return load_experiment(grid.experiment or EXPERIMENTS / "bench.yaml", changes).with_settings(settings)


def read_grid(
    words: Words,
    grid: GridOptions,
    schedule: ScheduleOptions | None = None,
    on_reading: OnReading = lambda experiment: None,
) -> tuple[Experiment, list[PlannedRun]]:
    """The experiment that the words METHODS KEY=VALUE and the options ask for, and its runs.

    `on_reading` is called with the experiment before its runs are planned, which takes longer.
    """
    experiment = read_experiment(words.first, words.settings, grid, schedule)
    on_reading(experiment)
    return experiment, plan_grid(experiment)


def read_file_grid(
    words: Words, grid: GridOptions, methods: str | None = None, schedule: ScheduleOptions | None = None
) -> tuple[Experiment, list[RunSpec]]:
    """The specs of `read_file_plan`; arguments are the same."""
    experiment, planned = read_file_plan(words, grid, methods, schedule)
    return experiment, [item.spec for item in planned]


def read_file_plan(
    words: Words,
    grid: GridOptions,
    methods: str | None = None,
    schedule: ScheduleOptions | None = None,
    on_reading: OnReading = lambda experiment: None,
) -> tuple[Experiment, list[PlannedRun]]:
    """The experiment that the words FILE KEY=VALUE and the options ask for, and its runs; as `read_grid`."""
    experiment = read_experiment(
        methods, words.settings, replace(grid, experiment=words.file or grid.experiment), schedule
    )
    on_reading(experiment)
    return experiment, plan_grid(experiment)
