"""A table as LaTeX (booktabs): escaped, and no wider than the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.footnotes import footnotes
from harness.report.render import Markup, text_frame
from harness.report.table import Table
from harness.text import plain

# Tables with more columns of numbers span two text columns and are set on a landscape page.
WIDE = 4
# Points between the margins of one text column, and of a page with two.
LINE_WIDTH, WIDE_LINE_WIDTH = 345.0, 487.0
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
    '"': "''",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "†": r"\textsuperscript{$\dagger$}",
    "‡": r"\textsuperscript{$\ddagger$}",
    "§": r"\textsuperscript{\S}",
    "¶": r"\textsuperscript{\P}",
    "‖": r"\textsuperscript{$\|$}",
    "↓": r"$\downarrow$",
    "≈": r"$\approx$",
    "◆": r"$\diamond$",
    "–": "--",
    "…": r"\ldots{}",
}


@dataclass(frozen=True)
class Size:
    """A font size.

    Attributes:
        command: that begins it.
        digit: width of a digit in points, between that of medium and of bold ones.
        space: half the space between two columns in points.
    """

    command: str
    digit: float
    space: float


SIZES = (
    Size(r"\small", 4.9, 4),
    Size(r"\footnotesize", 4.5, 4),
    Size(r"\scriptsize", 4.2, 4),
    Size(r"\tiny", 3.6, 2.5),
)


def latex(text: str) -> str:
    """Plain text as LaTeX; letters outside ASCII stay as they are, since LaTeX reads UTF-8."""
    return " ".join(latex_word(word) for word in plain(text).split(" "))


def latex_word(word: str) -> str:
    """One word as LaTeX; a long one may be parted behind its seams."""
    seam = r"\allowbreak{}" if len(word) > LONGEST_WORD else ""
    escaped = "".join(CHARACTERS.get(one, one) + (seam if one in SEAMS else "") for one in word)
    # Two hyphens would become a dash.
    return escaped.replace("--", "-{}-") if "–" not in word else escaped


LATEX = Markup(
    bold=lambda text: rf"\textbf{{{text}}}",
    underline=lambda text: rf"\underline{{{text}}}",
    spread=lambda text: rf"\,{{\scriptsize$\pm$\,{text}}}",
    text=latex,
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
    """A booktabs table in a float, with its footnote; the document needs `\\usepackage{booktabs}`."""
    frame = text_frame(table, LATEX, transpose)
    names = 1 if transpose else 2
    is_wide = frame.shape[1] - names > WIDE
    float_name = "table*" if is_wide else "table"
    layout = plan(table, names, transpose, WIDE_LINE_WIDTH if is_wide else LINE_WIDTH)
    note = latex(" ".join(footnotes(table, transpose)))
    lines = frame.values.tolist()
    tabulars = []
    for part in layout.parts:
        places = [*range(names), *part]
        rows = []
        for index, line in enumerate(lines):
            rows += [r"\midrule"] if index and line[0] and not transpose else []
            rows.append(" & ".join(line[place] for place in places) + r" \\")
        if layout.size in SIZES[-2:]:
            rows = [row.replace(r"{\scriptsize$", r"{\tiny$") for row in rows]
        head = " & ".join(str(frame.columns[place]) for place in places) + r" \\"
        tabulars.append(
            "\n".join(
                [
                    rf"\begin{{tabular}}{{{layout.names}{'r' * len(part)}}}",
                    r"\toprule",
                    head,
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                ]
            )
        )
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            rf"\begin{{{float_name}}}[t]",
            r"\centering",
            rf"\caption{{{latex(caption or table.title)}}}",
            rf"\label{{{label or f'tab:{table.name}'}}}",
            rf"{layout.size.command}\setlength{{\tabcolsep}}{{{layout.size.space:g}pt}}",
            "\n\\par\\medskip\n".join(tabulars),
            r"\par\medskip",
            rf"\begin{{minipage}}{{\linewidth}}\scriptsize\sloppy {note}\end{{minipage}}",
            rf"\end{{{float_name}}}",
            "",
        ]
    )


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
