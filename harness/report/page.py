"""The report of an experiment: one HTML page that opens from disk and loads nothing else."""

import html
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from harness.experiment.protocols import validation_protocols
from harness.machine.costs import PHASES
from harness.report.card_notes import NO_CARD, card_facts, card_notes, known_card
from harness.report.directions import direction_tables
from harness.report.display_names import shown_label, with_display_names
from harness.report.figures import on_screen, paper_figures
from harness.report.labels import is_plain
from harness.report.latex import to_latex
from harness.report.marks import marked
from harness.report.method_table import cost_metrics, evaluations_in, numbers_of, other_score_columns, shown_values
from harness.report.page_frame import ASSETS, framed
from harness.report.render import to_html
from harness.report.run_details import describe_runs, dumped, rounded, run_files
from harness.report.runs import in_order
from harness.report.table import Table
from harness.results.folder import DONE
from harness.results.metrics import ACCURACY, Metric, summary_metrics
from harness.text import counted

SECTIONS = (
    ("standings", "Standings"),
    ("tables", "Tables"),
    ("figures", "Figures"),
    ("compare", "Compare"),
    ("methods", "Methods"),
    ("runs", "Runs"),
)
# A page stays below 2 MB: runs are described one by one until this many bytes are used.
PAGE_BYTES = 1_900_000
MOST_ACCURACIES = 12
MOST_ROWS = 12_000
LEFT_OUT = "This page is kept below 2 MB: the rest of this run is in the files above."


@dataclass(frozen=True)
class Standings:
    """How methods stand, track by track, as the board of a suite has it.

    Attributes:
        tracks: title, what belongs to the track, and its tables, whose methods are rows.
        notes: sentences above them.
        board: the page of the board, if there is one.
    """

    tracks: tuple[tuple[str, str, tuple[Table, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    board: Path | None = None


def page(
    title: str,
    tables: Sequence[Table],
    runs: pd.DataFrame,
    results: Path,
    folder: Path,
    left_out: str = "",
    standings: Standings = Standings(),
) -> tuple[str, list[str]]:
    """The page, and which files of finished runs it leaves out because they are damaged.

    Args:
        title: of the experiment.
        tables: as `paper_tables` gives them, with published numbers or without.
        runs: as `experiment_runs` or `folder_runs` gives them.
        results: the results folder.
        folder: where the page will be stored, for links to the files of runs.
        left_out: which runs it is not about, in words.
        standings: of the methods.
    """
    methods = in_order(runs["method"])
    drawn = [with_display_names(figure, methods) for figure in paper_figures(tables, results)]
    notes = [" ".join([figure.note.strip(), *(f"{line}." for line in figure.key), *figure.marks]) for figure in drawn]
    figures = [asdict(on_screen(replace(figure, note=note))) for figure, note in zip(drawn, notes, strict=True)]
    plain = [label for label in in_order(runs["label"]) if is_plain(label)]
    labels = [*plain, *(label for label in in_order(runs["label"]) if label not in plain)]
    listed = runs.head(MOST_ROWS)
    files = run_files(listed["id"], results)
    shown = [*tables, *direction_tables(tables)]
    latex = [to_latex(table) for table in shown]
    body = "\n".join(to_html(table, extra=copy_button(number)) for number, table in enumerate(shown))
    tracks = standings_section(standings, folder, latex)
    data: dict[str, Any] = {
        # Plain methods first, as in plots: variants take the remaining colours.
        "names": [shown_label(label, methods) for label in labels],
        "latex": latex,
        "figures": figures,
        "runs": run_rows(listed),
        "trials": [place for place, name in enumerate(listed["protocol"].tolist()) if name in validation_protocols()],
        "files": {"sets": files.sets, "of": files.of},
        "folder": Path(os.path.relpath(results / "runs", folder)).as_posix(),
        "left_out": LEFT_OUT,
    }
    cards = cards_of(methods)
    used = (
        len(dumped(data))
        + len(body.encode())
        + len(tracks.encode())
        + len(cards.encode())
        + sum(path.stat().st_size for path in ASSETS.iterdir())
    )
    details, damage = describe_runs(listed, results, files, PAGE_BYTES - used)
    note = html.escape(" ".join([*runs_notes(len(runs), len(listed), details), left_out]))
    text = framed(
        title,
        [link for link in SECTIONS if link[0] != "standings" or tracks],
        main="page.html",
        data=dumped({**data, **details}),
        parts={"summary": summary(runs), "standings": tracks, "tables": body, "methods": cards, "runs_note": note},
        styles=("page.css", "runs.css"),
        scripts=("page.js", "charts.js", "pictures.js", "details.js", "runs.js", "compare.js"),
        without_script="Figures, comparisons and runs need JavaScript; the tables above do not.",
    )
    return text, damage


def runs_notes(known: int, listed: int, details: dict[str, Any]) -> list[str]:
    """How the list of runs is read, and what of it did not fit on the page, one sentence each."""
    described, of_pictures = len(details["details"]), details["predicted"]
    are = "is" if described == 1 else "are"
    notes = ["A run opens on its name."]
    if listed < known:
        notes.append(f"The first {listed:,} of {counted(known, 'run')} are listed: name an experiment to see its own.")
    if described < known:
        notes.append(f"{described:,} of {counted(known, 'run')} {are} described here, first seeds first.")
    if of_pictures["left_out"]:
        notes.append(
            f"Confusions and disagreements are shown of {counted(len(of_pictures['runs']), 'run')}, as many as fit; "
            "`skipbench rescore` has those of all."
        )
    return notes


def standings_section(standings: Standings, folder: Path, latex: list[str]) -> str:
    """How methods stand, as HTML; the LaTeX of the tables is added to a list, for their buttons; empty without any."""
    if not standings.tracks and not standings.notes and not standings.board:
        return ""
    parts = ["<h2>Standings</h2>"]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in standings.notes]
    if standings.board:
        link = quote(Path(os.path.relpath(standings.board, folder)).as_posix())
        parts.append(f'<p><a href="{link}">The board: all tests, and the sentences that one may write</a></p>')
    for title, about, tables in standings.tracks:
        parts.append(f'<h3>{html.escape(title)}</h3><p class="hint">{html.escape(about)}</p>')
        for table in tables:
            latex.append(to_latex(table, transpose=True))
            parts.append(to_html(table, True, copy_button(len(latex) - 1)))
    return f'<section id="standings">{"".join(parts)}</section>'


def cards_of(names: Sequence[str]) -> str:
    """The cards of some methods, each opens on its name; above them what sets the published codes apart."""
    parts = [f'<p class="note">{html.escape(note)}</p>' for note in card_notes(names)]
    for name in names:
        card = known_card(name)
        facts = card_facts(card) if card else {"card": NO_CARD}
        rows = "".join(
            f'<tr><th scope="row">{html.escape(fact)}</th><td class="words">{html.escape(text)}</td></tr>'
            for fact, text in facts.items()
        )
        title = html.escape(f"{card.title} ({name})" if card else name)
        parts.append(f'<details><summary>{title}</summary><table class="card">{rows}</table></details>')
    return "\n".join(parts)


def copy_button(number: int) -> str:
    """The button that copies a table as LaTeX."""
    return f'<button type="button" data-latex="{number}">Copy as LaTeX</button>'


def summary(runs: pd.DataFrame) -> str:
    """An overview of the runs, in a few words and numbers."""
    states = Counter(runs["state"])
    known = runs[runs["state"] == DONE]
    trained = [pd.to_numeric(known[f"{phase}.seconds"]).sum() for phase in PHASES if f"{phase}.seconds" in known]
    facts = {
        "runs": ", ".join(f"{count} {state}" for state, count in states.items()),
        "protocols": ", ".join(in_order(runs["protocol"])),
        "methods": str(runs["method"].nunique()),
        "data sets": ", ".join(in_order(runs["dataset"]))
        if runs["dataset"].nunique() < 4
        else str(runs["dataset"].nunique()),
        "seeds": ", ".join(map(str, sorted(runs["seed"].unique())))
        if runs["seed"].nunique() < 6
        else str(runs["seed"].nunique()),
        "backbone": ", ".join(in_order(runs["backbone"])),
        "device": ", ".join(in_order(known["device"])),
        "time of all runs": duration(sum(trained)),
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def duration(seconds: float) -> str:
    """Seconds as text, in the largest unit that fits."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def run_rows(runs: pd.DataFrame) -> dict[str, Any]:
    """The table of runs: columns with their names, and rows of values; repeated words are stored as list indices."""
    columns: list[dict[str, Any]] = []
    values: list[list[Any]] = []

    def words(name: str, column: pd.Series) -> None:
        known, names = in_order(column), list(map(str, column.tolist()))
        columns.append({"name": name, "words": known})
        values.append([known.index(one) for one in names] if len(known) < 500 else names)

    def numbers(name: str, column: pd.Series, digits: int) -> None:
        columns.append({"name": name, "digits": digits})
        values.append([rounded(value, digits) for value in column])

    marks = runs["mark"].fillna("") if "mark" in runs else [""] * len(runs)
    words("method", pd.Series([marked(str(label), mark) for label, mark in zip(runs["label"], marks, strict=True)]))
    if (runs["variant"] != "").any():
        words("settings", runs["variant"])
    if runs["protocol"].nunique() > 1:
        words("protocol", runs["protocol"])
    if runs["backbone"].nunique() > 1:
        words("backbone", runs["backbone"])
    if (runs["tuned"] != "").any():
        words("tuned", runs["tuned"])
    if "track" in runs:
        words("track", runs["track"])
    words("data set", runs["dataset"])
    for name in ("shots", "seed"):
        columns.append({"name": name})
        values.append([int(value) for value in runs[name]])
    words("state", runs["state"])
    for name in evaluations_in(runs)[:MOST_ACCURACIES]:
        numbers(name, numbers_of(runs, f"{ACCURACY}.{name}"), 2)
    for score in other_score_columns(runs)[:MOST_ACCURACIES]:
        numbers(score.title, score.values(runs), score.digits)
    for metric in shown_metrics(runs):
        numbers(metric.title, shown_values(metric, runs), metric.digits)
    columns.append({"name": "id"})
    values.append(list(runs["id"]))
    return {"columns": columns, "rows": [list(row) for row in zip(*values, strict=True)]}


def shown_metrics(runs: pd.DataFrame) -> list[Metric]:
    """Metrics of whole runs that tables show and that some of the runs have."""
    metrics: list[Metric] = [metric for metric in summary_metrics() if metric.in_tables]
    return [metric for metric in (*metrics, *cost_metrics(runs)) if shown_values(metric, runs).notna().any()]
