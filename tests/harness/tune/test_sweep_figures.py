"""Figures of a sweep: units, whole numbers where settings are whole, and a contour only between any numbers."""

import random
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from matplotlib import pyplot as plt
from matplotlib.tri import TriContourSet
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from harness.tune.figures import axis_label, contour_drawing, curves_drawing, front_drawing, set_up_axis, slices_drawing
from harness.tune.objective import METRICS
from harness.tune.study import open_study
from harness.tune.sweep import Sweep

SPACE = {
    "skip.depth": {"int": [0, 6]},
    "skip.class_ratio": {"choice": [0.25, 0.5]},
    "skip.lambda": {"float": [0.1, 1.0]},
    "train.lr": {"float": [0.1, 1.0]},
}
SWEEP = Sweep.model_validate(
    {"name": "s", "method": "skip", "objectives": ["H", "train_memory"], "space": SPACE, "storage": None}
)
BOUNDS = {
    "skip.depth": IntDistribution(0, 6),
    "skip.class_ratio": CategoricalDistribution([0.25, 0.5]),
    "skip.lambda": FloatDistribution(0.1, 1.0),
    "train.lr": FloatDistribution(0.1, 1.0),
}


def trials() -> list[FrozenTrial]:
    chance, study = random.Random(1), optuna.create_study(directions=["maximize", "minimize"])
    for depth in (0, 2, 3, 6, 2, 3, 6, 0):
        ratio, first, second = chance.choice([0.25, 0.5]), chance.uniform(0.1, 1), chance.uniform(0.1, 1)
        point = {"skip.depth": depth, "skip.class_ratio": ratio, "skip.lambda": first, "train.lr": second}
        values = [60 + first + depth, 20.0 + depth]
        study.add_trial(create_trial(values=values, params=point, distributions=dict(BOUNDS)))
    return study.get_trials()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("H", "H (%)"),
        ("accuracy.base", "accuracy of base (%)"),
        ("train_memory", "peak memory while adapting (MiB)"),
        ("train_seconds", "time to adapt (s)"),
        ("train_flops", "train+cache GFLOP"),
    ],
)
def test_axes_have_units(name: str, label: str) -> None:
    assert axis_label(name) == label


def test_slices_share_one_axis_and_whole_numbers_have_whole_ticks() -> None:
    found = trials()
    drawing = slices_drawing(found, SWEEP, list(SPACE), 0, found[:1])
    axes = [axis for axis in drawing.axes if axis.get_xlabel()]
    assert [axis.get_xlabel() for axis in axes] == list(SPACE)
    assert list(axes[0].get_xticks()) == [0, 2, 3, 6]
    assert [text.get_text() for text in axes[1].get_xticklabels()] == ["0.25", "0.5"]
    assert len({axis.get_ylim() for axis in axes}) == 1
    plt.close("all")


@pytest.mark.parametrize("tried", [(0.001, 0.05), (0.2, 0.9), (1e-6, 1e-1), (0.01, 0.01)])
def test_labels_of_a_logarithmic_axis_do_not_touch(tried: tuple[float, float]) -> None:
    space = {"train.lr": {"float": [1e-6, 1.0], "log": True}}
    sweep = Sweep.model_validate({**SWEEP.model_dump(), "space": space})
    drawing, axes = plt.subplots(1, 3, figsize=(6.75, 2))
    axes[0].plot(tried, (0, 1), "o")
    set_up_axis(axes[0].xaxis, sweep, "train.lr", tried)
    drawing.canvas.draw()
    low, high = axes[0].get_xlim()
    labels = [text for text in axes[0].get_xticklabels(which="both") if text.get_text()]
    shown = [text for text in labels if low <= text.get_position()[0] <= high]
    boxes = sorted((text.get_window_extent() for text in shown), key=lambda box: float(box.x0))
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    plt.close("all")


def test_the_front_has_costs_below_and_numbers_beside() -> None:
    found = trials()
    drawing = front_drawing(found, SWEEP, found[:2])
    (axis,) = drawing.axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("peak memory while adapting (MiB)", "H (%)")
    assert [text.get_text() for text in axis.texts] == ["0", "1"]
    plt.close("all")


@pytest.mark.parametrize(
    ("keys", "has_contour"), [(("skip.lambda", "train.lr"), True), (("skip.depth", "train.lr"), False)]
)
def test_nothing_lies_between_whole_numbers(keys: tuple[str, str], has_contour: bool) -> None:
    drawing = contour_drawing(trials(), SWEEP, keys, 0)
    assert any(isinstance(one, TriContourSet) for one in drawing.axes[0].collections) == has_contour
    plt.close("all")


def test_curves_of_a_grid_say_what_their_bars_are() -> None:
    depth = {"skip.depth": {"int": [0, 2]}}
    grid = Sweep.model_validate({"method": "skip", "space": depth, "sampler": "grid", "objectives": ["H"]})
    metrics = {"H": 60.0, "H.std": 0.5, "train_memory": 20.0}
    points = [
        create_trial(
            value=60.0,
            params={"skip.depth": place},
            distributions={"skip.depth": IntDistribution(0, 2)},
            user_attrs={METRICS: metrics},
        )
        for place in range(3)
    ]
    drawing = curves_drawing(points, grid)
    assert [axis.get_ylabel() for axis in drawing.axes] == ["H (%)", "peak memory while adapting (MiB)"]
    assert list(drawing.axes[0].get_xticks()) == [0, 1, 2]
    assert drawing.get_suptitle() == "bars: sample standard deviation over the runs of a trial"
    plt.close("all")


def test_objectives_have_their_names_in_the_study(tmp_path: Path) -> None:
    for _ in range(2):
        assert open_study(SWEEP, tmp_path).metric_names == ["H", "train_memory"]
