"""Several sweeps, and runs on test images with what they chose: shared by commands that do both."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.cli.dry_run import say
from harness.cli.run import check_data, fetch_backbones, tell_tracking
from harness.cli.sweep import TrialWatcher
from harness.cli.watch import Watcher, print_failures
from harness.errors import UserError
from harness.experiment.axes import Kind, values_of
from harness.experiment.settings import Settings, parse_overrides
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.files import check_writable
from harness.text import counted

if TYPE_CHECKING:
    from harness.tune.sweep import Sweep

OPTIONS = (
    click.option("--trials", type=int, help="Of every sweep."),
    click.option("--seeds", help="Of every trial, such as 1..3; default: those of the sweep."),
    click.option("--test-seeds", default="1..3", show_default=True, help="Of the runs on test images."),
    click.option("--dataset", help="Training data set."),
    click.option("--backbone", help="As for bench."),
    click.option("--shots", type=int, help="Training images per class."),
    click.option("--protocol", help="What trials are judged on: base_to_new_validation, few_shot_validation, ..."),
    click.option("--recipe", help="What the space changes: a recipe variant."),
)


def takes_sweeps(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its sweeps."""
    wrapped = command
    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds as they are written: 1..3 or 1,2."""
    return tuple(int(value) for value in values_of("test-seeds", text, Kind.NUMBER))


def changes_of(settings: Settings, options: Mapping[str, Any]) -> Settings:
    """KEY=VALUE words and options as changes of a sweep."""
    from harness.tune.sweep_file import split_changes

    return {**split_changes(settings), **{key: value for key, value in options.items() if value is not None}}


def search(sweeps: "Mapping[str, Sweep]", results: Path) -> dict[str, Path]:
    """Execute sweeps one after the other; what an earlier start has finished is only read.

    Returns:
        Key of a sweep -> the recipe of its best trial.
    """
    from harness.tune.chosen import choose
    from harness.tune.objective import check_objectives

    specs = [spec for sweep in sweeps.values() for spec in sweep.specs({})]
    check_writable(results)
    tell_tracking(specs)
    check_data(specs)
    fetch_backbones(specs)
    for sweep in sweeps.values():
        check_objectives(sweep, sweep.specs({})[0])
    recipes = {}
    for key, sweep in sweeps.items():
        say(f"{sweep.study_name}: {sweep.budget or counted(sweep.num_trials, 'trial')}, judged on {sweep.judged_on()}")
        with TrialWatcher(sweep) as watcher:
            recipes[key] = choose(sweep, results, watcher.on_trials)
        say(f"Chosen for {key}: {recipes[key]}")
    return recipes


def test(specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec) -> bool:
    """Execute the runs on test images; whether all of them are complete."""
    from harness.schedule import run_all, unfinished

    once = list({spec.id: spec for spec in specs}.values())
    todo = unfinished(once, results)
    check_data(once)
    if len(todo) < len(once):
        say(f"{len(once) - len(todo)} of {counted(len(once), 'run')} on test images are complete already.")
    with Watcher(len(todo)) as watcher:
        failures = run_all(todo, results, schedule, watcher.on_event)
    print_failures(failures)
    return not failures


def end_unless(complete: bool) -> None:
    """Leave with the exit code of failed runs."""
    if not complete:
        sys.exit(1)


def tell_dry(lines: Sequence[str], specs: Sequence[RunSpec]) -> None:
    """Say what would run, and that nothing was started."""
    for line in lines:
        say(line)
    total = counted(len(specs), "run")
    console.print(f"then at most {total} on test images", markup=False, soft_wrap=True)
    say("Dry run: nothing was started or written.")


def pairs(words: Sequence[str]) -> Settings:
    """KEY=VALUE words as settings.

    Raises:
        UserError: a word of another form.
    """
    for word in words:
        if "=" not in word:
            raise UserError(f"'{word}' is not of the form KEY=VALUE; several names are separated by commas")
    return parse_overrides(words)
