"""`skipbench report`: the HTML page of an experiment."""

from pathlib import Path

import click

from harness.cli.console import RESULTS, console, end_with_damage, say_if_any
from harness.cli.grid import FILE_AND_SETTINGS, GridOptions, Words, takes_report_grid
from harness.cli.table import find_runs
from harness.results.files import write_atomically


@click.command()
@FILE_AND_SETTINGS
@takes_report_grid
@click.option("--methods", help="Methods, separated by commas, or `all`.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the page; default RESULTS/reports.")
@RESULTS
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

    Tables, figures and every run with its spec, costs, training curve, accuracy of classes and a few predictions.
    Below 2 MB; opens from disk, without network. Writes RESULTS/reports/<name>.html.
    """
    from harness.report.page import page
    from harness.report.paper_tables import paper_tables
    from harness.report.published import with_published

    chosen = find_runs(words, methods, grid, results, all_runs, by)
    folder = out or results / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    tables = [with_published(found) for found in paper_tables(chosen.runs)]
    path = folder / f"{chosen.stem}.html"
    text, left_out = page(chosen.stem, tables, chosen.runs, results, folder, chosen.left_out)
    write_atomically(path, text.encode())
    console.print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)", markup=False, soft_wrap=True)
    say_if_any(chosen.left_out)
    end_with_damage([*chosen.damage, *left_out])
