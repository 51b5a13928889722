"""`skipbench rescore`: what the kept logits of finished runs say."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import (
    RESULTS,
    console,
    counting_bars,
    end_with_damage,
    print_frame,
    say,
    say_if_any,
    separated,
)
from harness.cli.grid import FILE_AND_SETTINGS, GridOptions, Words, takes_report_grid
from harness.cli.table import asked_formats, find_runs, print_paper_table, write_tables
from harness.errors import UserError
from harness.results.files import write_atomically
from harness.results.folder import DONE, RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from harness.rescore.metrics import RescoreMetric
    from harness.rescore.run import RescoredRun


@click.command()
@FILE_AND_SETTINGS
@takes_report_grid
@click.option("--methods", "methods", help="Methods, separated by commas, or `all`.")
@click.option("--metric", "metrics", default="", help="Metrics, separated by commas; default: all that are defined.")
@click.option("--per-run", "shown", flag_value="runs", multiple=True, help="Runs, with intervals of their accuracy.")
@click.option("--per-class", "shown", flag_value="classes", multiple=True, help="Accuracy of every class.")
@click.option("--confusion", "shown", flag_value="confusions", multiple=True, help="Classes confused the most.")
@click.option("--reliability", "shown", flag_value="reliability", multiple=True, help="Accuracy by confidence.")
@click.option("--format", "formats", default="", help="Files to write: md, latex, csv, html, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default RESULTS/tables.")
@RESULTS
def rescore(
    words: Words,
    grid: GridOptions,
    methods: str | None,
    metrics: str,
    shown: tuple[str, ...],
    formats: str,
    out: Path | None,
    all_runs: bool,
    by: str | None,
    results: Path,
) -> None:
    """Score finished runs anew from the logits that they kept; no image is read.

    FILE is an experiment, or a results folder; without FILE and options, all of RESULTS. Means over seeds of balanced
    accuracy, top-5, calibration errors, the temperature and what it leaves of them, and OpenworldAUC where base and new
    classes were evaluated together. Prints to the terminal; --format writes files too: csv also has a line per run,
    and per class, confusion and bin if these are asked for.
    """
    asked = asked_formats(formats)
    from harness.report.rescore_table import RUNS, details, not_kept_note, rescore_tables
    from harness.rescore.metrics import find_rescore_metrics

    wanted = find_rescore_metrics(separated(metrics))
    named = words.file
    if named and (named / "runs").is_dir():
        words, results = replace(words, first=None), named
    chosen = find_runs(words, methods, grid, results, all_runs, by)
    found = rescored_runs(chosen.runs, results, wanted)
    damage = [*chosen.damage, *(line for run in found.values() for line in run.damage)]
    tables = rescore_tables(chosen.runs, found, wanted)
    for table in tables:
        print_paper_table(table)
    folder = out or results / "tables"
    write_tables(tables, asked, folder, chosen.stem)
    written = {RUNS, *shown} if "csv" in asked else set()
    for detail in details(chosen.runs, found, wanted, {*shown, *written}) if tables else []:
        if detail.name in shown:
            print_frame(detail.table, title=detail.title)
            console.print()
        if detail.name in written:
            path = folder / f"{chosen.stem}-rescore-{detail.name}.csv"
            write_atomically(path, str(detail.lines.to_csv(index=False)).encode())
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
    for run in found.values():
        for line in run.notes:
            say(line)
    say_if_any(not_kept_note(found) if tables else "")
    say_if_any(chosen.left_out)
    end_with_damage(damage)
    if not tables:
        raise UserError(nothing_found(found, wanted, results))


def rescored_runs(runs: "pd.DataFrame", results: Path, metrics: "list[RescoreMetric]") -> "dict[str, RescoredRun]":
    """Id -> what the logits of a finished run say."""
    from harness.rescore.run import rescore

    ids = list(dict.fromkeys(runs.loc[runs["state"] == DONE, "id"]))
    found = {}
    with counting_bars() as bars:
        task = bars.add_task("reading logits", total=len(ids))
        for run_id in ids:
            folder = RunFolder(results, run_id)
            found[run_id] = rescore(folder, folder.read_result(), metrics)
            bars.advance(task)
    return found


def nothing_found(found: "dict[str, RescoredRun]", metrics: "list[RescoreMetric]", results: Path) -> str:
    """The error of runs of which no metric can be told."""
    if not any(run.evaluations for run in found.values()):
        return (
            f"no run in '{results}' kept logits: `skipbench rerun ID` computes a run again, and keeps them unless "
            "runtime.keep_logits_mib=0"
        )
    needs = list(dict.fromkeys(metric.needs for metric in metrics if metric.needs))
    names = ", ".join(metric.name for metric in metrics)
    return f"no run in '{results}' has {names}{': ' if needs else ''}{'; '.join(needs)}"
