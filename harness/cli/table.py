"""`skipbench table`: the tables of a paper."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import RESULTS, console, end_with_damage, fits, print_frame, say_if_any, separated
from harness.cli.grid import FILE_AND_SETTINGS, GridOptions, Words, read_file_grid, takes_report_grid
from harness.errors import UserError, nearest
from harness.experiment.grid import ablation_axes
from harness.results.files import write_atomically
from harness.results.folder import DONE
from harness.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from harness.experiment.spec import RunSpec
    from harness.report.table import Table

FORMATS = ("md", "latex", "csv", "html")
COLUMNS = ("rounding", "templates")
# On a terminal, more methods than this become rows if their columns do not fit beside each other.
MANY_COLUMNS = 6


@click.command()
@FILE_AND_SETTINGS
@takes_report_grid
@click.option("--methods", "methods", help="Methods, separated by commas, or `all`.")
@click.option("--format", "formats", default="", help="Files to write: md, latex, csv, html, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default RESULTS/tables.")
@click.option("--over", metavar="KEY", help="An ablation over a setting, such as skip.depth, or several.")
@click.option("--column", "columns", default="", metavar="NAMES",
              help="Further columns: rounding (docs/stability.md), templates (docs/prompts.md).")  # fmt: skip
@click.option("--published", type=click.Choice(["none", "ours", "all"]), default="ours", show_default=True,
              help="Papers' columns: none, those of methods that are in the table, all.")  # fmt: skip
@click.option("--transpose/--no-transpose", default=None,
              help="Methods as rows; default: only on a terminal that is too narrow for many columns.")  # fmt: skip
@click.option("--standalone", is_flag=True, help="LaTeX: a whole document.")
@click.option("--caption", help="LaTeX: caption; default the title.")
@click.option("--label", help="LaTeX: label; default tab:<name>.")
@RESULTS
def table(
    words: Words,
    grid: GridOptions,
    methods: str | None,
    formats: str,
    out: Path | None,
    over: str | None,
    columns: str,
    published: str,
    transpose: bool | None,
    standalone: bool,
    caption: str | None,
    label: str | None,
    all_runs: bool,
    by: str | None,
    results: Path,
) -> None:
    """Tables of the experiment in FILE, with its missing and failed runs; without FILE and options, of all of RESULTS.

    Layout by protocol: data set x base/new/H, data set x shots, source and targets; with --over an ablation. Prints to
    the terminal; --format writes files too. CSV holds unrounded numbers, one line per cell.
    """
    asked, further = asked_formats(formats), asked_names(columns, COLUMNS, "column")
    if over:
        from harness.report.runs import damage_of

        tables = ablation_tables(words, methods, grid, separated(over), results, further)
        stem, damage, left_out = file_stem(words, grid), damage_of(results), ""
    else:
        from harness.report.directions import direction_tables
        from harness.report.paper_tables import paper_tables
        from harness.report.published import with_published

        chosen = find_runs(words, methods, grid, results, all_runs, by)
        stem, damage, left_out = chosen.stem, chosen.damage, chosen.left_out
        ours = paper_tables(with_columns(chosen.runs, further, results))
        tables = [*(with_published(found, published) for found in ours), *direction_tables(ours)]
    for found in tables:
        print_paper_table(found, transpose)
    say_if_any(left_out)
    write_tables(
        tables, asked, out or results / "tables", stem, LatexWords(standalone, caption, label), bool(transpose)
    )
    end_with_damage(damage)


@dataclass(frozen=True)
class LatexWords:
    """What a user asks of LaTeX tables.

    Attributes:
        standalone: whether each is a whole document.
        caption: None: the title.
        label: None: tab:<name>.
    """

    standalone: bool = False
    caption: str | None = None
    label: str | None = None


def asked_formats(formats: str) -> list[str]:
    """The formats of a list separated by commas.

    Raises:
        UserError: one is unknown.
    """
    return asked_names(formats, FORMATS, "format")


def asked_names(written: str, known: Sequence[str], what: str) -> list[str]:
    """The names of a list separated by commas.

    Raises:
        UserError: one is unknown.
    """
    asked = separated(written)
    for name in asked:
        if name not in known:
            raise UserError(f"unknown {what} '{name}'.{nearest(name, known)}")
    return asked


def with_columns(runs: "pd.DataFrame", columns: Sequence[str], results: Path) -> "pd.DataFrame":
    """Runs with what further columns of their tables need.

    Raises:
        UserError: templates of an ablation.
        DamagedError: a measurement cannot be read.
    """
    from harness.report.rounding import ROUNDING, with_rounding
    from harness.report.wordings import KEY, TEMPLATES, with_wordings

    if TEMPLATES in columns:
        if "axis" in runs:
            raise UserError(f"--column {TEMPLATES} takes the runs of one wording together: leave --over {KEY} out")
        runs = with_wordings(runs)
    return with_rounding(runs, results) if ROUNDING in columns else runs


def write_tables(
    tables: "list[Table]",
    formats: list[str],
    folder: Path,
    stem: str,
    latex: LatexWords = LatexWords(),
    transpose: bool = False,
) -> None:
    """Write tables in some formats, and say where.

    Args:
        tables: any number.
        formats: among FORMATS.
        folder: for the files; it is made.
        stem: how their names begin.
        latex: what is asked of LaTeX.
        transpose: methods as rows.
    """
    from harness.report.latex import latex_document, to_latex
    from harness.report.render import SUFFIXES, to_csv, to_html, to_markdown

    if formats:
        folder.mkdir(parents=True, exist_ok=True)
    for name in formats:
        for number, found in enumerate(tables):
            if name == "latex":
                # Each of several tables needs its own label.
                own = latex.label if latex.label is None or len(tables) == 1 else f"{latex.label}-{number + 1}"
                text = to_latex(found, latex.caption, own, transpose)
                text = latex_document([text]) if latex.standalone else text
            elif name == "csv":
                text = to_csv(found)
            else:
                text = to_html(found, transpose) if name == "html" else to_markdown(found, transpose)
            prefix = f"{stem}-" if stem else ""
            path = folder / f"{prefix}{found.name}.{SUFFIXES[name]}"
            write_atomically(path, text.encode())
            console.print(f"wrote {path}", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class ChosenRuns:
    """Runs to report on.

    Attributes:
        stem: how the names of their files begin.
        runs: in the form of `experiment_runs`.
        damage: why some runs are damaged, one line per run.
        left_out: which runs of the folder are not among them, in words.
    """

    stem: str
    runs: "pd.DataFrame"
    damage: list[str]
    left_out: str = ""


def find_runs(
    words: Words, methods: str | None, grid: GridOptions, results: Path, all_runs: bool, by: str | None = None
) -> ChosenRuns:
    """The runs that a command line asks for: those of an experiment, or all of the results folder.

    Args:
        words: an experiment and settings.
        methods: separated by commas; None: those of the experiment.
        grid: options that change the experiment.
        results: the results folder.
        all_runs: of the whole folder, also those that evaluate no test image; an experiment names its runs.
        by: `track` for runs with their tracks.

    Raises:
        UserError: none is complete.
    """
    found = chosen_runs(words, methods, grid, results, all_runs)
    if by is None:
        return found
    from harness.report.track_tables import with_tracks

    return replace(found, runs=with_tracks(found.runs, results))


def chosen_runs(words: Words, methods: str | None, grid: GridOptions, results: Path, all_runs: bool) -> ChosenRuns:
    """As `find_runs`, without tracks."""
    from harness.report.runs import damage_in, experiment_runs, folder_runs
    from harness.report.superseded import older_in_words

    if words.first or words.settings or methods or grid.given():
        _, specs = read_file_grid(words, grid, methods)
        runs = experiment_runs(specs, results)
        damage = damage_in(runs)
        if not (runs["state"] == DONE).any():
            raise UserError(none_complete(specs, results, damage))
        return ChosenRuns(file_stem(words, grid), runs, damage)
    found = folder_runs(results, all_runs)
    if found.runs.empty or not (found.runs["state"] == DONE).any():
        first = f" Damaged: {found.damage[0]}" if found.damage else ""
        if found.left_out:
            raise UserError(
                f"no complete run in '{results}' evaluates test images: {without_tests(found.left_out)}{first}"
            )
        raise UserError(f"no run is complete in '{results}': `skipbench bench` makes some.{first}")
    left_out = " ".join(filter(None, [without_tests(found.left_out), older_in_words(found.older)]))
    return ChosenRuns("results", found.runs, found.damage, left_out)


def without_tests(left_out: int) -> str:
    """How many runs are left out since they evaluate no test image; empty if none are."""
    if not left_out:
        return ""
    are = "is" if left_out == 1 else "are"
    runs = counted(left_out, "run without test images", "runs without test images")
    return f"{runs}, such as the trials of sweeps, {are} left out: --all-runs shows them."


def none_complete(specs: "Sequence[RunSpec]", results: Path, damage: list[str]) -> str:
    """The error of an experiment without a finished run."""
    from harness.report.nearest_runs import others_finished

    first = f". Damaged: {damage[0]}" if damage else ""
    none = "the run is not" if len(specs) == 1 else f"none of the {len(specs):,} runs is"
    others = others_finished(specs, results)
    return f"{none} complete in '{results}'{others}: see `skipbench plan`, then `bench`{first}"


def file_stem(words: Words, grid: GridOptions) -> str:
    """How the names of files about an experiment begin."""
    file = words.file or grid.experiment
    return file.stem if file else "bench"


def ablation_tables(
    words: Words,
    methods: str | None,
    grid: GridOptions,
    over: list[str],
    results: Path,
    columns: Sequence[str] = (),
) -> "list[Table]":
    """Ablations over some settings, and over the others that the experiment varies."""
    from harness.report.paper_tables import ablations
    from harness.report.runs import axis_runs

    experiment, specs = read_file_grid(words, grid, methods)
    axes = list(dict.fromkeys([*over, *ablation_axes(experiment)]))
    return ablations(with_columns(axis_runs(specs, results, axes), columns, results), axes)


def print_paper_table(found: "Table", transpose: bool | None = None) -> None:
    """Print a table and its footnote.

    Args:
        found: the table.
        transpose: whether methods are rows; None: on a terminal, if there are many and their columns do not fit.
    """
    from harness.report.footnotes import footnotes
    from harness.report.render import TERMINAL, text_frame

    if transpose is None:
        many = not found.by_column and len(found.columns) > MANY_COLUMNS
        transpose = many and console.is_terminal and not fits(text_frame(found, TERMINAL), console.width)
    frame = text_frame(found, TERMINAL, transpose)
    print_frame(frame, title=found.title, left=1 if transpose else 2, markup=True)
    console.print(" ".join(footnotes(found, transpose)))
    console.print()
