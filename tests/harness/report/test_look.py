"""Names and styles of a user: read, used, and refused in one line."""

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.report.display_names import with_display_names
from harness.report.figures import Figure, Panel, Series
from harness.report.look import Look, read_labels, read_style
from harness.report.plots import draw

FIGURE = Figure("f", "Accuracy (emoji)", "lines", "shots", "accuracy (%)",
                (Panel("emoji", (Series("skip", (1.0, 2.0), (50.0, 60.0)),)),))  # fmt: skip


def written(folder: Path, text: str, name: str = "given.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_labels_stand_wherever_the_names_do(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "skip: Ours\nemoji: Emoji-45\n"), ["skip", "coop", "emoji"])
    shown = with_display_names(FIGURE, ["skip", "coop"], labels)
    assert (shown.title, shown.panels[0].title, shown.panels[0].series[0].name) == (
        "Accuracy (Emoji-45)", "Emoji-45", "Ours"
    )  # fmt: skip
    assert with_display_names(Panel("emoji-food", ()), [], labels).title == "emoji-food"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skp: Ours", r"no figure shows a method or data set 'skp'\. Did you mean 'skip'\?"),
        ("skip: 3", r"the name to show for 'skip' must be text"),
    ],
)
def test_labels_that_name_nothing_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(written(tmp_path, text), ["skip", "emoji"])


def test_a_style_changes_fonts_and_colours(tmp_path: Path) -> None:
    path = written(tmp_path, "font: serif\nfont_size: 11\nline_width: 2\ncolours: {skip: '#123456'}\n")
    settings, colours = read_style(path, ["skip"])
    assert (settings["font.family"], settings["font.size"], settings["lines.linewidth"]) == ("serif", 11.0, 2.0)
    drawn = draw(FIGURE, ["skip"], "svg", Look(None, settings, colours)).decode()
    assert "#123456" in drawn
    assert "#123456" not in draw(FIGURE, ["skip"], "svg").decode()


def test_a_style_sheet_of_matplotlib_is_taken(tmp_path: Path) -> None:
    settings, colours = read_style(written(tmp_path, "axes.facecolor: abcdef  # paper\n", "a.mplstyle"), [])
    assert colours == {}
    assert "#abcdef" in draw(FIGURE, ["skip"], "svg", Look(None, settings)).decode()


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("fnt: serif", "a.yaml", r"a style has no 'fnt'\. Did you mean 'font'\?"),
        ("colours: {skp: black}", "a.yaml", r"colours: no figure shows a method 'skp'\. Did you mean 'skip'\?"),
        ("colours: {skip: blackish}", "a.yaml", r"'blackish' is no colour"),
        ("colours: black", "a.yaml", r"colours must name methods"),
        ("font_size: large", "a.yaml", r"font_size is a number of points from 1 to 72, not 'large'"),
        ("axes.facecolr: white", "a.mplstyle", r"line 1: matplotlib has no setting 'axes.facecolr'"),
        ("axes.linewidth: thick", "a.mplstyle", r"line 1: matplotlib takes no such value: axes.linewidth: thick"),
    ],
)
def test_a_style_that_cannot_be_used_is_one_line(text: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_style(written(tmp_path, text, name), ["skip"])


def test_a_style_sheet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no style sheet"):
        read_style(tmp_path / "none.mplstyle", [])
