"""`skipbench sweep`: search for settings."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import RESULTS, console, counting_bars, print_frame
from harness.cli.dry_run import DRY_RUN, print_block, print_settings, say, schedule_settings, tell_without_effect
from harness.cli.grid import ScheduleOptions, split_schedule, takes_schedule
from harness.cli.run import check_data, fetch_backbones, tell_tracking, warm_up
from harness.experiment.axes import text_of
from harness.experiment.layers import COMMAND_LINE, DEFAULT, PlannedRun, Setting
from harness.results.files import check_writable
from harness.text import counted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from harness.tune.sweep import Sweep


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--sampler", type=click.Choice(["tpe", "nsga2", "random", "grid"]), help="grid: all points of the space.")
@click.option("--trials", type=int, help="How many trials to look at, those of earlier starts among them.")
@click.option("--time", "time_budget", help="Begin no trial after so long, such as 10m or 2h.")
@click.option("--workers", type=int, help="Trials at a time; default: one per slot.")
@click.option("--dataset", help="Training data set.")
@click.option("--backbone", help="As for bench.")
@click.option("--shots", type=int, help="Training images per class.")
@click.option("--seeds", help="Of every trial, such as 1..3.")
@click.option("--protocol", help="What trials are judged on: base_to_new_validation, few_shot_validation, ...")
@click.option("--recipe", help="What the space changes: a recipe variant, or a YAML file.")
@click.option("--storage", envvar="OPTUNA_STORAGE", help="postgresql://, mysql:// or journal:/path; default SQLite.")
@takes_schedule
@DRY_RUN
@RESULTS
def sweep(
    name: str, settings: tuple[str, ...], schedule: ScheduleOptions, dry_run: bool, results: Path, **options: Any
) -> None:
    """Search for settings with Optuna: NAME is a file, or one of experiments/sweeps/ such as `skip`.

    A trial is an ordinary run (one per seed), judged on validation images; test images and their labels are never
    read. The study is kept: the same command continues it, and joins it from other machines if they share the storage.

    KEY=VALUE changes the sweep (pruner=median objectives=H 'limits={peak_memory: 25}') or its runs: a setting with one
    value (train.epochs=3) has it in all runs, one with several (skip.depth=0..blocks, skip.class_ratio=0.1,0.5) is
    searched over. Prints the best trials and writes RESULTS/sweeps/<study>/: best.yaml, a recipe for `bench RECIPE=`,
    one for each further trial of the Pareto front, trials.csv, and figures.
    """
    from harness.tune.importance import importances
    from harness.tune.objective import METRICS, check_objectives
    from harness.tune.pending import counts
    from harness.tune.report import best_trials, grid_title, in_grid_order, text_table, write_outcome
    from harness.tune.study import execute
    from harness.tune.sweep_file import load_sweep, split_changes

    changes, scheduled = split_schedule(settings, schedule)
    given = {key: value for key, value in options.items() if value is not None}
    asked = load_sweep(name, {**split_changes(changes), **given}, scheduled)
    planned = asked.planned({})
    tell_without_effect(planned, [])
    if dry_run:
        print_dry_sweep(asked, planned, {*changes, *given}, results)
        return
    specs = [item.spec for item in planned]
    # Each trial may be of another shape.
    warm_up({spec.backbone for spec in specs}, asked.schedule, rehearses_often=True)
    check_writable(results)
    tell_tracking(specs)
    check_data(specs)
    fetch_backbones(specs)
    check_objectives(asked, specs[0])
    console.print(
        f"{asked.study_name}: {counted(asked.num_trials, 'trial')}, judged on {asked.judged_on()}", markup=False
    )
    begin = time.monotonic()
    with TrialWatcher(asked) as watcher:
        study = execute(asked, results, watcher.on_trials)
    trials = study.get_trials(deepcopy=False)
    if asked.sampler == "grid":
        judged = in_grid_order([trial for trial in trials if METRICS in trial.user_attrs and counts(trial)], asked)
        print_frame(text_table(judged, asked), title=grid_title(judged, asked))
    front = best_trials(study, asked)
    done = sum(map(counts, trials))
    what = "Pareto front" if len(asked.objectives) > 1 else "best trial"
    title = f"{what} of {counted(done, 'trial')} ({', '.join(asked.objectives)}), {time.monotonic() - begin:.0f} s"
    print_frame(text_table(front, asked), title=title)
    found = importances(study, asked)
    for metric, importance in found.items():
        console.print(importance.told(metric), markup=False, soft_wrap=True)
    folder = results / "sweeps" / asked.study_name
    recipes = write_outcome(study, asked, found, folder)
    means = ", mean ± sample std over runs" if len(specs) > 1 else ""
    note = f"accuracy on validation pictures{means}; MiB: highest peak of memory"
    console.print(f"({note})", markup=False, soft_wrap=True)
    for path, trial in zip(recipes, front, strict=True):
        console.print(f"Recipe of trial {trial.number}: {path}", markup=False, soft_wrap=True)
    command = f"skipbench bench {asked.method} --recipe {shlex.quote(str(recipes[0]))}"
    console.print(f"Test it with `{command}`", soft_wrap=True)


def print_dry_sweep(asked: "Sweep", planned: list[PlannedRun], given: set[str], results: Path) -> None:
    """Print the space of a sweep, its budget, and the settings of the runs of every trial.

    Args:
        asked: the sweep.
        planned: the runs of a trial that chooses nothing.
        given: keys of the sweep that are given on the command line.
        results: the results folder.
    """
    try:
        points = f"{len(asked.grid()):,} points"
    except ValueError:
        points = "no end of points, since one of its settings has no step"
    console.print(f"{asked.study_name}: {asked.num_trials} trials of {len(planned)} runs each, "
                  f"judged on {asked.judged_on()}", markup=False, soft_wrap=True)  # fmt: skip
    say(f"Space: {points}")
    for key, parameter in asked.space.items():
        about = parameter.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        say(f"  {key:28s} {', '.join(f'{name}: {text_of(value)}' for name, value in about.items())}")
    say("The sweep")
    own = asked.model_dump(mode="json", exclude={"space", "settings", "schedule", "storage"})
    source_of = {key: COMMAND_LINE if key in given else f"sweep {asked.name}" for key in asked.model_fields_set}
    print_block(Setting(key, value, source_of.get(key, DEFAULT)) for key, value in own.items())
    searched = dict.fromkeys(asked.space, "searched over; this is the recipe's value")
    print_settings(planned, searched)
    say("How they would be executed")
    print_block(schedule_settings(asked.schedule, lambda key: DEFAULT))
    say("Dry run: nothing was started or written.")


class TrialWatcher:
    """Shows the progress of a sweep: a bar on a terminal, a line a trial elsewhere."""

    def __init__(self, sweep: "Sweep") -> None:
        self.sweep = sweep
        self.told: set[int] = set()
        self.progress = counting_bars()
        self.bar = self.progress.add_task("trials", total=sweep.num_trials, news="")

    def __enter__(self) -> "TrialWatcher":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_trials(self, trials: "list[FrozenTrial]") -> None:
        """Take the trials as they stand."""
        from optuna.trial import TrialState

        from harness.tune.objective import FAILURE
        from harness.tune.pending import counts

        for trial in trials:
            if counts(trial) and trial.number not in self.told:
                self.told.add(trial.number)
                values = ", ".join(
                    f"{name} {value:.4g}"
                    for name, value in zip(self.sweep.objectives, trial.values or (), strict=False)
                )
                ended = trial.user_attrs.get(FAILURE) or (values if trial.state == TrialState.COMPLETE else "pruned")
                settings = " ".join(
                    f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                    for key, value in trial.params.items()
                )
                line = f"[{len(self.told)}/{self.sweep.num_trials}] trial {trial.number} {settings}: {ended}"
                console.print(line, markup=False, soft_wrap=True)
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        self.progress.update(self.bar, completed=len(self.told), news=f"{running} running")
