"""`skipbench bench`, `run` and `plan`: compute the runs of an experiment, or list them."""

import os
import shlex
import sys
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from harness.cli.console import RESULTS, console, end_with_damage, errors, print_frame
from harness.cli.dry_run import (
    DRY_RUN,
    from_command_line,
    print_dry_run,
    print_states,
    schedule_settings,
    summary,
    tell_without_effect,
)
from harness.cli.grid import (
    FILE_AND_SETTINGS,
    METHODS_AND_SETTINGS,
    ONE_FILE_AND_SETTINGS,
    GridOptions,
    ScheduleOptions,
    Words,
    read_file_grid,
    read_file_plan,
    read_grid,
    split_schedule,
    takes_grid,
    takes_schedule,
)
from harness.cli.table import print_paper_table
from harness.cli.watch import Watcher, print_failures
from harness.clip.backbones import bundled
from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.fewshot import class_subset
from harness.data.own_names import is_own
from harness.data.readers import SPLITS, UNTESTED
from harness.errors import UserError
from harness.experiment.files import find_experiment_file
from harness.experiment.grid import NO_ABLATION, Experiment, ablation_axes, describe_grid, differing_settings
from harness.experiment.layers import PlannedRun
from harness.experiment.one_run import vary
from harness.experiment.settings import flat_settings, read_yaml, validate
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.files import check_writable
from harness.results.folder import DONE
from harness.text import counted, plain
from harness.tracking.settings import check_tracking

if TYPE_CHECKING:
    import pandas as pd

    from harness.schedule.events import FailedRun


@click.command()
@METHODS_AND_SETTINGS
@takes_grid
@takes_schedule
@DRY_RUN
@RESULTS
def bench(words: Words, grid: GridOptions, schedule: ScheduleOptions, dry_run: bool, results: Path) -> None:
    """Train and evaluate METHODS (one, several separated by commas, or `all`) and print their table.

    Settings of all runs follow as KEY=VALUE; those under a method's name, such as skip.depth=4, go to that method;
    those of `schedule`, such as schedule.time_limit=30m, say how runs are executed.

    A setting with several values is an axis: every combination of values is run, and the table is an ablation with one
    row per combination. Options such as --seeds take several values in the same way.

    \b
      skipbench bench skip skip.depth=0..6
      skipbench bench skip,finetune skip.depth=2,4 train.precision=fp32,bf16 --seeds 1..3
    """
    on_reading = keep_cold if dry_run else partial(warm_up_early, results=results)
    experiment, planned = read_grid(words, grid, schedule, on_reading)
    compute(experiment, planned, dry_run, results, tell_grid=True)


def warm_up_early(experiment: Experiment, results: Path) -> None:
    """Have what runs need imported in another process while they are planned, if some are surely left to compute."""
    from harness.schedule.head_start import is_surely_unfinished, rehearses_often

    if is_surely_unfinished(experiment, results):
        warm_up(experiment.backbones, experiment.schedule, rehearses_often(experiment))


def warm_up(backbones: Collection[str], schedule: ScheduleSpec, rehearses_often: bool) -> None:
    """Have what runs need imported in another process, if it is not done there already.

    Not where weights may have to be fetched first: that changes what the process is to import, and how.
    """
    if schedule.executor == "local" and set(backbones) <= bundled().keys():
        from harness.schedule import worker

        worker.warm_up(backbones, rehearses_often)


def keep_cold(experiment: Experiment) -> None:
    """Import nothing: nothing is to be computed."""


def compute(
    experiment: Experiment, planned: list[PlannedRun], dry_run: bool, results: Path, tell_grid: bool = False
) -> None:
    """Compute the runs of an experiment, or print what would be computed.

    Args:
        experiment: says how they are executed.
        planned: the runs.
        dry_run: whether nothing is to be started.
        results: the results folder.
        tell_grid: whether the product of an ablation is told.
    """
    axes = ablation_axes(experiment)
    described = describe_grid(experiment, len(planned))
    schedule = schedule_settings(experiment.schedule, experiment.source_of)
    tell_without_effect(planned, schedule)
    if dry_run:
        print_dry_run(planned, results, axes, schedule, described)
        return
    if axes and tell_grid:
        console.print(described, markup=False, soft_wrap=True)
    execute([item.spec for item in planned], results, experiment.schedule, axes)


@click.command()
@FILE_AND_SETTINGS
@takes_grid
@RESULTS
def plan(words: Words, grid: GridOptions, results: Path) -> None:
    """List the runs of the experiment in FILE and their states. Computes nothing.

    done; running, by any process on any machine; failed; interrupted: continues from its last saved epoch; missing.
    """
    experiment, specs = read_file_grid(words, grid)
    states = print_states(specs, results, [key for key in ablation_axes(experiment) if key != "backbone"])
    console.print(describe_grid(experiment, len(specs)))
    console.print(summary(states.names))
    end_with_damage(states.damage)


@click.command()
@ONE_FILE_AND_SETTINGS
@takes_grid
@takes_schedule
@DRY_RUN
@RESULTS
def run(words: Words, grid: GridOptions, schedule: ScheduleOptions, dry_run: bool, results: Path) -> None:
    """Execute what FILE describes: an experiment, or one run such as the spec.yaml of an earlier one.

    Complete runs are left alone, interrupted ones continue. Ctrl-C stops cleanly; the same command continues from the
    last finished epoch of each run. Exit code 1 if a run failed.
    """
    if words.file is None:
        raise UserError("name a FILE: an experiment, or the spec.yaml of a run")
    file = find_experiment_file(words.file)
    content = read_yaml(file)
    if "method" not in content:
        named = replace(words, first=str(file))
        on_reading = keep_cold if dry_run else partial(warm_up_early, results=results)
        experiment, planned = read_file_plan(named, grid, None, schedule, on_reading)
        compute(experiment, planned, dry_run, results)
        return
    if given := grid.given():
        raise UserError(f"--{given[0]} changes an experiment, '{file}' describes one run: change it with KEY=VALUE")
    settings, scheduled = split_schedule(words.settings, schedule)
    planned, how = vary(content, settings, str(file)), validate(ScheduleSpec, scheduled, "schedule.")
    specs = [item.spec for item in planned]
    schedules = schedule_settings(how, from_command_line(flat_settings({"schedule": scheduled})))
    tell_without_effect(planned, schedules)
    if dry_run:
        print_dry_run(planned, results, differing_settings(specs), schedules)
        return
    execute(specs, results, how)


def execute(specs: list[RunSpec], results: Path, schedule: ScheduleSpec, axes: Sequence[str] | None = None) -> None:
    """Run what is not complete, then print the tables, the failures and where everything is stored.

    Args:
        specs: the runs.
        results: the results folder.
        schedule: how they are executed.
        axes: settings in which runs of the same method differ, None to find them; with any, the tables are ablations.
    """
    from harness.report.runs import damage_in, experiment_runs

    # Tables have means over the rest.
    axes = [key for key in differing_settings(specs) if key not in NO_ABLATION] if axes is None else axes
    failures = compute_unfinished(specs, results, schedule)
    planned = experiment_runs(specs, results)
    runs = planned[planned["state"] == DONE]
    if not runs.empty:
        if axes:
            print_ablations(specs, results, axes)
        else:
            print_table(runs)
        print_places(list(runs["id"]), results)
    print_failures(failures)
    end_with_damage(damage_in(planned))
    if failures:
        sys.exit(1)


def compute_unfinished(specs: list[RunSpec], results: Path, schedule: ScheduleSpec) -> "list[FailedRun]":
    """Run what is not complete, and show how it goes; returns the runs that failed.

    Raises:
        UserError: data, weights or the executor are not there, or a complete run would have another result now.
    """
    from harness.schedule import run_all, unfinished

    check_writable(results)
    todo = unfinished(specs, results)
    if todo:
        warm_up({spec.backbone for spec in todo}, schedule, len({spec.method for spec in todo}) > 2)
        tell_tracking(todo)
        check_data(todo)
        fetch_backbones(todo)
    if schedule.executor == "local":
        # They are in the cache now: no run needs to ask the hub again. Other nodes have caches of their own.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if len(todo) < len(specs):
        are = "is" if len(specs) == 1 else "are"
        console.print(f"{len(specs) - len(todo)} of {counted(len(specs), 'run')} {are} complete already.")
    with Watcher(len(todo)) as watcher:
        return run_all(todo, results, schedule, watcher.on_event)


def tell_tracking(specs: list[RunSpec]) -> None:
    """Find out before the first run whether W&B takes what it is asked for, and say what is ignored."""
    for note in check_tracking(specs):
        errors.print(f"note: {note}", markup=False)


def check_data(specs: list[RunSpec]) -> None:
    """Find out before the first run whether all data sets are there, and whether own ones have enough classes."""
    needed = {
        (name, classes, spec.runtime.find_data_root(), spec.is_tested)
        for spec in specs
        for name, classes in (
            (spec.data.dataset, spec.data.classes),
            *((item.dataset, item.classes) for item in spec.evaluate),
        )
    }
    for name, root in sorted({(name, root) for name, _, root, _ in needed}, key=str):
        find_folder(find_dataset(name), root)
    for name, classes, root, tests in sorted(needed, key=str):
        if is_own(name):
            found = read_dataset(name, root, SPLITS if tests else UNTESTED)
            check_classes(name, len(found.class_names), classes)


def check_classes(dataset: str, number: int, subset: str) -> None:
    """Raise a UserError if a data set with a number of classes has too few for a subset."""
    try:
        class_subset(number, subset)
    except UserError as error:
        raise UserError(f"{dataset}: {error}") from None


def fetch_backbones(specs: list[RunSpec]) -> None:
    """Have all weights on this machine before the first run, so that a missing network is reported once and at once."""
    needed = {spec.backbone for spec in specs} - bundled().keys()
    if not needed:
        return
    # Not for backbones that come with the project: it imports open_clip, which takes seconds.
    from harness.clip.pretrained import fetch_weights

    for backbone in needed:
        looking = Text(plain(f"looking for the weights of {backbone}"))
        with console.status(looking) if console.is_terminal else nullcontext():
            fetch_weights(backbone)


def print_ablations(specs: list[RunSpec], results: Path, axes: Sequence[str]) -> None:
    """Print the ablation tables of some runs."""
    from harness.report.paper_tables import ablations
    from harness.report.runs import grid_runs

    for table in ablations(grid_runs(specs, results, axes), axes):
        print_paper_table(table)


def print_table(runs: "pd.DataFrame") -> None:
    """Print the table of some runs, a caption and a footnote."""
    from harness.report.method_table import caption, footnote, method_table

    print_frame(method_table(runs), title=caption(runs))
    console.print(footnote(runs), markup=False, soft_wrap=not console.is_terminal)


def print_places(run_ids: list[str], results: Path) -> None:
    """Print where results and W&B files are stored."""
    folders = [f"{results}/runs/{run_id}/wandb" for run_id in run_ids]
    names = [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
    offline = sum(name.startswith("offline-run-") for name in names)
    console.print(plain(f"Results: {results}/runs/<id>/result.json"), markup=False, soft_wrap=True)
    if offline:
        command = f"skipbench wandb-sync --results {shlex.quote(str(results))}"
        console.print(f"W&B: {counted(offline, 'offline run')}, upload with `{command}`", soft_wrap=True)
