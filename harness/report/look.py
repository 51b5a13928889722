"""What a user says of the look of printed figures: names to show, and a style of fonts and colours."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError, nearest
from harness.experiment.settings import read_yaml

# Inches of the text of a page in two columns, of one column and of both.
WIDTHS: dict[str, float] = {"column": 3.3, "page": 6.9}
STYLE_KEYS = ("font", "font_size", "line_width", "colours")


@dataclass(frozen=True)
class Look:
    """How figures are drawn.

    Attributes:
        width: of a whole figure in inches; None: as wide as its panels need.
        settings: of matplotlib, which replace those of our style.
        colours: label of a method -> its colour.
    """

    width: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)


OWN_LOOK = Look()
"""As the project draws them."""


def read_labels(path: Path, known: Collection[str]) -> dict[str, str]:
    """Name of a method or data set -> the name that figures show.

    Args:
        path: YAML.
        known: names of methods and data sets of the figures.

    Raises:
        UserError: a name that is none of them, or a value that is no text.
    """
    found = read_yaml(path)
    for name, label in found.items():
        if name not in known:
            raise UserError(f"'{path}': no figure shows a method or data set '{name}'.{nearest(str(name), known)}")
        if not isinstance(label, str) or not label.strip():
            raise UserError(f"'{path}': the name to show for '{name}' must be text, such as `{name}: My name`")
    return found


def read_style(path: Path, methods: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings of matplotlib, and the colours of methods.

    Args:
        path: a style sheet of matplotlib (.mplstyle), or YAML with some of STYLE_KEYS.
        methods: that the figures show.

    Raises:
        UserError: an unknown key, method or colour, or a file that cannot be read.
    """
    return (style_sheet(path), {}) if path.suffix == ".mplstyle" else style_of(path, methods)


def style_sheet(path: Path) -> dict[str, Any]:
    """The settings of a style sheet of matplotlib, which itself would only warn of a mistake and leave it out."""
    import logging

    import matplotlib as mpl

    if not path.is_file():
        raise UserError(f"there is no style sheet '{path}'")
    lines = dict(enumerate(path.read_text(errors="replace").splitlines(), 1))
    keys = {number: line.partition("#")[0].partition(":")[0].strip() for number, line in lines.items()}
    for number, key in keys.items():
        if key and key not in mpl.rcParams:
            raise UserError(f"'{path}' line {number}: matplotlib has no setting '{key}'.{nearest(key, mpl.rcParams)}")
    log = logging.getLogger("matplotlib")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        read = mpl.rc_params_from_file(path, use_default_template=False)
    finally:
        log.setLevel(before)
    found: dict[str, Any] = {str(key): value for key, value in read.items()}
    for number, key in keys.items():
        if key and key not in found:
            raise UserError(f"'{path}' line {number}: matplotlib takes no such value: {lines[number].strip()}")
    return found


def style_of(path: Path, methods: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings and colours of a style in YAML."""
    from matplotlib.colors import is_color_like

    found = read_yaml(path)
    for key in found:
        if key not in STYLE_KEYS:
            raise UserError(f"'{path}': a style has no '{key}'.{nearest(str(key), STYLE_KEYS)}")
    colours = found.get("colours") or {}
    if not isinstance(colours, Mapping):
        raise UserError(f"'{path}': colours must name methods, such as `colours: {{skip: black}}`")
    for method, colour in colours.items():
        if method not in methods:
            raise UserError(f"'{path}': colours: no figure shows a method '{method}'.{nearest(str(method), methods)}")
        if not is_color_like(colour):
            raise UserError(f"'{path}': colours: '{colour}' is no colour: write a name, such as black, or '#0072B2'")
    settings: dict[str, Any] = {}
    if "font" in found:
        settings["font.family"] = str(found["font"])
    if "font_size" in found:
        size = positive(path, "font_size", found["font_size"])
        settings |= dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), size)
        settings |= dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), size - 1)
    if "line_width" in found:
        settings["lines.linewidth"] = positive(path, "line_width", found["line_width"])
    return settings, dict(colours)


def positive(path: Path, key: str, value: Any) -> float:
    """A number of points between 1 and 72."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 72:
        raise UserError(f"'{path}': {key} is a number of points from 1 to 72, not '{value}'")
    return float(value)
