"""A table as text: for the terminal, Markdown, CSV and HTML; `latex.py` writes LaTeX."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from rich.markup import escape

from harness.report.footnotes import FAILED_MARK, MISSING_MARK, WORSE_MARK, footnotes
from harness.report.marks import BELOW_MARK, REFUSED_MARK
from harness.report.table import COSTS, REFUSED, Cell, Table
from harness.results.folder import FAILED
from harness.text import plain

# What Markdown reads as emphasis, code, a link, HTML, a formula, a heading or the border of a cell.
MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]<>|~$&#])")
SUFFIXES = {"md": "md", "latex": "tex", "csv": "csv", "html": "html"}


@dataclass(frozen=True)
class Markup:
    """How an output format writes the parts of a cell."""

    bold: Callable[[str], str]
    underline: Callable[[str], str]
    spread: Callable[[str], str]
    text: Callable[[str], str]
    number: Callable[[str], str] = lambda number: number
    worse: str = WORSE_MARK
    mark: Callable[[str], str] = lambda mark: f" {mark}"


HTML = Markup(
    bold=lambda text: f"<b>{text}</b>",
    underline=lambda text: f"<u>{text}</u>",
    spread=lambda text: f" <small>± {text}</small>",
    text=lambda text: html.escape(plain(text)),
    worse="<sup>*</sup>",
    mark=lambda mark: f"<sup>{mark}</sup>",
)
MARKDOWN = Markup(
    bold=lambda text: f"**{text}**",
    underline=lambda text: f"<u>{text}</u>",
    spread=lambda text: f" ± {text}",
    text=lambda text: MARKDOWN_SIGNS.sub(r"\\\1", plain(text)),
    worse=r"\*",
)
TERMINAL = Markup(
    bold=lambda text: f"[bold]{text}[/bold]",
    underline=lambda text: f"[underline]{text}[/underline]",
    spread=lambda text: f" ± {text}",
    text=lambda text: escape(plain(text)),
)


def cell_text(cell: Cell, markup: Markup) -> str:
    """A cell as text: `76.50 ± 0.31`, a dash if there is no number, its mark, and `(2)` if only 2 seeds are there.

    Cells of published columns are empty if the paper has no such number.
    """
    if cell.mean is None and cell.published:
        return ""
    if cell.mean is None:
        words = {FAILED: FAILED_MARK, REFUSED: REFUSED_MARK}
        return markup.text(words.get(cell.state, MISSING_MARK))
    number = markup.number(f"{cell.mean:.{cell.digits}f}")
    number = markup.bold(number) if cell.rank == 1 else markup.underline(number) if cell.rank == 2 else number
    spread = markup.spread(f"{cell.std:.{cell.digits}f}") if cell.std is not None else ""
    few = f" ({cell.seeds})" if 0 < cell.seeds < cell.planned else ""
    marks = "".join(markup.mark(mark) for mark in (BELOW_MARK if cell.below else "", cell.mark) if mark)
    return f"{number}{spread}{markup.worse if cell.worse else ''}{marks}{few}"


def text_frame(table: Table, markup: Markup, transpose: bool = False) -> pd.DataFrame:
    """The table as text cells: two columns of row names (one if transposed), then one column per method or metric."""
    cells = {(cell.block, cell.row, cell.column): cell_text(cell, markup) for cell in table.cells}
    dash = markup.text(MISSING_MARK)
    rows = {row: [cells.get((*row, column), dash) for column in table.columns] for row in table.rows}
    if transpose:
        shown = (dict.fromkeys(part for part in row if part and part != COSTS) for row in shown_rows(table))
        names = [" ".join(parts) for parts in shown]
        flipped = pd.DataFrame(rows.values(), columns=[markup.text(name) for name in table.columns]).T
        flipped.columns = pd.Index([markup.text(name) for name in names])
        return flipped.reset_index(names="method" if not table.by_column else "")
    frame = pd.DataFrame(rows.values(), columns=[markup.text(name) for name in table.columns])
    heads = pd.DataFrame([[markup.text(part) for part in row] for row in shown_rows(table)], columns=[0, 1])
    heads[0] = heads[0].where(heads[0] != heads[0].shift(), "")
    frame.insert(0, "row", heads[1])
    frame.insert(0, "block", heads[0])
    frame.columns = pd.Index([*map(markup.text, table.headers), *frame.columns[2:]])
    return frame


def shown_rows(table: Table) -> list[tuple[str, str]]:
    """(block, row) in order, with the short names of rows."""
    return [(block, table.row_names.get(row, row)) for block, row in table.rows]


def to_csv(table: Table) -> str:
    """One line per cell, numbers unrounded: for programs."""
    return str(table.frame().to_csv(index=False))


def to_markdown(table: Table, transpose: bool = False) -> str:
    """A Markdown table with its title and footnote."""
    frame = text_frame(table, MARKDOWN, transpose)
    names = 1 if transpose else 2
    lines = [list(frame.columns), ["---"] * names + ["---:"] * (frame.shape[1] - names), *frame.values.tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{MARKDOWN.text(table.title)}**\n\n{body}\n\n{MARKDOWN.text(' '.join(footnotes(table, transpose)))}\n"


def to_html(table: Table, transpose: bool = False, extra: str = "") -> str:
    """An HTML table, to be put into a page.

    Args:
        table: the table.
        transpose: methods as rows.
        extra: HTML to put next to its title.
    """
    frame = text_frame(table, HTML, transpose)
    names = 1 if transpose else 2
    means = {(cell.block, cell.row, cell.column): cell.mean for cell in table.cells}
    head = "".join(
        f'<th scope="col"{" class=words" if number < names else ""}>{name}</th>'
        for number, name in enumerate(frame.columns)
    )
    body = ""
    for index, line in enumerate(frame.values.tolist()):
        # Every row repeats the name of its block, so that rows can be sorted; the page shows the name once.
        block = "" if transpose or line[0] else f'<span class="same">{HTML.text(table.rows[index][0])}</span>'
        cells = "".join(
            f'<th scope="row">{text or (block if not place else "")}</th>' for place, text in enumerate(line[:names])
        )
        for place, text in enumerate(line[names:]):
            key = (
                (*table.rows[place], table.columns[index]) if transpose else (*table.rows[index], table.columns[place])
            )
            mean = means.get(key)
            cells += f"<td>{text}</td>" if mean is None else f'<td data-v="{mean:.6g}">{text}</td>'
        body += f"<tr{' class=block' if line[0] and index and not transpose else ''}>{cells}</tr>\n"
    note = HTML.text(" ".join(footnotes(table, transpose)))
    return (
        f'<figure class="table"><figcaption><span>{HTML.text(table.title)}</span>{extra}</figcaption>\n'
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'
        f'<p class="note">{note}</p></figure>\n'
    )
