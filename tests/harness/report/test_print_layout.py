"""How figures are arranged for print: no crowded panel, intervals that are named, costs side by side."""

from dataclasses import replace
from statistics import fmean, stdev

import pytest

from harness.report.comparison_figures import CellMap
from harness.report.figures import ERROR_BARS, Figure, Panel, Series
from harness.report.look import Look
from harness.report.plots import compose
from harness.report.print_layout import INTERVALS, MOST_LINES, for_print, with_intervals


def curves(number: int, panels: tuple[str, ...] = ("emoji",)) -> Figure:
    series = tuple(
        Series(f"m{place:02}", (1.0, 4.0), (50.0, 50.0 + place), (1.0, 2.0), seeds=(3, 2)) for place in range(number)
    )
    return Figure("t-curves", "Curves", "lines", "shots", "accuracy (%)", tuple(Panel(name, series) for name in panels),
                  note=ERROR_BARS)  # fmt: skip


def test_bars_are_intervals_of_three_seeds_and_more_and_the_note_says_so() -> None:
    (found,) = for_print([curves(2)])
    assert isinstance(found, Figure)
    three, two = found.panels[0].series[0].reach
    assert three == (pytest.approx(4.302653 / 3**0.5),) * 2
    assert two is None
    assert found.note == INTERVALS.format("t distribution", 3)


def with_seeds(*numbers: int) -> Figure:
    values = tuple(tuple(50.0 + (place % 5) ** 2 for place in range(number)) for number in numbers)
    places = tuple(float(number) for number in numbers)
    series = Series("m", places, tuple(map(fmean, values)), tuple(map(stdev, values)), seeds=numbers, values=values)
    return replace(curves(1), panels=(Panel("emoji", (series,)),))


def test_many_seeds_have_bootstrap_intervals_and_the_note_names_the_kind() -> None:
    found, alone, few = (with_intervals(with_seeds(*numbers)) for numbers in ((3, 20), (20, 25), (2, 2)))
    (student, bootstrap) = found.panels[0].series[0].reach
    assert student is not None
    assert bootstrap is not None
    assert student[0] == student[1]
    # Percentiles follow the skew of the values: more above the mean than below.
    assert 0 < bootstrap[0] < bootstrap[1] < student[1]
    assert "bootstrap where there are 20 and more, else t distribution" in found.note
    assert "over seeds (bootstrap)" in alone.note
    assert few.note == ""
    assert few.panels[0].series[0].reach == (None, None)


def test_a_point_without_an_interval_has_no_bar() -> None:
    figure = with_intervals(with_seeds(2, 3))
    drawing = compose(figure, ["m"])
    (bars,) = (item for item in drawing.axes[0].containers)
    drawn = [line for line in bars[2][0].get_segments() if len(line)]
    assert len(drawn) == 1


@pytest.mark.parametrize("number", [MOST_LINES + 1, 28, 30])
def test_many_lines_are_shared_out_best_first_and_none_is_lost(number: int) -> None:
    found = for_print([curves(number, ("average", "emoji"))])
    assert [figure.name for figure in found] == ["t-curves-average", "t-curves-emoji"]
    for figure in found:
        assert isinstance(figure, Figure)
        lines = [one.name for panel in figure.panels for one in panel.series]
        assert lines == [f"m{place:02}" for place in reversed(range(number))]
        assert all(len(panel.series) <= 7 for panel in figure.panels)
        assert all(len(panel.series) + len(panel.context) == number for panel in figure.panels)
    assert for_print([curves(MOST_LINES)])[0].name == "t-curves"


def test_accuracy_against_memory_and_time_stand_side_by_side_on_one_axis() -> None:
    panel = Panel("", (Series("skip", (3.0,), (60.0,), (None,), seeds=(1,)),))
    time = Figure("t-accuracy-time", "Accuracy against time (t, emoji)", "scatter", "time (s)", "H (%)", (panel,))
    memory = replace(time, name="t-accuracy-memory", x_label="memory (MiB)")
    *alone, both = for_print([time, memory])
    assert [figure.name for figure in alone] == ["t-accuracy-time", "t-accuracy-memory"]
    assert isinstance(both, Figure)
    assert (both.name, both.title) == ("t-accuracy-costs", "Accuracy against costs (t, emoji)")
    left, right = compose(both, ["skip"]).axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("time (s)", "memory (MiB)")
    assert left.get_ylim() == right.get_ylim()


def test_bars_of_many_methods_become_a_map() -> None:
    panels = tuple(Panel(f"m{place}", (Series(f"m{place}", ("cat", "dog"), (1.0, -2.4)),)) for place in range(7))
    figure = Figure("t-classes", "Change", "bars", "change (points)", "", panels)
    (found,) = for_print([figure])
    assert isinstance(found, CellMap)
    assert found.rows == tuple(f"m{place}" for place in range(7))
    assert (found.columns, found.values[0]) == (("cat", "dog"), (1.0, -2.4))
    assert found.texts[0] == (("+1",), ("-2",))
    assert for_print([replace(figure, panels=panels[:6])])[0] == replace(figure, panels=panels[:6])


@pytest.mark.parametrize(("width", "columns"), [(3.3, 1), (6.9, 3)])
def test_a_figure_is_as_wide_as_asked_for(width: float, columns: int) -> None:
    drawing = compose(curves(2, ("a", "b", "c")), ["m00", "m01"], Look(width))
    assert drawing.get_size_inches()[0] == pytest.approx(width)
    assert len({round(axis.get_position().x0, 2) for axis in drawing.axes}) == columns


def test_no_legend_covers_data() -> None:
    (figure,) = for_print([curves(20)])
    assert isinstance(figure, Figure)
    drawing = compose(figure, [])
    drawing.canvas.draw()
    for axis in drawing.axes:
        legend = axis.get_legend()
        if legend is not None:
            assert legend.get_window_extent().y1 < axis.get_window_extent().y0
