"""Figures of comparisons, against the runs themselves, and that nothing in them covers anything else."""

import itertools
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.experiment.spec import RunSpec
from harness.report.comparison_figures import (
    CellMap,
    Comparisons,
    RankDiagram,
    comparison_figures,
    gains,
    pair_matrix,
    rank_diagram,
    ranks_over_shots,
)
from harness.report.comparison_plots import cell_drawing, draw_any, grid_of, rank_drawing
from harness.report.figures import Figure
from harness.report.look import Look
from harness.report.paper_tables import paper_tables
from harness.report.plots import compose
from harness.report.runs import experiment_runs
from harness.results.record import read_result
from harness.statistics.scores import Scores
from tests.harness.statistics.examples import published

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
Finish = Callable[..., None]


def comparisons_of(specs: list[RunSpec], results: Path) -> Comparisons:
    return comparison_figures(paper_tables(experiment_runs(specs, results)))


def many_methods(number: int) -> Scores:
    """Scores of methods with names of all lengths; several share their mean rank."""
    generator = np.random.default_rng(number)
    names = tuple(f"method_{at}{'_of_a_long_name'[: at % 16]}" for at in range(number))
    values = np.round(generator.normal(70, 2, size=(number, 11)))
    values[1] = values[0]
    return Scores(names, tuple(f"set_{at}" for at in range(11)), values + 0.2 * np.arange(number)[:, None])


def test_a_table_with_several_data_sets_is_compared(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", datasets=["emoji", "emoji-food"], seeds=[1, 2])
    fill(tmp_path, specs)
    found = comparisons_of(specs, tmp_path)
    pairs, gain = found.figures
    assert (pairs.name, gain.name) == ("base_to_new-16shot-pairs", "base_to_new-16shot-gains")
    assert found.left_out == [
        "base_to_new-16shot: left out: a critical-difference diagram, which needs 3 methods and 5 data sets with "
        "values; there are 3 and 2"
    ]
    assert isinstance(gain, CellMap)

    def headline(method: str, dataset: str) -> float:
        own = [
            read_result(tmp_path / "runs" / spec.id / "result.json").evaluations
            for spec in specs
            if (spec.method, spec.data.dataset) == (method, dataset)
        ]
        base, new = (np.mean([evaluations[at].accuracy for evaluations in own]) for at in (0, 1))
        return float(2 * base * new / (base + new))

    shown = dict(zip(gain.columns, gain.values[gain.rows.index("skip")], strict=True))
    for dataset in ("emoji", "emoji-food"):
        assert shown[dataset] == pytest.approx(headline("skip", dataset) - headline("zeroshot", dataset))
    assert shown["mean"] == pytest.approx((shown["emoji"] + shown["emoji-food"]) / 2)
    assert isinstance(pairs, CellMap)
    assert set(pairs.columns) == {"zeroshot", "coop", "skip"}


def test_ranks_over_shots_are_of_what_has_all_of_them(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs("few_shot", datasets=["emoji", "emoji-food"], shots=[1, 4], seeds=[1])
    accuracies = {"zeroshot": 50.0, "coop": 60.0, "skip": 70.0}
    for spec in specs:
        # At one shot coop is the best, and zero-shot CLIP lacks a data set at four.
        best = 30.0 * (spec.method == "coop" and spec.data.shots == 1)
        if (spec.method, spec.data.dataset, spec.data.shots) != ("zeroshot", "emoji", 4):
            finish(tmp_path, spec, {"all": accuracies[spec.method] + best})
    found = comparisons_of(specs, tmp_path)
    curves = found.figures[-1]
    assert isinstance(curves, Figure)
    assert curves.name == "few_shot-rank-curves"
    assert {series.name: series.y for series in curves.panels[0].series} == {"coop": (1.0, 2.0), "skip": (2.0, 1.0)}
    assert curves.panels[0].series[0].x == (1.0, 4.0)
    assert "few_shot: left out: method zeroshot lacks 1 of 2 data sets (emoji)" in found.left_out
    # The first place is at the top.
    low, high = compose(curves, ["coop", "skip"]).axes[0].get_ylim()
    assert low > high


def test_one_data_set_or_one_method_is_no_comparison(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs)
    found = comparisons_of(specs, tmp_path)
    assert found.figures == []
    assert found.left_out == [
        "base_to_new-16shot: left out: a matrix of all pairs, which needs 2 methods and 2 data sets with values; "
        "there are 3 and 1"
    ]


def test_a_diagram_says_where_friedman_finds_nothing() -> None:
    values = np.array([[1.0, 2.0, 3.0, 1.0, 2.0], [2.0, 3.0, 1.0, 2.0, 3.0], [3.0, 1.0, 2.0, 3.0, 1.0]])
    scores = Scores(("a", "b", "c"), tuple("uvwxy"), values)
    figure = rank_diagram(scores, "ranks", "Ranks")
    assert figure.test.cliques == (figure.test.methods,)
    assert "so none are separated" in figure.note
    assert "Friedman (Iman-Davenport): p < 0.001." in rank_diagram(published(), "ranks", "Ranks").note


def test_a_matrix_holds_differences_wins_and_p() -> None:
    figure = pair_matrix(published().select(["maple", "skip"]), "pairs", "Pairs")
    assert figure.rows == ("skip (80.9)", "maple (78.3)")
    assert figure.texts[0] == ((), ("+2.7", "10/0/1", "p 0.002"))
    assert figure.texts[1][0] == ("-2.7", "1/0/10", "p 0.002")
    assert figure.strong == ((False, True), (True, False))
    # Over 55 pairs, 11 data sets are too few for any of them.
    whole = pair_matrix(published(), "pairs", "Pairs")
    assert not any(itertools.chain(*whole.strong))
    assert whole.note.endswith("with Holm over 55 pairs. No pair is.")


@pytest.mark.parametrize("number", [3, 11, 30])
def test_no_text_of_a_diagram_covers_another(number: int) -> None:
    assert_no_text_covers_another(rank_drawing(rank_diagram(many_methods(number), "ranks", "Mean ranks")))


@pytest.mark.parametrize("number", [2, 12])
def test_no_text_of_a_map_covers_another(number: int) -> None:
    scores = many_methods(number)
    assert_no_text_covers_another(cell_drawing(pair_matrix(scores, "pairs", "All pairs of methods")))
    assert_no_text_covers_another(cell_drawing(gains(scores, scores.methods[0], "gains", "Gain against zero-shot")))


@pytest.mark.parametrize(("number", "width"), [(3, 3.3), (9, 3.3), (9, 6.9)])
def test_diagrams_and_maps_are_as_wide_as_asked_for(number: int, width: float) -> None:
    scores = many_methods(number)
    pairs = pair_matrix(scores, "pairs", "All pairs of methods")
    figures = [rank_diagram(scores, "ranks", "Mean ranks"), pairs, gains(scores, scores.methods[0], "gains", "Gain")]
    for figure in figures:
        drawn = Image.open(BytesIO(draw_any(figure, [], "png", Look(width))))
        assert drawn.width / 200 == pytest.approx(width, abs=0.12), figure.name
    assert_no_text_covers_another(rank_drawing(figures[0], width))  # type: ignore[arg-type]
    assert_no_text_covers_another(cell_drawing(pairs, width))
    assert sum(len(block) for block in grid_of(pairs, width).blocks) == number


def test_numbers_below_zero_have_a_minus() -> None:
    drawing = cell_drawing(pair_matrix(published(), "pairs", "Pairs"))
    texts = [text.get_text() for text in drawing.axes[0].texts]
    assert any(text.startswith("\u2212") for text in texts)
    assert not any(text.startswith("-") for text in texts)


def assert_no_text_covers_another(drawing: object) -> None:
    """Boxes of all texts that are not tilted, whose boxes are larger than they are, have no point in common."""
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure as Drawing
    from matplotlib.text import Text

    assert isinstance(drawing, Drawing)
    drawing.canvas.draw()
    texts = [one for one in drawing.findobj(Text) if isinstance(one, Text) and one.get_text() and one.get_visible()]
    boxes = {
        f"{one.get_text()} {at}": one.get_window_extent() for at, one in enumerate(texts) if not one.get_rotation()
    }
    for (one, box), (other, beside) in itertools.combinations(boxes.items(), 2):
        apart = box.x1 <= beside.x0 or beside.x1 <= box.x0 or box.y1 <= beside.y0 or beside.y1 <= box.y0
        assert apart, (one, other)
    plt.close(drawing)


def test_files_hold_names_and_are_the_same_each_time() -> None:
    scores = published()
    figures = [
        rank_diagram(scores, "ranks", "Ranks, 5$"),
        pair_matrix(scores, "pairs", "Pairs"),
        gains(scores, "zeroshot", "gains", "Gains", {"coop": "§"}),
        ranks_over_shots({1: scores, 2: scores}, "curves", "Curves"),
    ]
    for figure in figures:
        drawn = draw_any(figure, list(scores.methods), "svg")
        assert drawn == draw_any(figure, list(scores.methods), "svg")
        text = drawn.decode()
        assert all(re.search(rf">{name}\b|  {name}<", text) for name in scores.methods if name != "zeroshot")
    assert b"5$" in draw_any(figures[0], [], "svg")
    assert "coop §".encode() in draw_any(figures[2], [], "svg")
    assert isinstance(figures[0], RankDiagram)
