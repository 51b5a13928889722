"""The page of a board: one HTML file that opens from disk and loads nothing else, track by track."""

import base64
import html
from collections.abc import Sequence
from dataclasses import asdict, replace

from harness.board.contents import Board, Section
from harness.board.facts import MethodFacts
from harness.board.verdict import Verdict
from harness.report.comparison_figures import CellMap, RankDiagram
from harness.report.figures import on_screen
from harness.report.latex import to_latex
from harness.report.page import copy_button
from harness.report.page_frame import framed
from harness.report.render import to_html
from harness.report.run_details import dumped
from harness.report.table import Table


def board_page(board: Board) -> str:
    """The page of a board; the same board gives the same text."""
    latex: list[str] = []
    tracks = "\n".join(track_section(section, latex) for section in board.sections)
    figures = [
        replace(figure, note=" ".join(filter(None, [figure.note.strip(), *figure.marks]))) for figure in board.figures
    ]
    data = {"names": list(board.names), "latex": latex, "figures": [asdict(on_screen(figure)) for figure in figures]}
    links = [(section.anchor, section.title) for section in board.sections]
    links += [("figures", "Figures")] if figures else []
    links += [("methods", "Methods")] if board.methods else []
    return framed(
        board.title,
        links,
        main="board.html",
        data=dumped(data),
        parts={
            "summary": summary(board),
            "tracks": tracks,
            "no_figures": "" if figures else " hidden",
            "methods": methods_section(board.methods, board.reasons),
        },
        styles=("page.css", "board.css"),
        scripts=("page.js", "charts.js"),
        without_script="Figures of costs need JavaScript; everything else does not.",
    )


def summary(board: Board) -> str:
    """What the board is about, its facts, and what a reader must know first."""
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in board.facts
    )
    about = f"<p>{html.escape(board.about)}</p>" if board.about else ""
    leaders = f"<h2>Highest scores, track by track</h2>{listed(board.leaders)}" if board.leaders else ""
    return f'{about}<dl class="facts">{facts}</dl>{listed(board.notes)}{leaders}'


def listed(sentences: Sequence[str]) -> str:
    """Sentences as a list; empty without any."""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="says">{items}</ul>' if items else ""


def track_section(section: Section, latex: list[str]) -> str:
    """The tables and tests of one track; the LaTeX of its tables is added to a list, for their buttons."""
    parts = [f"<h2>{html.escape(section.title)}</h2>", f'<p class="hint">{html.escape(section.about)}</p>']
    for part in section.parts:
        parts.append(f"<h3>{html.escape(part.title)}</h3>")
        parts += [table_of(table, latex, transpose=True) for table in part.standings]
        parts += [verdict_of(verdict, latex) for verdict in part.verdicts]
        parts += [table_of(table, latex, transpose=False) for table in part.papers]
    label = html.escape(section.title)
    return f'<section class="track" id="{section.anchor}" aria-label="{label}">{"".join(parts)}</section>'


def table_of(table: Table, latex: list[str], transpose: bool) -> str:
    """A table with a button that copies it as LaTeX."""
    latex.append(to_latex(table, transpose=transpose))
    return to_html(table, transpose, copy_button(len(latex) - 1))


def verdict_of(verdict: Verdict, latex: list[str]) -> str:
    """What the scores allow one to say: of all methods, with the figure, and method by method."""
    parts = [listed(verdict.summary), *map(drawn, verdict.figures)]
    for number, (method, sentences) in enumerate(verdict.sentences.items()):
        title = html.escape(f"What one may write about {method}")
        parts.append(f"<details{' open' if not number else ''}><summary>{title}</summary>{listed(sentences)}</details>")
    parts += [table_of(table, latex, transpose=False) for table in verdict.tables]
    return f"<h4>{html.escape(verdict.title)}</h4>{''.join(parts)}"


def drawn(figure: RankDiagram | CellMap) -> str:
    """A figure as an image of its own, so that its names and styles are apart from those of the page."""
    from harness.report.comparison_plots import draw_any

    svg = base64.b64encode(draw_any(figure, (), "svg")).decode()
    words = html.escape(f"{figure.title}. {figure.note} {in_words(figure)}")
    return f'<p class="drawn"><img src="data:image/svg+xml;base64,{svg}" alt="{words}"></p>'


def in_words(figure: RankDiagram | CellMap) -> str:
    """What a figure shows, for those who cannot see it; the numbers of a matrix stand in its table."""
    if isinstance(figure, CellMap):
        return "The table of all pairs has the numbers."
    ranks = zip(figure.test.methods, figure.test.mean_ranks, strict=True)
    return f"Mean ranks: {', '.join(f'{method} {rank:.2f}' for method, rank in ranks)}."


def methods_section(methods: Sequence[MethodFacts], reasons: Sequence[tuple[str, str, str]]) -> str:
    """What a reader must know of each method, and why runs are not in a cleaner track."""
    if not methods:
        return ""
    entries = []
    for facts in methods:
        card = facts.card
        about = [card.paper, card.trains] if card else []
        entries.append(f"<dt>{html.escape(f'{facts.method}: {facts.title}' if card else facts.method)}</dt>")
        entries += [f"<dd>{html.escape(text)}</dd>" for text in (*about, *facts.notes)]
    body = f'<h2>Methods</h2><dl class="methods">{"".join(entries)}</dl>'
    why = listed([f"{place}: {labels}: {text}." for place, labels, text in reasons])
    more = f"<details><summary>Why runs are in their tracks</summary>{why}</details>" if why else ""
    return f'<section id="methods">{body}{more}</section>'
