"""Figures name methods as their papers do, and keep what tells runs of one method apart."""

from dataclasses import replace

import pytest

from harness.report.comparison_figures import CellMap
from harness.report.display_names import display_name, shown_label, with_display_names
from harness.report.figures import Figure, Panel, Series

METHODS = ("skip", "tip_adapter", "tip_adapter_f", "mine_")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("skip", "Skip Tuning"),
        ("skip depth=3", "Skip Tuning depth=3"),
        ("skip #2", "Skip Tuning #2"),
        ("skip‡", "Skip Tuning‡"),
        ("skip: depth=3", "Skip Tuning: depth=3"),
        ("skipping", "skipping"),
        ("skip.depth", "skip.depth"),
        ("tip_adapter_f", "Tip-Adapter-F"),
        ("tip_adapter †", "Tip-Adapter †"),
        ("mine_", "mine_"),
        ("emoji", "emoji"),
    ],
)
def test_a_label_begins_with_the_display_name(label: str, expected: str) -> None:
    assert shown_label(label, METHODS) == expected


def test_a_method_that_is_not_here_keeps_its_name() -> None:
    assert display_name("of_others") == "of_others"


def test_all_of_a_figure_but_its_file_has_display_names() -> None:
    series = (Series("skip", ("tip_adapter", "skip #1"), (1.0, 2.0), words=("skip: 1.0", "2.0")),)
    figure = Figure("skip-curves", "Accuracy", "bars", "x", "y", (Panel("skip", series),), key=("skip #1: depth=3",))
    shown = with_display_names(figure, METHODS)
    assert (shown.name, shown.kind, shown.title) == ("skip-curves", "bars", "Accuracy")
    assert shown.key == ("Skip Tuning #1: depth=3",)
    (panel,) = shown.panels
    assert panel == Panel(
        "Skip Tuning",
        (
            replace(
                series[0], name="Skip Tuning", x=("Tip-Adapter", "Skip Tuning #1"), words=("Skip Tuning: 1.0", "2.0")
            ),
        ),
    )


def test_a_map_of_cells_has_them_on_both_axes() -> None:
    cells = CellMap("all-pairs", "All pairs", ("skip",), ("tip_adapter",), ((None,),), ((("x",),),), ((False,),))
    shown = with_display_names(cells, METHODS)
    assert (shown.rows, shown.columns, shown.values) == (("Skip Tuning",), ("Tip-Adapter",), ((None,),))


def test_sentences_have_display_names_wherever_a_method_is_named() -> None:
    note, marks = (
        "Of another run: tip_adapter_f 2.0, skip 1.0 (tip_adapter).",
        ("¶: alpha (skip, mine_); skip.depth=2",),
    )
    figure = Figure("f", "Time", "bars", "x", "y", (), note=note, marks=marks)
    shown = with_display_names(figure, METHODS, {"mine_": "Ours"})
    assert shown.note == "Of another run: Tip-Adapter-F 2.0, Skip Tuning 1.0 (Tip-Adapter)."
    assert shown.marks == ("¶: alpha (Skip Tuning, Ours); skip.depth=2",)
