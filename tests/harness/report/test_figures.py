"""What figures show, against the runs themselves, and that they come out as files of their kind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.report.ablation_curves import ablation_curves
from harness.report.figures import (
    MOST_CLASSES,
    Figure,
    Panel,
    Series,
    class_panel,
    common_order,
    paper_figures,
    pareto_front,
)
from harness.report.paper_tables import paper_tables
from harness.report.plots import COLOURS, DASHES, MARKERS, draw, place_of
from harness.report.runs import axis_runs, experiment_runs, in_order
from harness.results.record import read_result

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def figures_of(specs: list[RunSpec], results: Path) -> dict[str, Figure]:
    tables = paper_tables(experiment_runs(specs, results))
    return {figure.name.removeprefix(tables[0].name).strip("-"): figure for figure in paper_figures(tables, results)}


def test_the_pareto_front_is_what_nothing_beats_in_both() -> None:
    points = [(1.0, 50.0), (2.0, 60.0), (3.0, 55.0), (4.0, 60.0), (4.0, 70.0), (1.0, 40.0), (5.0, 70.0)]
    assert pareto_front(points) == [(1.0, 50.0), (2.0, 60.0), (4.0, 70.0)]
    assert pareto_front([]) == []


def test_curves_hold_means_over_seeds_at_every_shot(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("few_shot", datasets=["emoji", "emoji-food"], shots=[1, 4])
    found = fill(tmp_path, specs)
    curves = figures_of(specs, tmp_path)["curves"]
    assert [panel.title for panel in curves.panels] == ["average", "emoji", "emoji-food"]
    (skip,) = (series for series in curves.panels[1].series if series.name == "skip")
    assert skip.x == (1.0, 4.0)
    for shots, mean in zip((1, 4), skip.y, strict=True):
        key = ("skip", "emoji", shots)
        own = [found[s.id]["all"] for s in specs if (s.method, s.data.dataset, s.data.shots) == key]
        assert mean == pytest.approx(sum(own) / 3)


def test_points_hold_measured_costs(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs)
    figures = figures_of(specs, tmp_path)
    paths = [tmp_path / "runs" / s.id / "result.json" for s in specs if s.method == "skip"]
    phases = [json.loads(path.read_text())["costs"]["phases"] for path in paths]
    seconds = [phase["train"]["seconds"] + phase["cache"]["seconds"] for phase in phases]
    (time,) = (series for series in figures["accuracy-time"].panels[0].series if series.name == "skip")
    assert time.x[0] == pytest.approx(sum(seconds) / 3)
    memory = {series.name: series.x[0] for series in figures["accuracy-memory"].panels[0].series}
    # Zero-shot CLIP caches nothing and trains nothing; its made-up caching pass has 9 MiB.
    assert memory == {"zeroshot": 9.0, "coop": 20.0, "skip": 20.0}
    bars = {series.name: dict(zip(series.x, series.y, strict=True)) for series in figures["phases"].panels[0].series}
    assert bars["evaluate"] == {"zeroshot": 1.5, "coop": 1.5, "skip": 1.5}
    assert bars["train"]["zeroshot"] == 0.0


def test_costs_are_means_over_data_sets_of_means_over_seeds(
    tmp_path: Path, plan_runs: Plan, finish: Callable[..., None]
) -> None:
    specs = plan_runs("base_to_new", methods=["coop"], datasets=["emoji", "emoji-food"], seeds=[1, 2])
    seconds = {("emoji", 1): 2.0, ("emoji", 2): 4.0, ("emoji-food", 1): 11.0}
    for spec in specs:
        if (cell := (spec.data.dataset, spec.seed)) in seconds:
            finish(tmp_path, spec, {"base": 60.0, "new": 50.0}, train_seconds=seconds[cell])
    (series,) = figures_of(specs, tmp_path)["accuracy-time"].panels[0].series
    # The made-up caching pass takes a second.
    assert series.x == ((3.0 + 11.0) / 2 + 1.0,)


def test_class_changes_are_against_zero_shot(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs)
    figure = figures_of(specs, tmp_path)["classes-emoji-new"]
    assert [panel.title for panel in figure.panels] == ["coop", "skip"]

    def per_class(method: str) -> list[float]:
        found = [read_result(tmp_path / "runs" / s.id / "result.json") for s in specs if s.method == method]
        return [result.evaluations[1].per_class["class 3"] for result in found]

    (before,) = per_class("zeroshot")
    after = per_class("skip")
    (skip,) = figure.panels[1].series
    change = dict(zip(skip.x, skip.y, strict=True))["class 3"]
    assert change == pytest.approx(sum(after) / 3 - before)
    assert {panel.series[0].x for panel in figure.panels} == {skip.x}, "one order of classes in all panels"
    means = [sum(values) / 2 for values in zip(*(panel.series[0].y for panel in figure.panels), strict=True)]
    assert means == sorted(means, reverse=True)
    no_zeroshot = [spec for spec in specs if spec.method != "zeroshot"]
    assert not any("classes" in name for name in figures_of(no_zeroshot, tmp_path))


def test_sixteen_methods_are_told_apart_without_colours() -> None:
    names = [f"method_{number}" for number in range(16)]
    places = [place_of(name, names) for name in names]
    looks = {(COLOURS[p % len(COLOURS)], MARKERS[p % len(MARKERS)], DASHES[p % len(DASHES)]) for p in places}
    assert len(looks) == 16
    # In greyscale too, and no two of one colour share a marker or dashes.
    assert len({(MARKERS[p % len(MARKERS)], DASHES[p % len(DASHES)]) for p in places}) == 16
    series = tuple(Series(name, (1.0, 4.0), (place, place + 1.0)) for place, name in enumerate(names))
    figure = Figure("x", "x", "lines", "shots", "accuracy (%)", (Panel("emoji", series),), log_x=True)
    drawn = draw(figure, names, "svg").decode()
    assert all(f"{name}<" in drawn for name in names), "the legend holds them all"


def test_of_many_classes_those_that_change_most_are_shown() -> None:
    import pandas as pd

    changes = pd.DataFrame({"skip": {f"class {number}": float(number - 50) for number in range(100)}})
    (series,) = class_panel("skip", changes.loc[common_order(changes), "skip"]).series
    assert len(series.x) == MOST_CLASSES
    assert (series.y[0], series.y[-1]) == (49.0, -50.0)


def test_ablation_curves_are_over_the_values(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["skip"])
    found = fill(tmp_path, specs)
    fill(tmp_path, plan_runs("base_to_new", "skip.depth=4", methods=["skip"]))
    figure = ablation_curves(axis_runs(specs, tmp_path, ["skip.depth"]), "skip.depth")
    series = {one.name: one for one in figure.panels[0].series}
    assert set(series) == {"base", "new", "H"}
    assert series["base"].x == (3.0, 4.0)
    assert series["base"].y[0] == pytest.approx(sum(found[s.id]["base"] for s in specs) / 3)


def test_methods_look_different_and_the_same_in_every_figure() -> None:
    names = ["a (depth=2)", "b", "c", "d", "e", "f", "g", "h"]
    places = [place_of(name, names) for name in names]
    assert sorted(places) == list(range(8))
    # Variants come last: plain methods have the distinct colours.
    assert place_of("a (depth=2)", names) == 7
    assert len({(COLOURS[p % len(COLOURS)], MARKERS[p % len(MARKERS)]) for p in range(16)}) == 16


@pytest.mark.parametrize(("file_format", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_files_are_of_their_kind_and_the_same_every_time(file_format: str, magic: bytes) -> None:
    series = Series("skip", (1.0, 2.0), (50.0, 60.0), (1.0, None))
    figure = Figure("f", "t", "lines", "x", "y", (Panel("p", (series,)), Panel("q", ())), log_x=True)
    data = draw(figure, ["skip"], file_format)
    assert data.startswith(magic)
    assert data == draw(figure, ["skip"], file_format)
    stacked = Series("train", ("a", "b"), (1.0, 2.0))
    for kind in ("bars", "stacked"):
        panels = (Panel("p", (stacked, replace(stacked, name="cache"))),)
        assert draw(Figure("f", "t", kind, "x", "y", panels), in_order(["a"]), file_format).startswith(magic)


def test_phases_are_those_of_the_most_shots(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("few_shot", shots=[1, 4])
    fill(tmp_path, specs)
    figures = paper_figures(paper_tables(experiment_runs(specs, tmp_path)), tmp_path)
    (phases,) = (figure for figure in figures if figure.name.endswith("phases"))
    assert phases.note.startswith("4 shots. Means over seeds")
