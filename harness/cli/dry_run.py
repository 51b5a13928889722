"""What would run: the runs with their states, and every setting with where it comes from. Nothing is started."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from harness.cli.console import console, errors
from harness.experiment.axes import NO_VALUE, text_of
from harness.experiment.grid import values_at
from harness.experiment.layers import COMMAND_LINE, DEFAULT, PlannedRun, Setting
from harness.experiment.settings import flat_settings
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.garbage import no_garbage_search
from harness.results.folder import DAMAGED, DONE, INTERRUPTED, MISSING, STATES
from harness.results.index import planned_runs

DRY_RUN: Callable[..., Any] = click.option(
    "--dry-run", is_flag=True, help="Print what would run, with every setting and its origin; start and write nothing."
)


def say(line: str) -> None:
    """Print a line as it is."""
    console.print(line, markup=False, soft_wrap=True)


class States(NamedTuple):
    """The states of some runs.

    Attributes:
        names: one for each run.
        damage: why some of them are damaged, one line per run.
    """

    names: list[str]
    damage: list[str]


@no_garbage_search()
def print_states(specs: Sequence[RunSpec], results: Path, axes: Sequence[str]) -> States:
    """Print one line per run with its state, and return the states.

    Args:
        specs: the runs.
        results: the results folder.
        axes: settings that the lines show; seeds of samples are shown wherever they differ.
    """
    states, lines = States([], []), []
    if len({spec.data.sample_seed for spec in specs}) > 1:
        axes = list(dict.fromkeys([*axes, "data.sample_seed"]))
    for run, spec in zip(planned_runs(specs, results), specs, strict=True):
        states.names.append(run.state)
        states.damage.extend([run.reason] if run.state == DAMAGED else [])
        varied = {key: value for key, value in values_at(spec, axes).items() if value != NO_VALUE}
        about = [spec.protocol, spec.name, spec.backbone, *(f"{key}={value}" for key, value in varied.items())]
        lines.append(f"{run.state:11s} {run.id} {' '.join(about)}")
    console.print_lines(lines)
    return states


def summary(states: Sequence[str]) -> str:
    """How many runs are in which state."""
    told = [state for state in STATES if state in states or state in (DONE, INTERRUPTED, MISSING)]
    return ", ".join(f"{states.count(state)} {state}" for state in told)


def print_dry_run(
    planned: Sequence[PlannedRun], results: Path, axes: Sequence[str], schedule: Sequence[Setting], grid: str = ""
) -> None:
    """Print what would run.

    Args:
        planned: the runs.
        results: the results folder.
        axes: settings in which runs of one method differ.
        schedule: how they would be executed.
        grid: the product that they are, in words.
    """
    states, _ = print_states([item.spec for item in planned], results, [key for key in axes if key != "backbone"])
    if grid:
        say(grid)
    say(f"{summary(states)}: {len(states) - states.count(DONE)} would be computed")
    print_settings(planned)
    say("How they would be executed")
    print_block(schedule)
    say("Dry run: nothing was started or written.")


def print_settings(planned: Sequence[PlannedRun], notes: Mapping[str, str] | None = None) -> None:
    """Print every setting of some runs: what all share, what one method has, and what differs between its runs.

    Args:
        planned: the runs.
        notes: key -> what is said in place of the source.
    """
    told = notes or {}
    of_runs = [
        (item.spec.method, {one.key: replace(one, source=told.get(one.key, one.source)) for one in item.effective()})
        for item in planned
    ]
    keys = list(dict.fromkeys(key for _, settings in of_runs for key in settings))
    shared: list[Setting] = []
    own: dict[str, list[Setting]] = {}
    differing: list[Setting] = []
    for key in keys:
        methods = list(dict.fromkeys(method for method, settings in of_runs if key in settings))
        values = {method: unique(s[key] for name, s in of_runs if name == method and key in s) for method in methods}
        everywhere = unique(setting for found in values.values() for setting in found)
        if len(everywhere) == 1 and all(key in settings for _, settings in of_runs):
            shared += everywhere
        elif all(values[method] == everywhere for method in methods):
            several = Setting(key, join(everywhere), sources(everywhere))
            if len(everywhere) > 1:
                differing.append(several)
            else:
                for method in methods:
                    own.setdefault(method, []).append(several)
        else:
            for method, found in values.items():
                own.setdefault(method, []).append(Setting(key, join(found), sources(found)))
    say("Settings of all runs")
    print_block(shared)
    if differing:
        say("Settings that differ between runs")
        print_block(differing)
    for method, settings in own.items():
        say(f"Settings of {method}")
        print_block(settings)


def unique(settings: Iterable[Setting]) -> list[Setting]:
    """Settings with different values or sources, the first of each."""
    return list({(text_of(item.value), item.source): item for item in settings}.values())


def join(settings: Sequence[Setting]) -> str:
    """The different values of one setting."""
    return ", ".join(dict.fromkeys(text_of(item.value) for item in settings))


def sources(settings: Sequence[Setting]) -> str:
    """The different sources of one setting."""
    return "; ".join(dict.fromkeys(item.source for item in settings))


def print_block(settings: Iterable[Setting]) -> None:
    """Print settings, one a line, with their sources."""
    for item in settings:
        say(f"  {f'{item.key}={text_of(item.value)}':45s} {item.source}")


def schedule_settings(schedule: ScheduleSpec, source_of: Callable[[str], str] = lambda key: DEFAULT) -> list[Setting]:
    """How runs are executed, as settings; `source_of` gives the source of a key such as schedule.retries."""
    flat = flat_settings({"schedule": schedule.model_dump(mode="json")})
    return [Setting(key, value, source_of(key)) for key, value in flat.items()]


def from_command_line(given: Iterable[str]) -> Callable[[str], str]:
    """The source of keys of which some are given on the command line."""
    keys = set(given)
    return lambda key: COMMAND_LINE if key in keys else DEFAULT


def tell_without_effect(planned: Sequence[PlannedRun], schedule: Sequence[Setting]) -> None:
    """Say which settings were asked for and change nothing."""
    from harness.experiment.no_effect import without_effect

    for line in without_effect(planned, schedule):
        errors.print(f"note: {line}", markup=False)
