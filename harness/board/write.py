"""The folder of a board: the tidy results, all tables in Markdown, LaTeX and CSV, and the page.

There is one file for each form, so that nothing of an earlier board is left behind; nothing in them depends on when
or where they are written.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.board.contents import Board, Part, Section
from harness.board.page import board_page
from harness.board.tidy import FILE_NAME, TidyRow, to_csv
from harness.board.verdict import Verdict
from harness.report.latex import to_latex
from harness.report.render import MARKDOWN, to_markdown
from harness.report.table import Table
from harness.results.files import write_atomically

PAGE, WORDS, LATEX, TABLES = "index.html", "board.md", "tables.tex", "tables.csv"


def write_board(board: Board, folder: Path, rows: Sequence[TidyRow] = ()) -> list[Path]:
    """Write all files of a board, and return their paths.

    Args:
        board: what to write.
        folder: is made if it is not there.
        rows: tidy results that it was made of; none for published numbers.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        **({FILE_NAME: to_csv(rows)} if rows else {}),
        PAGE: board_page(board),
        WORDS: to_words(board),
        LATEX: to_tables_latex(board),
        TABLES: to_tables_csv(board),
    }
    paths = []
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
        paths.append(folder / name)
    return paths


def to_words(board: Board) -> str:
    """The board in Markdown: tables, what may be said, and what is known of the methods."""
    parts = [f"# {MARKDOWN.text(board.title)}", MARKDOWN.text(board.about)]
    parts.append("\n".join(f"- {MARKDOWN.text(name)}: {MARKDOWN.text(value)}" for name, value in board.facts))
    parts.append(bullets(board.notes))
    parts += ["## Highest scores, track by track", bullets(board.leaders)] if board.leaders else []
    for section in board.sections:
        parts += section_words(section)
    if board.methods:
        parts.append("## Methods")
        parts += [
            f"**{MARKDOWN.text(facts.method)}**: {MARKDOWN.text(facts.title)}\n\n{bullets(facts.notes)}".rstrip()
            for facts in board.methods
        ]
    if board.reasons:
        parts += ["## Why runs are in their tracks", bullets([": ".join(reason) for reason in board.reasons])]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def section_words(section: Section) -> list[str]:
    """One track in Markdown."""
    found = [f"## {MARKDOWN.text(section.title)}", MARKDOWN.text(section.about)]
    for part in section.parts:
        found += part_words(part)
    return found


def part_words(part: Part) -> list[str]:
    """One protocol of a track in Markdown."""
    found = [f"### {MARKDOWN.text(part.title)}"]
    found += [to_markdown(table, transpose=True) for table in part.standings]
    for verdict in part.verdicts:
        found += verdict_words(verdict)
    return [*found, *(to_markdown(table) for table in part.papers)]


def verdict_words(verdict: Verdict) -> list[str]:
    """What the scores of one table allow one to say, in Markdown."""
    found = [f"#### {MARKDOWN.text(verdict.title)}", bullets(verdict.summary)]
    for method, sentences in verdict.sentences.items():
        found += [f"What one may write about {MARKDOWN.text(method)}:", bullets(sentences)]
    return [*found, *(to_markdown(table) for table in verdict.tables)]


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    return "\n".join(f"- {MARKDOWN.text(sentence)}" for sentence in sentences)


def to_tables_latex(board: Board) -> str:
    """All tables in LaTeX, one after the other, each with a label of its own."""
    return "\n".join(to_latex(table, transpose=is_standing(board, table)) for table in board.tables)


def to_tables_csv(board: Board) -> str:
    """All cells of all tables, unrounded."""
    frames = [table.frame() for table in board.tables]
    return str(pd.concat(frames).to_csv(index=False)) if frames else ""


def is_standing(board: Board, table: Table) -> bool:
    """Whether a table has its methods as rows wherever it is shown."""
    return any(table is other for section in board.sections for part in section.parts for other in part.standings)
