"""Figures for print, all in one style: colours that colour-blind readers can tell apart, and markers."""

import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl

mpl.use("agg")  # no window, whatever the machine has

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Drawing
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.figures import BARS, LINES, RELIABILITY, STACKED, Figure, Panel, Series
from harness.report.labels import NUMBERED, is_plain
from harness.report.look import OWN_LOOK, Look
from harness.report.marks import marked
from harness.text import plain

FORMATS = ("svg", "pdf", "png")
# Okabe and Ito, "Color universal design" (2008), without yellow, which is hard to see on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6E6E6E")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
HATCHES = ("", "////", "\\\\\\\\", "xxxx")
MOST_TICKS = 10
LONGEST_NAME = 40
GAIN, LOSS = COLOURS[0], COLOURS[1]
PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.5  # inches; two panels are as wide as a page's text
MOST_COLUMNS = 3
NARROWEST_PANEL = 2.2  # inches, of a figure whose width is given
GREY = "#CFCFCF"
BELOW_AXIS = -0.17  # of the height of an axis: where a legend of its own begins, below its numbers and its title
TITLE_LETTER, TITLE_HEIGHT = 0.075, 0.17  # inches
LEGEND_COLUMNS, LEGEND_HEIGHT = 8, 0.2
# Points of a legend's text; inches: the mark of its entry with its spaces, the last of these, a letter of 8 points.
LEGEND_SIZE, LEGEND_MARK, LEGEND_SPACE, LETTER = 8, 0.52, 0.2, 0.075
# What the numbers of variants stand for: points, inches of a line, inches of a letter, most variants.
KEY_SIZE, KEY_HEIGHT, KEY_LETTER, MOST_KEYS = 6, 0.1, 0.048, 12
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.03,
    "svg.fonttype": "none",
    "svg.hashsalt": "skipbench",  # the same figure gives the same file
    "pdf.fonttype": 42,
}


def draw(figure: Figure, names: Sequence[str], file_format: str, look: Look = OWN_LOOK) -> bytes:
    """A figure as the bytes of a file.

    Args:
        figure: what it shows.
        names: of all methods, so that each looks the same in every figure; other series take the remaining styles.
        file_format: svg, pdf or png.
        look: width, fonts and colours that a user asked for.
    """
    shown = [series.name for panel in figure.panels for series in panel.series]
    names = list(dict.fromkeys([*names, *shown]))
    return file_of(lambda: compose(figure, names, look), file_format, look)


def file_of(compose_drawing: Callable[[], Drawing], file_format: str, look: Look = OWN_LOOK) -> bytes:
    """A drawing as the bytes of a file, in the style that all of them share.

    Args:
        compose_drawing: makes it.
        file_format: svg, pdf or png.
        look: settings in place of those of the style.
    """
    settings: Any = {**STYLE, **look.settings}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A letter that no font on this machine has is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawing = compose_drawing()
        file = BytesIO()
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        drawing.savefig(file, format=file_format, metadata=dates.get(file_format))
        plt.close(drawing)
    return file.getvalue()


def compose(figure: Figure, names: Sequence[str], look: Look = OWN_LOOK) -> Drawing:
    """All panels of a figure, with one legend below them."""
    panels = [panel for panel in figure.panels if panel.series]
    columns = min(len(panels), most_columns(figure, look))
    rows = math.ceil(len(panels) / columns)
    bars = max((len(one.x) for panel in panels for one in panel.series), default=0)
    lying = figure.kind in (BARS, STACKED)
    is_shared_out = any(panel.context for panel in panels)
    shown = {legend_name(one) for panel in panels for one in panel.series}
    height = max(PANEL_HEIGHT if figure.kind == BARS else 1.0, 0.17 * bars + 0.7) if lying else PANEL_HEIGHT
    # Many lines need room to be followed.
    height *= 1.5 if figure.kind == LINES and len(shown) > len(COLOURS) else 1
    width = PANEL_WIDTH * (1.6 if len(panels) == 1 else 1) * columns if look.width is None else look.width
    size = mpl.rcParams["legend.fontsize"]
    longest = max(
        (text_inches(name, size if isinstance(size, int | float) else LEGEND_SIZE) for name in shown), default=0.1
    )
    legend_columns = max(1, min(LEGEND_COLUMNS, int((width + LEGEND_SPACE) / (LEGEND_MARK + longest))))
    legend_lines = 0 if is_shared_out else math.ceil(len(shown) / legend_columns)
    # As many entries in each line: not five and one.
    legend_columns = math.ceil(len(shown) / legend_lines) if legend_lines else legend_columns
    key = small_print(figure, width)
    title = textwrap.wrap(literal(figure.title), int(width / TITLE_LETTER), break_on_hyphens=False)
    around = TITLE_HEIGHT * len(title) + LEGEND_HEIGHT * legend_lines + KEY_HEIGHT * len(key)
    drawing, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, height * rows + around),
        squeeze=False,
        layout="constrained",
        sharey="row" if is_shared_out else has_common_heights(figure, panels),
    )
    cells = list(axes.flat)
    for axis, panel in zip(cells, panels, strict=False):
        draw_panel(axis, figure, panel, names, look)
    for axis in cells[len(panels) :]:
        axis.axis("off")
    if figure.kind == BARS:
        limits = [limit for axis in cells[: len(panels)] for limit in axis.get_xlim()]
        for axis in cells[: len(panels)]:
            axis.set_xlim(min(limits), max(limits))
    for number, (axis, panel) in enumerate(zip(cells, panels, strict=False)):
        is_lowest = number + columns >= len(panels) or is_shared_out
        axis.set_xlabel(literal(panel.x_label or (figure.x_label if is_lowest else "")))
        y_label = textwrap.wrap(literal(figure.y_label), int(0.8 * height / LETTER))
        axis.set_ylabel("\n".join(y_label) if number % columns == 0 else "")
    drawing.suptitle("\n".join(title), fontsize=10)
    handles = {label: handle for axis in cells for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles and not is_shared_out:
        drawing.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=min(len(handles), legend_columns),
            title="\n".join(key),
            title_fontsize=KEY_SIZE,
        )
    elif key:
        drawing.supxlabel("\n".join(key), fontsize=KEY_SIZE)
    return drawing


def most_columns(figure: Figure, look: Look) -> int:
    """How many panels stand beside each other at most."""
    if look.width is not None:
        return max(1, min(MOST_COLUMNS, int(look.width / NARROWEST_PANEL)))
    # Four panels of shared-out lines are two rows of two.
    return 2 if len(figure.panels) == 4 else MOST_COLUMNS


def has_common_heights(figure: Figure, panels: Sequence[Panel]) -> bool:
    """Whether all panels have the same vertical axis: numbers of one kind, or the same bars."""
    if figure.kind == BARS:
        return len({panel.series[0].x for panel in panels}) == 1
    return figure.kind != STACKED


def small_print(figure: Figure, width: float) -> list[str]:
    """What a reader must know beside the legend, in lines: numbers of variants, marks, and what bars are."""
    return [*key_lines(figure.key, width), *wrapped_lines((*figure.marks, figure.note), width)]


def key_lines(key: Sequence[str], width: float) -> list[str]:
    """What the numbers of variants stand for, in lines of a width in inches; of many variants, where that is told."""
    if len(key) > MOST_KEYS:
        return ["what the numbers stand for is told below the table of these runs"]
    return wrapped_lines(key, width)


def wrapped_lines(texts: Sequence[str], width: float) -> list[str]:
    """Small texts in lines of a width in inches."""
    return [line for text in texts for line in textwrap.wrap(literal(text), int(width / KEY_LETTER))]


def shorter(name: str) -> str:
    """A name of a bar, its middle left out where it would take the place of the bars."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half + 1 :]}"


def text_inches(text: str, size: float) -> float:
    """How wide a text is in the font that is set."""
    return float(TextPath((0, 0), literal(text), size=size, usetex=False).get_extents().x1) / 72


def literal(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar sign begins no formula, and nothing is a line break."""
    return plain(text).replace("$", r"\$")


def draw_panel(axis: Axes, figure: Figure, panel: Panel, names: Sequence[str], look: Look = OWN_LOOK) -> None:
    """Draw one panel."""
    if panel.title:
        axis.set_title(literal(panel.title))
    if figure.kind == BARS:
        draw_changes(axis, panel.series[0])
    elif figure.kind == STACKED:
        draw_stacked(axis, panel.series)
    elif figure.kind == RELIABILITY:
        draw_reliability(axis, panel.series[0], place_of(panel.series[0].name, names))
    else:
        # Without a say in the limits of the axes, which are those of the panel's own lines.
        grey = [list(zip(map(float, other.x), other.y, strict=True)) for other in panel.context]
        axis.add_collection(LineCollection(grey, colors=GREY, linewidths=0.8, zorder=1), autolim=False)
        for number, series in enumerate(panel.series):
            # Lines that are shared out to several panels have a legend in each, and in each the most distinct looks.
            place = number if panel.context else place_of(series.name, names)
            draw_points(axis, series, place, figure.kind == LINES, look.colours.get(plain_label(series.name)))
        if panel.context:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, BELOW_AXIS), ncols=2)
    if panel.front:
        costs, accuracies = zip(*panel.front, strict=True)
        axis.plot(costs, accuracies, drawstyle="steps-post", color="#888888", linestyle=":", linewidth=1.2, zorder=1)
    if figure.y_down and not axis.yaxis_inverted():
        axis.invert_yaxis()
    if figure.log_x:
        axis.set_xscale("log", base=2)
    tried = {x for one in panel.series for x in one.x if isinstance(x, float)}
    if figure.kind == LINES and 0 < len(tried) <= MOST_TICKS:
        axis.xaxis.set_major_locator(FixedLocator(sorted(tried)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")


def legend_name(series: Series) -> str:
    """What the legend calls a series."""
    return marked(series.name, series.mark)


def plain_label(label: str) -> str:
    """The method of a label: without settings and numbers."""
    return label.partition(" (")[0].partition(NUMBERED)[0]


def place_of(name: str, names: Sequence[str]) -> int:
    """The number that decides the colour, marker and line style of a series."""
    # Plain methods first: variants such as `skip (depth=2)` may be many and would use up the distinct styles.
    ordered = sorted(names, key=lambda one: not is_plain(one))
    return ordered.index(name)


def draw_points(axis: Axes, series: Series, place: int, joined: bool, colour: str | None = None) -> None:
    """Draw points with error bars, connected by a line if `joined`; in the colour of their place, or another."""
    # Without a bar there is no cap either: NaN, since a bar of length 0 would look like an interval that is.
    ends = series.reach or tuple(None if std is None else (std, std) for std in series.error)
    known = [(math.nan, math.nan) if end is None else end for end in ends]
    errors = [*zip(*known, strict=True)] if any(ends) else None
    axis.errorbar(
        series.x,
        series.y,
        yerr=errors,
        label=literal(legend_name(series)),
        color=colour or COLOURS[place % len(COLOURS)],
        marker=MARKERS[place % len(MARKERS)],
        linestyle=DASHES[place % len(DASHES)] if joined else "none",
        capsize=2,
        elinewidth=0.8,
    )


def draw_reliability(axis: Axes, series: Series, place: int) -> None:
    """Draw accuracy against confidence, both in percent, above bars of the shares of images."""
    lefts, rights, heights = zip(*series.bars, strict=True)
    widths = [right - left for left, right in zip(lefts, rights, strict=True)]
    axis.bar(
        lefts,
        heights,
        widths,
        align="edge",
        color="#D9D9D9",
        edgecolor="white",
        linewidth=0.5,
        label="share of images in the bin",
    )
    axis.plot((0, 100), (0, 100), color="#888888", linestyle="--", linewidth=1.0, label="as often right as confident")
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    axis.plot(series.x, series.y, color=colour, marker=marker, clip_on=False)
    axis.set(xlim=(0, 100), ylim=(0, 100))


def draw_changes(axis: Axes, series: Series) -> None:
    """Draw gains and losses as horizontal bars from zero."""
    places = range(len(series.x))
    axis.barh(places, series.y, color=[GAIN if value >= 0 else LOSS for value in series.y], height=0.75)
    axis.set_yticks(places, [literal(shorter(str(name))) for name in series.x], fontsize=6)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()
    axis.axvline(0, color="black", linewidth=0.8)
    axis.margins(y=0.01)
    axis.grid(axis="y", visible=False)


def draw_stacked(axis: Axes, several: Iterable[Series]) -> None:
    """Draw stacked horizontal bars; hatches tell the parts apart without colours."""
    left: list[float] = []
    for number, series in enumerate(several):
        left = left or [0.0] * len(series.x)
        axis.barh(
            [literal(shorter(str(name))) for name in series.x],
            series.y,
            left=left,
            label=literal(series.name),
            color=COLOURS[number % len(COLOURS)],
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="white",
            height=0.7,
        )
        left = [before + value for before, value in zip(left, series.y, strict=True)]
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
