"""Reliability diagrams show the bins of kept logits, pooled over seeds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.experiment.spec import RunSpec
from harness.report.figures import RELIABILITY
from harness.report.paper_tables import paper_tables
from harness.report.plots import draw
from harness.report.reliability import reliability_figures
from harness.report.runs import experiment_runs
from harness.rescore.calibration import reliability
from harness.rescore.run import RescoredEvaluation, RescoredRun

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def rescored_of(run: str, confidence: list[float], right: list[bool]) -> RescoredRun:
    bins = reliability(np.array(confidence), np.array(right))
    one = RescoredEvaluation("all", {}, (0.0, 1.0), ("a", "b"), np.array([[2, 1], [0, 1]]), bins)
    return RescoredRun(run, {"all": one})


def test_seeds_are_pooled_and_counted(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("few_shot", methods=["skip", "coop"], seeds=[1, 2])
    fill(tmp_path, specs)
    own = [spec.id for spec in specs if spec.method == "skip"]
    rescored = {
        own[0]: rescored_of(own[0], [0.92, 0.98, 0.5], [True, False, True]),
        own[1]: rescored_of(own[1], [0.95, 0.7], [True, True]),
    }
    tables = paper_tables(experiment_runs(specs, tmp_path))
    (figure,) = reliability_figures(tables, rescored)
    assert (figure.kind, figure.title) == (RELIABILITY, "Reliability (emoji, 16 shots)")
    # CoOp kept no logits.
    (panel,) = figure.panels
    assert panel.title == "skip, 5 images"
    (series,) = panel.series
    # Bins of a fifteenth: 0.5 in (7/15, 8/15]; 0.7 in (10/15, 11/15]; 0.92 in (13/15, 14/15]; 0.95 and 0.98 above.
    assert series.x == pytest.approx((50, 70, 92, 96.5))
    assert series.y == pytest.approx((100, 100, 100, 50))
    assert [height for _, _, height in series.bars] == pytest.approx([20, 20, 20, 40])
    assert series.words == ("1 image", "1 image", "1 image", "2 images")
    text = draw(figure, ["skip"], "svg").decode()
    assert "as often right as confident" in text
    assert "share of images in the bin" in text
    assert reliability_figures(tables, {}) == []
