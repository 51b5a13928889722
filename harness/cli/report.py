"""`skipbench report`: the HTML page of an experiment."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import RESULTS, console, end_with_damage, say_if_any
from harness.cli.grid import FILE_AND_SETTINGS, GridOptions, Words, takes_report_grid
from harness.cli.table import find_runs
from harness.machine.garbage import no_garbage_search
from harness.results.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.page import Standings


@click.command()
@FILE_AND_SETTINGS
@takes_report_grid
@click.option("--methods", help="Methods, separated by commas, or `all`.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the page; default RESULTS/reports.")
@RESULTS
@no_garbage_search()
def report(
    words: Words,
    grid: GridOptions,
    methods: str | None,
    out: Path | None,
    all_runs: bool,
    by: str | None,
    results: Path,
) -> None:
    """One HTML page about the experiment in FILE; without FILE and options, about all of RESULTS.

    Standings by track, tables, figures, any two settings or runs side by side, and every run with its settings,
    costs, learning curves, accuracy of classes, confusions and a few predictions. Below 2 MB; opens from disk, without
    network. Writes RESULTS/reports/<name>.html.
    """
    from harness.report.page import page
    from harness.report.paper_tables import paper_tables
    from harness.report.published import with_published

    chosen = find_runs(words, methods, grid, results, all_runs, by)
    folder = out or results / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    tables = [with_published(table) for table in paper_tables(chosen.runs)]
    path = folder / f"{chosen.stem}.html"
    found = find_standings(chosen.runs, results)
    text, left_out = page(chosen.stem, tables, chosen.runs, results, folder, chosen.left_out, found)
    write_atomically(path, text.encode())
    console.print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)", markup=False, soft_wrap=True)
    say_if_any(chosen.left_out)
    end_with_damage([*chosen.damage, *left_out])


def find_standings(runs: "pd.DataFrame", results: Path) -> "Standings":
    """How the methods of some runs stand, and the board of the results folder, if one was written."""
    from harness.board.standings import MOST_RUNS, standings_of
    from harness.board.write import PAGE
    from harness.cli.board import OUT
    from harness.experiment.protocols import validation_protocols
    from harness.report.page import Standings
    from harness.results.folder import DONE
    from harness.results.index import results_of

    board = results / OUT / PAGE
    known = runs[(runs["state"] == DONE) & ~runs["protocol"].isin(validation_protocols())]
    if len(known) > MOST_RUNS:
        many = f"Standings are left out: {len(known):,} runs are for a board, which `skipbench board` writes."
        found = Standings(notes=(many,))
    else:
        found = standings_of(results_of(results, list(known["id"])))
    return replace(found, board=board if board.is_file() else None)
