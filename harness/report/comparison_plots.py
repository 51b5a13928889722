"""Drawings of comparisons: critical-difference diagrams, and maps of cells for matrices and gains."""

import textwrap
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Drawing

from harness.report.comparison_figures import CellMap, Drawn, RankDiagram
from harness.report.figures import Figure
from harness.report.look import OWN_LOOK, Look
from harness.report.plots import GAIN, LOSS, TITLE_LETTER, draw, file_of, key_lines, literal, shorter, wrapped_lines

# Inches: of the diagram's axis, and of a line of its text; more methods need a longer axis to be told apart.
AXIS_WIDTH, WIDE_AXIS_WIDTH, LINE = 4.4, 6.0, 0.19
MANY_METHODS = 16
NOTE_SIZE = 7
# Lines above the axis for the bar of the critical difference; lines between two bars of cliques.
ABOVE, CLIQUE_STEP = 3.0, 0.55
# Inches of a letter of a cell's text and of a name, and of a line of a cell.
CELL_LETTER, NAME_LETTER, CELL_LINE = 0.062, 0.07, 0.105
CELL_SIZE, NAME_SIZE = 6, 7
# How strong the colour of the largest value is: text in black stays readable.
STRONGEST = 0.65
COLOURMAP = LinearSegmentedColormap.from_list("gains", [LOSS, "#FFFFFF", GAIN])
EMPTY = "#EEEEEE"


def draw_any(figure: Drawn, names: Sequence[str], file_format: str, look: Look = OWN_LOOK) -> bytes:
    """Any figure as the bytes of a file; arguments as those of `draw`."""
    if isinstance(figure, Figure):
        return draw(figure, names, file_format, look)
    compose = partial(rank_drawing, figure) if isinstance(figure, RankDiagram) else partial(cell_drawing, figure)
    return file_of(compose, file_format, look)


def rank_drawing(figure: RankDiagram) -> Drawing:
    """Mean ranks on an axis, names at its sides, bars that join what is not separable."""
    test = figure.test
    number = len(test.methods)
    width = WIDE_AXIS_WIDTH if number > MANY_METHODS else AXIS_WIDTH
    half = (number + 1) // 2
    # Lines below the axis: the bars of cliques, then the names.
    first = 0.9 + CLIQUE_STEP * len(test.cliques)
    notes = [*wrapped(figure.note, width + 2), *small(figure, width + 2)]
    below = first + half + 0.5 + 0.7 * len(notes)
    drawing = plt.figure(figsize=(width, LINE * (ABOVE + below)))
    axis = drawing.add_axes((0, 0, 1, 1))
    axis.axis("off")
    lowest, highest = 1.0, float(number)
    axis.set_xlim(lowest, highest)
    axis.set_ylim(below, -ABOVE)
    axis.plot([lowest, highest], [0, 0], color="black", linewidth=1, clip_on=False)
    step = max(1, round(number / 15))
    for tick in {*range(1, number + 1, step), number} - ({number - 1} if step > 1 else set()):
        axis.plot([tick, tick], [0, -0.3], color="black", linewidth=1, clip_on=False)
        axis.text(tick, -0.4, str(tick), ha="center", va="bottom", fontsize=8)
    draw_critical(axis, test.critical_difference, number)
    for place, clique in enumerate(test.cliques):
        ends = [test.mean_ranks[test.methods.index(name)] for name in (clique[0], clique[-1])]
        height, margin = 0.6 + CLIQUE_STEP * place, 0.006 * (number - 1)
        axis.plot([ends[0] - margin, ends[1] + margin], [height, height], color="black", linewidth=3,
                  solid_capstyle="butt", clip_on=False, zorder=3)  # fmt: skip
    reach = 0.03 * (number - 1)
    for place, (name, rank) in enumerate(zip(test.methods, test.mean_ranks, strict=True)):
        is_left = place < half
        height = first + (place if is_left else number - 1 - place)
        edge = lowest - reach if is_left else highest + reach
        axis.plot([rank, rank, edge], [0, height, height], color="#444444", linewidth=0.8, clip_on=False)
        text = f"{shorter(name)}  {rank:.2f}" if is_left else f"{rank:.2f}  {shorter(name)}"
        axis.text(edge + (-reach if is_left else reach) / 3, height, literal(text), va="center", fontsize=8,
                  ha="right" if is_left else "left")  # fmt: skip
    middle = (lowest + highest) / 2
    axis.text(middle, -ABOVE, "\n".join(titled(figure.title, width + 2)), ha="center", va="bottom", fontsize=10)
    axis.text(middle, first + half, "\n".join(notes), ha="center", va="top", fontsize=NOTE_SIZE)
    return drawing


def draw_critical(axis: Axes, critical: float, number: int) -> None:
    """The critical difference as a bar above the axis; if it is longer than the axis, only its number."""
    end = 1 + critical
    fits = end <= number
    text = f"critical difference {critical:.2f}"
    if fits:
        axis.plot([1, end], [-1.55, -1.55], color="black", linewidth=1)
        for at in (1.0, end):
            axis.plot([at, at], [-1.75, -1.35], color="black", linewidth=1, clip_on=False)
    # Beside the bar, where it takes no room above a short one.
    at, side = (end + 0.015 * number, "left") if fits and critical < 0.6 * number else ((1 + number) / 2, "center")
    axis.text(at, -1.55 if side == "left" or not fits else -1.7, text, ha=side, fontsize=8,
              va="center" if side == "left" or not fits else "bottom")  # fmt: skip


def cell_drawing(figure: CellMap) -> Drawing:
    """Cells in rows and columns, coloured by value, with names above and at the left."""
    lines = max((len(text) for row in figure.texts for text in row), default=1)
    letters = max((len(line) for row in figure.texts for text in row for line in text), default=1)
    width = max(0.42, CELL_LETTER * (letters + 1.5))
    height = CELL_LINE * (lines + 0.9)
    columns, rows = len(figure.columns), len(figure.rows)
    drawing = plt.figure(figsize=(width * columns, height * rows))
    axis = drawing.add_axes((0, 0, 1, 1))
    values = np.array([[np.nan if value is None else value for value in row] for row in figure.values])
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    colours = COLOURMAP.with_extremes(bad=EMPTY)
    # The square root keeps small values visible beside a large one.
    shades = np.sign(values) * np.sqrt(np.abs(values) / (largest or 1.0)) * STRONGEST
    axis.imshow(np.ma.masked_invalid(shades), cmap=colours, vmin=-1, vmax=1, aspect="auto", interpolation="none")
    for row, texts in enumerate(figure.texts):
        for column, text in enumerate(texts):
            weight = "bold" if figure.strong[row][column] else "normal"
            axis.text(column, row, literal_lines(text), ha="center", va="center", fontsize=CELL_SIZE, weight=weight)
    tilt = 0 if max(map(len, figure.columns)) * NAME_LETTER <= width else 45
    names = [literal(shorter(name)) for name in figure.columns]
    axis.set_xticks(range(columns), names, fontsize=NAME_SIZE, rotation=tilt, ha="left" if tilt else "center",
                    rotation_mode="anchor")  # fmt: skip
    axis.set_yticks(range(rows), [literal(shorter(name)) for name in figure.rows], fontsize=NAME_SIZE)
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.grid(visible=False)
    axis.set_xticks(np.arange(1, columns) - 0.5, minor=True)
    axis.set_yticks(np.arange(1, rows) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1)
    axis.tick_params(which="minor", length=0)
    side = max(map(len, figure.rows)) * NAME_LETTER
    # The longest name above the cells, tilted or not, decides where the title begins.
    above = 0.25 + (0.6 * NAME_LETTER * max(map(len, names)) if tilt else 0.0)
    whole = max(4.0, width * columns + side)
    notes = [*wrapped(figure.note, whole), *small(figure, whole)]
    size = drawing.get_size_inches()
    left = -side / size[0]
    drawing.text(left, 1 + above / size[1], "\n".join(titled(figure.title, whole)), ha="left", va="bottom", fontsize=10)
    drawing.text(left, -0.08 / size[1], "\n".join(notes), ha="left", va="top", fontsize=NOTE_SIZE)
    return drawing


def wrapped(text: str, width: float) -> list[str]:
    """A note in lines of a width in inches."""
    return textwrap.wrap(literal(text), max(20, int(width / 0.052)))


def small(figure: RankDiagram | CellMap, width: float) -> list[str]:
    """What numbers of variants and marks stand for, in lines."""
    return [*key_lines(figure.key, width), *wrapped_lines(figure.marks, width)]


def titled(title: str, width: float) -> list[str]:
    """A title in lines of a width in inches."""
    return textwrap.wrap(literal(title), max(20, int(width / TITLE_LETTER)))


def literal_lines(lines: Sequence[str]) -> str:
    """The lines of a cell."""
    return "\n".join(literal(line) for line in lines)
