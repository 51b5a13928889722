"""Commands that compute runs."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import OVERRIDES, RESULTS, console, end_with_damage, print_frame
from harness.cli.grid import read_file_grid, read_grid, split_schedule, takes_grid, takes_schedule
from harness.cli.watch import Watcher, print_failures
from harness.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from harness.experiment.spec import RunSpec, ScheduleSpec


@click.command()
@click.argument("methods", required=False)
@OVERRIDES
@takes_grid
@takes_schedule
@RESULTS
def bench(methods: str | None, overrides: tuple[str, ...], results: Path, **grid: Any) -> None:
    """Train and evaluate METHODS (one, several by comma, or `all`) and print their table.

    Settings of all runs follow as KEY=VALUE; those under a method's name, such as skip.depth=4, go to that method;
    those of `schedule`, such as schedule.time_limit=30m, say how runs are executed.
    """
    experiment, specs = read_grid(methods, overrides, grid)
    execute(specs, results, experiment.schedule)


@click.command()
@click.argument("experiment_file", type=click.Path(path_type=Path), metavar="FILE", required=False)
@OVERRIDES
@takes_grid
@RESULTS
def plan(experiment_file: Path | None, overrides: tuple[str, ...], results: Path, **grid: Any) -> None:
    """List the runs of the experiment in FILE and how each stands. Computes nothing.

    done; running, by any process on any machine; failed; interrupted: continues from its last saved epoch; missing.
    """
    from harness.experiment.grid import describe_grid
    from harness.results.folder import DONE, INTERRUPTED, MISSING, STATES, RunFolder

    experiment, specs = read_file_grid(experiment_file, overrides, grid)
    ids = [spec.id for spec in specs]
    states = [RunFolder(results, spec_id).state for spec_id in ids]
    lines = [
        f"{state:11s} {spec_id} {spec.protocol} {spec.name} {spec.backbone}"
        for spec, spec_id, state in zip(specs, ids, states, strict=True)
    ]
    click.echo("\n".join(lines))
    click.echo(describe_grid(experiment, len(specs)))
    told = [state for state in STATES if state in states or state in (DONE, INTERRUPTED, MISSING)]
    console.print(", ".join(f"{states.count(state)} {state}" for state in told))


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@OVERRIDES
@takes_grid
@takes_schedule
@RESULTS
def run(file: Path, overrides: tuple[str, ...], results: Path, **grid: Any) -> None:
    """Execute what FILE describes: an experiment, or one run such as the spec.yaml of an earlier one.

    Runs that are complete are left alone, those that are begun go on. Ctrl-C stops cleanly; the same command goes on
    from the last finished epoch of each run. Exit code 1 if a run failed.
    """
    from harness.experiment.files import find_experiment_file
    from harness.experiment.grid import check_fits
    from harness.experiment.settings import merge, read_yaml, validate
    from harness.experiment.spec import ScheduleSpec, parse_run_spec

    file = find_experiment_file(file)
    if "method" not in read_yaml(file):
        experiment, specs = read_file_grid(file, overrides, grid)
        execute(specs, results, experiment.schedule)
        return
    asked = [f"--{key}" for key in grid if grid[key] and key not in ("executor", "devices")]
    if asked:
        raise UserError(f"{asked[0]} changes an experiment, '{file}' describes one run: change it with KEY=VALUE")
    settings, schedule = split_schedule(overrides, grid["executor"], grid["devices"])
    spec = parse_run_spec(merge(read_yaml(file), settings))
    check_fits(spec)
    execute([spec], results, validate(ScheduleSpec, schedule, "schedule."))


def execute(specs: "list[RunSpec]", results: Path, schedule: "ScheduleSpec") -> None:
    """Run what is not complete, then print the table, the failures and where everything lies."""
    from harness.report.runs import damage_in, experiment_runs
    from harness.results.files import check_writable
    from harness.results.folder import DONE
    from harness.schedule import run_all, unfinished

    check_writable(results)
    todo = unfinished(specs, results)
    if todo:
        check_data(todo)
        fetch_backbones(todo)
    if schedule.executor == "local":
        # They are in the cache now: no run needs to ask the hub again. Other nodes have caches of their own.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if len(todo) < len(specs):
        console.print(f"{len(specs) - len(todo)} of {len(specs)} runs are complete already.")
    with Watcher(len(todo)) as watcher:
        failures = run_all(todo, results, schedule, watcher.on_event)
    planned = experiment_runs(specs, results)
    runs = planned[planned["state"] == DONE]
    if not runs.empty:
        print_table(runs)
        print_places(list(runs["id"]), results)
    print_failures(failures)
    end_with_damage(damage_in(planned))
    if failures:
        sys.exit(1)


def check_data(specs: "list[RunSpec]") -> None:
    """Find out before the first run whether all data sets are there."""
    from harness.data.datasets import find_dataset, find_folder

    needed = {
        (name, spec.runtime.find_data_root())
        for spec in specs
        for name in (spec.data.dataset, *(item.dataset for item in spec.evaluate))
    }
    for name, data_root in sorted(needed, key=str):
        find_folder(find_dataset(name), data_root)


def fetch_backbones(specs: "list[RunSpec]") -> None:
    """Have all weights on this machine before the first run, so that a missing network is told once and at once."""
    from harness.clip.load import fetch_weights

    for backbone in {spec.backbone for spec in specs}:
        with console.status(f"looking for the weights of {backbone}") if console.is_terminal else nullcontext():
            fetch_weights(backbone)


def print_table(runs: "pd.DataFrame") -> None:
    """The table of some runs, a caption and a footnote."""
    from harness.report.method_table import caption, footnote, method_table

    print_frame(method_table(runs), title=caption(runs))
    console.print(footnote(runs), markup=False, soft_wrap=not console.is_terminal)


def print_places(run_ids: list[str], results: Path) -> None:
    """Where results and W&B files lie."""
    folders = [f"{results}/runs/{run_id}/wandb" for run_id in run_ids]
    names = [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
    offline = sum(name.startswith("offline-run-") for name in names)
    console.print(f"Results: {results}/runs/<id>/result.json", markup=False)
    if offline:
        command = f"skipbench wandb-sync --results {results}"
        console.print(f"W&B: {offline} offline runs, upload with `{command}`", markup=False, soft_wrap=True)
