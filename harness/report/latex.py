"""A table as LaTeX (booktabs): escaped, set as a typesetter would, and neither wider nor longer than the page."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.experiment.registry import method_names
from harness.report.display_names import shown_label, with_protocols
from harness.report.footnotes import footnotes
from harness.report.render import Markup, text_frame
from harness.report.table import Table
from harness.text import plain

# Tables with more columns of numbers span two text columns and are set on a landscape page.
WIDE = 4
# Points between the margins of one text column, and of a page with two.
LINE_WIDTH, WIDE_LINE_WIDTH = 345.0, 487.0
# Points between the margins of a page, upright and landscape, without the caption.
UPRIGHT_HEIGHT, LANDSCAPE_HEIGHT = 660.0, 480.0
# Of the notes below a table, in \scriptsize: points of a character and of a line.
NOTE_CHARACTER, NOTE_LINE = 3.4, 8.0
# The names of rows are wrapped where they would take more of the line.
NAMES_SHARE = 0.3
# Longer words may be parted behind one of SEAMS.
LONGEST_WORD, SEAMS = 20, "/_-,=.:"
CHARACTERS = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    # A row that begins with these would be read as an option of the line break before it.
    **{character: f"{{{character}}}" for character in "[]*"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "“": "``",
    "”": "''",
    "\u2018": "`",
    "\u2019": "'",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\u2212": "$-$",
    "\u00d7": r"$\times$",
    "†": r"\textsuperscript{$\dagger$}",
    "‡": r"\textsuperscript{$\ddagger$}",
    "§": r"\textsuperscript{\S}",
    "¶": r"\textsuperscript{\P}",
    "‖": r"\textsuperscript{$\|$}",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "◆": r"$\diamond$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
}


@dataclass(frozen=True)
class Size:
    """A font size.

    Attributes:
        command: that begins it.
        digit: width of a digit in points, between that of medium and of bold ones.
        space: half the space between two columns in points.
        row: height of a row in points.
        rule: height of a rule in points, with the space around it.
    """

    command: str
    digit: float
    space: float
    row: float
    rule: float


SIZES = (
    Size(r"\small", 4.9, 4, 11, 5),
    Size(r"\footnotesize", 4.5, 4, 9.5, 4.5),
    Size(r"\scriptsize", 4.2, 4, 8, 4),
    Size(r"\tiny", 3.6, 2.5, 6.5, 3.5),
)


# What quotes follow that open: nothing, a space, an opening sign. All others close.
OPENING = r"(^|[\s(\[{=/–-])"
TYPESET = (
    (re.compile(rf'{OPENING}"'), r"\1“"),
    (re.compile('"'), "”"),
    (re.compile(rf"{OPENING}'(?=\w)"), "\\1\u2018"),
    (re.compile(r"(?<![\w.\-])-(?=\d)"), "\u2212"),
    (re.compile(r"(?<=\s)x(?=\s)"), "\u00d7"),
    (re.compile(r"\.\.\.(?!\.)"), "…"),
)
"""What is typed, and the sign that a typesetter would set: quotes, a minus before a number, times, an ellipsis."""


def latex(text: str) -> str:
    """Plain text as LaTeX; letters outside ASCII stay as they are, since LaTeX reads UTF-8."""
    text = plain(text)
    for typed, sign in TYPESET:
        text = typed.sub(sign, text)
    return " ".join(latex_word(word) for word in text.split(" "))


def latex_word(word: str) -> str:
    """One word as LaTeX; a long one may be parted behind its seams."""
    seam = r"\allowbreak{}" if len(word) > LONGEST_WORD else ""
    # Two hyphens would become a dash.
    parts = [CHARACTERS.get(one, one) + (seam if one in SEAMS else "") for one in word.replace("--", "-\0-")]
    return "".join(parts).replace("\0", "{}")


def caption_of(title: str) -> str:
    """The title of a table as a sentence: `base_to_new, 16 shots` becomes `Base-to-new, 16 shots.`"""
    words = with_protocols(title)
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


LATEX = Markup(
    bold=lambda text: rf"\textbf{{{text}}}",
    underline=lambda text: rf"\underline{{{text}}}",
    spread=lambda text: rf"\,{{\scriptsize$\pm$\,{text}}}",
    text=latex,
    number=lambda number: number.replace("-", "$-$"),
    worse=r"\textsuperscript{*}",
    mark=latex,
)
BARE = Markup(
    bold=lambda text: text,
    underline=lambda text: text,
    spread=lambda text: f" ± {text}",
    text=plain,
    mark=lambda mark: mark,
)


@dataclass(frozen=True)
class Plan:
    """How a table is made to fit.

    Attributes:
        size: of its font.
        names: column types of the names of rows.
        parts: places of the columns of each part; parts are printed one below the other.
    """

    size: Size
    names: str
    parts: tuple[tuple[int, ...], ...]


def plan(table: Table, names: int, transpose: bool, line: float) -> Plan:
    """The largest font in which a table fits a line, in the smallest one in several parts if need be.

    Args:
        table: the table.
        names: number of columns of names.
        transpose: whether methods are rows.
        line: points.
    """
    frame = text_frame(table, BARE, transpose)
    lengths = [
        max(len(text) for text in (str(title), *map(str, frame.iloc[:, place])))
        for place, title in enumerate(frame.columns)
    ]
    for size in SIZES:
        widths = [size.digit * length + 2 * size.space for length in lengths]
        most = NAMES_SHARE * line
        kinds = "".join("l" if width <= most else f"p{{{most - 2 * size.space:.0f}pt}}" for width in widths[:names])
        left = line - sum(min(width, most) for width in widths[:names])
        if sum(widths[names:]) <= left or size is SIZES[-1]:
            break
    parts: list[list[int]] = [[]]
    used = 0.0
    for place in range(names, len(widths)):
        if parts[-1] and used + widths[place] > left:
            parts.append([])
            used = 0.0
        parts[-1].append(place)
        used += widths[place]
    return Plan(size, kinds, tuple(map(tuple, parts)))


def to_latex(table: Table, caption: str | None = None, label: str | None = None, transpose: bool = False) -> str:
    """A booktabs table with its footnote; the document needs `\\usepackage{booktabs}`.

    What is longer than a page stands in several floats, the first of which has caption and label.
    """
    note = latex(typeset_note(table, transpose))
    table = with_titles(table)
    frame = text_frame(table, LATEX, transpose)
    names = 1 if transpose else 2
    is_wide = frame.shape[1] - names > WIDE
    line = WIDE_LINE_WIDTH if is_wide else LINE_WIDTH
    layout = plan(table, names, transpose, line)
    head = [str(name) for name in frame.columns]
    lines = frame.values.tolist()
    height = LANDSCAPE_HEIGHT if is_wide else UPRIGHT_HEIGHT
    pieces = []
    for part in layout.parts:
        for rows in row_groups(lines, height, layout.size, transpose):
            text = tabular(head, rows, [*range(names), *part], layout, transpose)
            pieces.append((text, height_of(rows, layout.size, transpose)))
    below = rf"\begin{{minipage}}{{\linewidth}}\scriptsize\sloppy {note}\end{{minipage}}"
    pieces.append((below, NOTE_LINE * math.ceil(len(note) * NOTE_CHARACTER / line)))
    label = label or f"tab:{table.name}"
    words = latex(caption or caption_of(table.title))
    floats = []
    for number, texts in enumerate(pages(pieces, height)):
        first = [rf"\caption{{{words}}}", rf"\label{{{label}}}"]
        floats.append(in_float(first if not number else [continued(label)], texts, layout.size, is_wide))
    return "\n".join([r"% needs \usepackage{booktabs}", *floats, ""])


def titles_of(table: Table) -> dict[str, str]:
    """Label of a column -> the same with the method as its paper calls it; those alone that change."""
    if table.by_column:
        return {}
    shown = {label: shown_label(label, method_names()) for label in table.columns}
    return {label: title for label, title in shown.items() if title != label}


def with_titles(table: Table) -> Table:
    """The table with methods called as their papers call them."""
    titles = titles_of(table)
    cells = tuple(replace(cell, column=titles.get(cell.column, cell.column)) for cell in table.cells)
    return replace(table, cells=cells)


def typeset_note(table: Table, transpose: bool) -> str:
    """The footnotes of a table, in which its methods are called as in its head."""
    note = " ".join(footnotes(table, transpose))
    for label, title in sorted(titles_of(table).items(), key=lambda item: -len(item[0])):
        # Not where it is part of a setting, a file, or the name of a run.
        pattern = rf"(?<![\w./=`-]){re.escape(label)}(?![\w/=`-]|\.\w)"
        note = title.join(re.split(pattern, note))
    return note


def in_float(above: Sequence[str], texts: Sequence[str], size: Size, is_wide: bool) -> str:
    """Pieces of a table in a float, below its caption."""
    name = "table*" if is_wide else "table"
    begin = [rf"\begin{{{name}}}[t]", r"\centering", *above]
    setting = rf"{size.command}\setlength{{\tabcolsep}}{{{size.space:g}pt}}"
    return "\n".join([*begin, setting, "\n\\par\\medskip\n".join(texts), rf"\end{{{name}}}"])


def continued(label: str) -> str:
    """What stands above the further floats of a table."""
    return rf"{{\small Table~\ref{{{label}}}, continued.\par\medskip}}"


def tabular(
    head: Sequence[str], lines: Sequence[Sequence[str]], places: Sequence[int], layout: Plan, transpose: bool
) -> str:
    """Some columns of some rows, with rules between blocks."""
    rows = []
    for index, line in enumerate(lines):
        rows += [r"\midrule"] if index and line[0] and not transpose else []
        rows.append(" & ".join(line[place] for place in places) + r" \\")
    if layout.size in SIZES[-2:]:
        rows = [row.replace(r"{\scriptsize$", r"{\tiny$") for row in rows]
    titles = " & ".join(head[place] for place in places) + r" \\"
    columns = layout.names + "r" * (len(places) - (1 if transpose else 2))
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", titles, r"\midrule"]
    return "\n".join([*begin, *rows, r"\bottomrule", r"\end{tabular}"])


def height_of(lines: Sequence[Sequence[str]], size: Size, transpose: bool) -> float:
    """Points of a tabular with these rows, its head and rules."""
    rules = 3 + (0 if transpose else sum(bool(line[0]) for line in lines[1:]))
    return size.row * (len(lines) + 1) + size.rule * rules + size.row


def row_groups(lines: list[list[str]], height: float, size: Size, transpose: bool) -> list[list[list[str]]]:
    """The rows of a table, parted before a block where they are longer than a page."""
    groups: list[list[list[str]]] = [[]]
    for line in lines:
        is_start = transpose or bool(line[0])
        if is_start and groups[-1] and height_of([*groups[-1], line], size, transpose) > 0.8 * height:
            groups.append([])
        groups[-1].append(line)
    return groups


def pages(pieces: Sequence[tuple[str, float]], height: float) -> list[list[str]]:
    """Pieces (text, points) that fit a page together, in their order."""
    found: list[list[str]] = [[]]
    used = 0.0
    for text, points in pieces:
        if found[-1] and used + points > height:
            found.append([])
            used = 0.0
        found[-1].append(text)
        used += points
    return found


def latex_document(tables: Sequence[str]) -> str:
    """A complete document that holds some LaTeX tables."""
    body = "\n\\clearpage\n".join(tables)
    return "\n".join(
        [
            r"\documentclass[10pt]{article}",
            r"\usepackage{booktabs}",
            rf"\usepackage[{'landscape,' if body.count('{table*}') else ''}margin=1.5cm]{{geometry}}",
            r"\begin{document}",
            body,
            r"\end{document}",
            "",
        ]
    )
