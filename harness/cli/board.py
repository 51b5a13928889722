"""`skipbench board`: run a suite and write its board, merge boards, or put published tables through its tests."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from harness.cli.console import RESULTS, console, end_with_damage
from harness.cli.dry_run import DRY_RUN, print_block, say, schedule_settings, summary
from harness.cli.grid import ScheduleOptions, Words, split_schedule, split_words, takes_schedule
from harness.cli.run import compute_unfinished
from harness.cli.watch import print_failures
from harness.errors import UserError
from harness.experiment.grid import Experiment, describe_grid, plan_grid
from harness.experiment.settings import Settings, validate
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.folder import DAMAGED
from harness.results.index import planned_runs

if TYPE_CHECKING:
    from harness.board.contents import Board
    from harness.board.suite import Suite
    from harness.board.tidy import TidyRow

MERGE, DEFAULT_SUITE = "merge", "embedded"
OUT = "board"


def split_board_words(
    context: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> "Words | tuple[Path, ...]":
    """The boards to merge, or a suite and settings."""
    if words and words[0] == MERGE:
        return tuple(map(Path, words[1:]))
    found = split_words(context, parameter, words)
    if others := [word for word in found.settings if "=" not in word]:
        raise UserError(f"'{others[0]}' is no setting: name one suite, then KEY=VALUE; or `skipbench board merge A B`")
    return found


@click.command()
@click.argument("words", nargs=-1, metavar="[SUITE] [KEY=VALUE]... | merge BOARD BOARD...", callback=split_board_words)
@click.option("--quick", is_flag=True, help="The quick form of the suite: fewer seeds and shots, as its file says.")
@click.option("--methods", help="Methods, separated by commas, or `all`; default: those of the suite.")
@click.option("--no-run", is_flag=True, help="Compute nothing: the board of the runs that are there.")
@click.option("--published", is_flag=True, help="Published tables through the same tests, in place of a suite.")
@click.option("--source", help="With --published: part of the name of one source, such as 'Skip Tuning'.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the board; default RESULTS/board.")
@takes_schedule
@DRY_RUN
@RESULTS
def board(
    words: "Words | tuple[Path, ...]",
    quick: bool,
    methods: str | None,
    no_run: bool,
    published: bool,
    source: str | None,
    out: Path | None,
    schedule: ScheduleOptions,
    dry_run: bool,
    results: Path,
) -> None:
    """Run what is left of a SUITE and write its board: tables by track and protocol, tests, sentences and a page.

    SUITE is embedded (the default), field, or a file. KEY=VALUE changes all of its experiments, such as seeds=1,2 or
    train.precision=bf16. Complete runs are left alone; the same command continues. Writes results.csv (one row a
    number), board.md, tables.tex, tables.csv and index.html.

    \b
      skipbench board embedded --quick
      skipbench board field --executor slurm --dry-run
      skipbench board --no-run --results results/embedded --out board
      skipbench board merge ours/board theirs/board --out both
      skipbench board --published --source "Skip Tuning"
    """
    given = {"quick": quick, "methods": methods, "no_run": no_run, "dry_run": dry_run}
    others = {"source": source} if not published else {}
    if isinstance(words, tuple):
        refuse(MERGE, {**given, **others, "published": published})
        merge_boards(words, out)
    elif published:
        refuse("--published", {**given, "SUITE": words.first, "KEY=VALUE": words.settings})
        write_published(source, out or results / OUT)
    else:
        refuse("a suite", others)
        settings, scheduled = split_schedule(words.settings, schedule)
        suite = find_suite(words.first or DEFAULT_SUITE, quick, methods, settings)
        how: ScheduleSpec = validate(ScheduleSpec, scheduled, "schedule.")
        if dry_run:
            tell_plan(suite, results, how)
        else:
            run_and_write(suite, results, how, no_run, out or results / OUT)


def refuse(what: str, given: "Mapping[str, object]") -> None:
    """Raise a UserError if an option was given that does nothing here."""
    for name, value in given.items():
        if value:
            shown = name if name.isupper() or "=" in name else f"--{name.replace('_', '-')}"
            raise UserError(f"{shown} does nothing with {what}: leave it out")


def find_suite(name: str, quick: bool, methods: str | None, settings: Settings) -> "Suite":
    """The suite that a command line asks for; KEY=VALUE may be a key of its experiments or a setting of their runs."""
    from harness.board.suite import read_suite

    own = {info.alias or name for name, info in Experiment.model_fields.items()} - {"settings", "schedule", "methods"}
    changes = {key: settings.pop(key) for key in own & settings.keys()}
    return read_suite(name, quick, methods, changes, settings)


def specs_of(suite: "Suite") -> list[RunSpec]:
    """The runs of a suite."""
    from harness.board.plan import plan_suite

    return [item.spec for item in plan_suite(suite)]


def tell_plan(suite: "Suite", results: Path, schedule: ScheduleSpec) -> None:
    """Print what would run, and how long it would take."""
    from harness.board.plan import time_left

    specs = specs_of(suite)
    say(f"Suite {suite.name}{', its quick form' if suite.is_quick else ''}: {suite.title}")
    for experiment in suite.experiments:
        say(f"  {experiment.protocol:22s} {describe_grid(experiment, len(plan_grid(experiment)))}")
    say(f"{len(specs)} different runs: {summary([run.state for run in planned_runs(specs, results)])}")
    say(f"{time_left(specs, results).sentence()}.")
    say("How they would be executed")
    print_block(schedule_settings(schedule))
    say("Dry run: nothing was started or written.")


def run_and_write(suite: "Suite", results: Path, schedule: ScheduleSpec, no_run: bool, out: Path) -> None:
    """Compute what is left, then write the board of what is there."""
    from harness.board.contents import make_board
    from harness.board.plan import missing_runs
    from harness.board.tidy import rows_of

    specs = specs_of(suite)
    failures = [] if no_run else compute_unfinished(specs, results, schedule)
    runs = list(planned_runs(specs, results))
    rows = [row for run in runs if run.result for row in rows_of(suite.name, run.result)]
    if not rows:
        print_failures(failures)
        raise UserError(
            f"no run of suite '{suite.name}' is complete in '{results}': leave out --no-run, or name another folder"
        )
    quick = " (quick form)" if suite.is_quick else ""
    write(lambda: make_board(f"{suite.title}{quick}", suite.about, rows, missing_runs(specs, results)), out, rows)
    print_failures(failures)
    end_with_damage([run.reason for run in runs if run.state == DAMAGED])
    if failures:
        sys.exit(1)


def merge_boards(paths: Sequence[Path], out: Path | None) -> None:
    """Merge boards of several groups into one."""
    from harness.board.contents import make_board
    from harness.board.merge import merge, read_files

    if out is None:
        raise UserError("say where the merged board goes: --out FOLDER")
    if out.resolve() in {folder.resolve() for path in paths for folder in (path, path.parent)}:
        raise UserError(f"'{out}' is one of the boards: give the merged one a folder of its own")
    merged = merge(read_files(paths))
    title = f"Suite {merged.rows[0].suite}, merged"
    write(lambda: make_board(title, "", merged.rows, notes=merged.notes), out, merged.rows)


def write_published(source: str | None, out: Path) -> None:
    """Write the board of published numbers."""
    from harness.board.published import published_board

    write(lambda: published_board(source), out)


def write(make: "Callable[[], Board]", out: Path, rows: "Sequence[TidyRow]" = ()) -> None:
    """Make a board, write its files, and print what may be said and where it stands."""
    from harness.board.write import write_board

    with console.status(Text("testing what the scores allow one to say")) if console.is_terminal else nullcontext():
        found = make()
        paths = write_board(found, out, rows)
    for note in found.notes:
        say(note)
    for section in found.sections:
        for part in section.parts:
            for verdict in part.verdicts:
                say(f"{verdict.title}: {' '.join(verdict.summary)}")
    for path in paths:
        say(f"wrote {path}")
