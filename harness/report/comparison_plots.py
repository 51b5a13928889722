"""Drawings of comparisons: critical-difference diagrams, and maps of cells for matrices and gains."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Drawing

from harness.report.comparison_figures import CellMap, Drawn, RankDiagram
from harness.report.figures import Figure
from harness.report.look import OWN_LOOK, Look
from harness.report.plots import (
    GAIN,
    LOSS,
    TITLE_LETTER,
    draw,
    file_of,
    key_lines,
    literal,
    shorter,
    text_inches,
    wrapped_lines,
)

# Inches: of the diagram's axis, and of a line of its text; more methods need a longer axis to be told apart.
AXIS_WIDTH, WIDE_AXIS_WIDTH, LINE = 4.4, 6.0, 0.19
MANY_METHODS = 16
# Points of the texts of a diagram of a given width, the first that leaves the axis its shortest length in inches.
RANK_SIZE, RANK_SIZES, SHORTEST_AXIS = 8, (8.0, 7.0, 6.0, 5.0), 1.0
# Of the axis: how far the lines to names reach beyond it. Inches: of the number of a rank, and around a drawing.
REACH, TICK_ROOM, PADDING = 0.03, 0.22, 0.03
NOTE_SIZE = 7
# Lines above the axis for the bar of the critical difference; lines between two bars of cliques.
ABOVE, CLIQUE_STEP = 3.0, 0.55
# Inches of a letter of a cell's text and of a name, and of a line of a cell.
CELL_LETTER, NAME_LETTER, CELL_LINE = 0.062, 0.07, 0.105
CELL_SIZE, NAME_SIZE = 6, 7
# Of a map of a given width: how far its text may shrink, inches between its blocks, degrees of names of columns.
SMALLEST_SCALE, BETWEEN, UPRIGHT = 5 / 6, 0.12, 90
PAGE_HEIGHT = 9.0  # inches of the text of a page
# How strong the colour of the largest value is: text in black stays readable.
STRONGEST = 0.65
COLOURMAP = LinearSegmentedColormap.from_list("gains", [LOSS, "#FFFFFF", GAIN])
EMPTY = "#EEEEEE"


def draw_any(figure: Drawn, names: Sequence[str], file_format: str, look: Look = OWN_LOOK) -> bytes:
    """Any figure as the bytes of a file; arguments as those of `draw`."""
    if isinstance(figure, Figure):
        return draw(figure, names, file_format, look)
    if isinstance(figure, RankDiagram):
        return file_of(partial(rank_drawing, figure, look.width), file_format, look)
    return file_of(partial(cell_drawing, figure, look.width), file_format, look)


def rank_drawing(figure: RankDiagram, whole: float | None = None) -> Drawing:
    """Mean ranks on an axis, names at its sides, bars that join what is not separable.

    Args:
        figure: what it shows.
        whole: width in inches; None: as wide as it needs. It is wider where names in the smallest size leave no axis.
    """
    test = figure.test
    number = len(test.methods)
    half = (number + 1) // 2
    texts = [
        f"{shorter(name)}  {rank:.2f}" if place < half else f"{rank:.2f}  {shorter(name)}"
        for place, (name, rank) in enumerate(zip(test.methods, test.mean_ranks, strict=True))
    ]
    width, size, to_middle = WIDE_AXIS_WIDTH if number > MANY_METHODS else AXIS_WIDTH, float(RANK_SIZE), 0.0
    text_width = width + 2
    if whole is not None:
        width, size, to_middle = fitting_axis(texts[:half], texts[half:], whole)
        text_width = whole
    # Lines below the axis: the bars of cliques, then the names.
    first = 0.9 + CLIQUE_STEP * len(test.cliques)
    notes = [*wrapped(figure.note, text_width), *small(figure, text_width)]
    below = first + half + 0.5 + 0.7 * len(notes)
    drawing = plt.figure(figsize=(width, LINE * (ABOVE + below)))
    axis = drawing.add_axes((0, 0, 1, 1))
    axis.axis("off")
    lowest, highest = 1.0, float(number)
    axis.set_xlim(lowest, highest)
    axis.set_ylim(below, -ABOVE)
    axis.plot([lowest, highest], [0, 0], color="black", linewidth=1, clip_on=False)
    for tick in ticks_of(number, width):
        axis.plot([tick, tick], [0, -0.3], color="black", linewidth=1, clip_on=False)
        axis.text(tick, -0.4, str(tick), ha="center", va="bottom", fontsize=size)
    middle = (lowest + highest) / 2 + to_middle / width * (number - 1)
    draw_critical(axis, test.critical_difference, number, size, width, middle)
    for place, clique in enumerate(test.cliques):
        ends = [test.mean_ranks[test.methods.index(name)] for name in (clique[0], clique[-1])]
        height, margin = 0.6 + CLIQUE_STEP * place, 0.006 * (number - 1)
        axis.plot([ends[0] - margin, ends[1] + margin], [height, height], color="black", linewidth=3,
                  solid_capstyle="butt", clip_on=False, zorder=3)  # fmt: skip
    reach = REACH * (number - 1)
    for place, (text, rank) in enumerate(zip(texts, test.mean_ranks, strict=True)):
        is_left = place < half
        height = first + (place if is_left else number - 1 - place)
        edge = lowest - reach if is_left else highest + reach
        axis.plot([rank, rank, edge], [0, height, height], color="#444444", linewidth=0.8, clip_on=False)
        axis.text(edge + (-reach if is_left else reach) / 3, height, literal(text), va="center", fontsize=size,
                  ha="right" if is_left else "left")  # fmt: skip
    axis.text(middle, -ABOVE, "\n".join(titled(figure.title, text_width)), ha="center", va="bottom", fontsize=10)
    axis.text(middle, first + half, "\n".join(notes), ha="center", va="top", fontsize=NOTE_SIZE)
    return drawing


def fitting_axis(left: Sequence[str], right: Sequence[str], whole: float) -> tuple[float, float, float]:
    """What makes a diagram of ranks as wide as asked.

    Args:
        left, right: texts at both sides of the axis.
        whole: width in inches.

    Returns:
        The length of the axis, the size of the texts in points, and how far the middle of the diagram is to the right
        of that of the axis.
    """
    for size in RANK_SIZES:
        sides = [max((text_inches(text, size) for text in texts), default=0.0) for texts in (left, right)]
        length = (whole - 2 * PADDING - sum(sides)) / (1 + 2 * REACH * 4 / 3)
        if length >= SHORTEST_AXIS:
            break
    return max(length, SHORTEST_AXIS), size, (sides[1] - sides[0]) / 2


def ticks_of(number: int, width: float) -> list[int]:
    """The ranks that are written at an axis of a width in inches: the first, the last, and as many as have room."""
    step = max(1, round(number / 15), ceil((number - 1) * TICK_ROOM / width))
    return [*(rank for rank in range(1, number, step) if number - rank >= step), number]


def draw_critical(axis: Axes, critical: float, number: int, size: float, width: float, middle: float) -> None:
    """The critical difference as a bar above the axis; if it is longer than the axis, only its number.

    Args:
        axis: with ranks 1 to `number`.
        critical: difference of ranks.
        number: of methods.
        size: of the text in points.
        width: of the axis in inches.
        middle: of the whole diagram, as a rank.
    """
    end = 1 + critical
    fits = end <= number
    text = f"critical difference {critical:.2f}"
    if fits:
        axis.plot([1, end], [-1.55, -1.55], color="black", linewidth=1)
        for at in (1.0, end):
            axis.plot([at, at], [-1.75, -1.35], color="black", linewidth=1, clip_on=False)
    # Beside the bar, where it takes no room above a short one.
    if fits and text_inches(text, size) < (number - end) / (number - 1) * width:
        axis.text(end + 0.015 * number, -1.55, text, ha="left", va="center", fontsize=size)
    elif fits:
        # Above the ends of a bar that is shorter than its text.
        is_long = text_inches(text, size) < critical / (number - 1) * width
        at, height = (1 + critical / 2, -1.7) if is_long else (middle, -1.9)
        axis.text(at, height, text, ha="center", va="bottom", fontsize=size)
    else:
        axis.text(middle, -1.55, text, ha="center", va="center", fontsize=size)


@dataclass(frozen=True)
class Grid:
    """The sizes of a map of cells, in inches.

    Attributes:
        width, height: of a cell.
        side: of the names of rows.
        scale: of all texts.
        blocks: the columns that stand beside each other.
        tilt: of the names of columns, in degrees.
        above: room for the names of columns.
    """

    width: float
    height: float
    side: float
    scale: float
    blocks: tuple[range, ...]
    tilt: int
    above: float


def grid_of(figure: CellMap, whole: float | None) -> Grid:
    """The sizes of a map, of any width or of a given one, for which columns continue in blocks below each other."""
    lines = max((len(text) for row in figure.texts for text in row), default=1)
    letters = max((len(line) for row in figure.texts for text in row for line in text), default=1)
    width, height = max(0.42, CELL_LETTER * (letters + 1.5)), CELL_LINE * (lines + 0.9)
    number, longest = len(figure.columns), max(map(len, map(shorter, figure.columns)))
    side = max(map(len, map(shorter, figure.rows))) * NAME_LETTER
    if whole is None:
        tilt = 0 if longest * NAME_LETTER <= width else 45
        # The longest name above the cells, tilted or not, decides where the title begins.
        return Grid(
            width, height, side, 1.0, (range(number),), tilt, 0.25 + (0.6 * NAME_LETTER * longest if tilt else 0.0)
        )
    grids = []
    for scale in (1.0, SMALLEST_SCALE):
        own_side = 0.1 + max(text_inches(shorter(name), NAME_SIZE * scale) for name in figure.rows)
        room = max(width * scale, whole - 2 * PADDING - own_side)
        count = ceil(number / max(1, int(room / (width * scale))))
        most = ceil(number / count)
        blocks = tuple(range(first, min(number, first + most)) for first in range(0, number, most))
        longest_name = max(text_inches(shorter(name), NAME_SIZE * scale) for name in figure.columns)
        tilt = 0 if longest_name + 0.05 <= room / most else 90
        above = 0.25 if not tilt else longest_name + 0.12
        grids.append(Grid(room / most, height * scale, own_side, scale, blocks, tilt, above))
    # Smaller text only where it spares a block.
    return min(grids, key=lambda grid: (len(grid.blocks), -grid.scale))


def height_of(figure: CellMap, whole: float | None) -> float:
    """How high the cells of a map are with the names above them, in inches; `whole` as in `cell_drawing`."""
    grid = grid_of(figure, whole)
    return len(grid.blocks) * (grid.height * len(figure.rows) + grid.above + BETWEEN)


def cell_drawing(figure: CellMap, whole: float | None = None) -> Drawing:
    """Cells in rows and columns, coloured by value, with names above and at the left.

    Args:
        figure: what it shows.
        whole: width in inches; None: as wide as it needs.
    """
    grid = grid_of(figure, whole)
    block_height = grid.height * len(figure.rows)
    width = grid.width * len(grid.blocks[0])
    height = height_of(figure, whole) - grid.above - BETWEEN
    drawing = plt.figure(figsize=(width, height))
    for place, columns in enumerate(grid.blocks):
        bottom = (len(grid.blocks) - 1 - place) * (block_height + grid.above + BETWEEN)
        box = (0, bottom / height, grid.width * len(columns) / width, block_height / height)
        draw_cells(drawing.add_axes(box), figure, columns, grid)
    text_width = max(4.0, width + grid.side) if whole is None else whole
    notes = [*wrapped(figure.note, text_width), *small(figure, text_width)]
    left = -grid.side / width
    title = "\n".join(titled(figure.title, text_width))
    drawing.text(left, 1 + grid.above / height, title, ha="left", va="bottom", fontsize=10)
    drawing.text(left, -0.08 / height, "\n".join(notes), ha="left", va="top", fontsize=NOTE_SIZE)
    return drawing


def draw_cells(axis: Axes, figure: CellMap, columns: range, grid: Grid) -> None:
    """Some columns of a map; the same value has the same colour in all of them."""
    values = np.array([[np.nan if value is None else value for value in row] for row in figure.values])
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    colours = COLOURMAP.with_extremes(bad=EMPTY)
    # The square root keeps small values visible beside a large one.
    shades = (np.sign(values) * np.sqrt(np.abs(values) / (largest or 1.0)) * STRONGEST)[:, columns.start : columns.stop]
    axis.imshow(np.ma.masked_invalid(shades), cmap=colours, vmin=-1, vmax=1, aspect="auto", interpolation="none")
    for row, texts in enumerate(figure.texts):
        for place, column in enumerate(columns):
            weight = "bold" if figure.strong[row][column] else "normal"
            axis.text(place, row, literal_lines(texts[column]), ha="center", va="center",
                      fontsize=CELL_SIZE * grid.scale, weight=weight)  # fmt: skip
    names = [literal(shorter(figure.columns[column])) for column in columns]
    size = NAME_SIZE * grid.scale
    axis.set_xticks(range(len(columns)), names, fontsize=size, rotation=grid.tilt,
                    ha="left" if grid.tilt else "center",
                    va="center" if grid.tilt == UPRIGHT else "baseline", rotation_mode="anchor")  # fmt: skip
    axis.set_yticks(range(len(figure.rows)), [literal(shorter(name)) for name in figure.rows], fontsize=size)
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.grid(visible=False)
    axis.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axis.set_yticks(np.arange(1, len(figure.rows)) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1)
    axis.tick_params(which="minor", length=0)


def wrapped(text: str, width: float) -> list[str]:
    """A note in lines of a width in inches."""
    return textwrap.wrap(literal(text), max(20, int(width / 0.052)))


def small(figure: RankDiagram | CellMap, width: float) -> list[str]:
    """What numbers of variants and marks stand for, in lines."""
    return [*key_lines(figure.key, width), *wrapped_lines(figure.marks, width)]


def titled(title: str, width: float) -> list[str]:
    """A title in lines of a width in inches."""
    return textwrap.wrap(literal(title), max(20, int(width / TITLE_LETTER)), break_on_hyphens=False)


def literal_lines(lines: Sequence[str]) -> str:
    """The lines of a cell; a number below zero has the sign that axes have."""
    return "\n".join(re.sub(r"^-(?=\d)", "\u2212", literal(line)) for line in lines)
