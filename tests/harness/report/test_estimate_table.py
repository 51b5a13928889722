"""Estimates that are bounds are marked wherever they are shown."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from harness.estimate.estimator import Estimate, Estimator, MeasuredPeak
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.recipes import EXPERIMENTS
from harness.report.estimate_table import Row, check_table, draw, flat, memory_cells, note, plain, work_cells


@pytest.fixture(scope="module")
def row() -> Row:
    """Skip Tuning, whose batches the pictures decide, with a step that takes the most memory."""
    changes = {"methods": "skip", "seeds": "1", "shots": [1]}
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes).with_settings(
        {"train": {"batch_size": 1, "cache_batch_size": 1}, "runtime": {"eval_batch_size": 1}}
    )
    spec = plan_grid(experiment)[0].spec
    estimate = Estimator().estimate(spec, classes=3)
    assert estimate.highest_phase == "train"
    measured = {phase: MeasuredPeak(peak.num_bytes) for phase, peak in estimate.phases.items()}
    return Row(spec, {"skip.depth": "2"}, estimate, 3, measured)


def test_tables_mark_bounds(row: Row) -> None:
    memory, work = memory_cells(row, row.estimate.peak_bytes), work_cells(row)
    marked = {key for key, cell in {**memory, **work}.items() if cell.startswith("≤ ")}
    assert marked == {"train MiB", "peak MiB", "step GFLOP", "train GFLOP/img"}
    assert (memory["fits"], memory["largest batch"]) == ("yes", "≥ 3")
    assert "not surely" in note([row])


def test_a_bound_above_a_limit_does_not_say_that_a_run_does_not_fit(row: Row) -> None:
    others = [peak.num_bytes for phase, peak in row.estimate.phases.items() if phase != "train"]
    assert memory_cells(row, row.estimate.peak_bytes - 1)["fits"] == "not surely"
    assert memory_cells(row, max(others) - 1)["fits"] == "no"


def test_what_is_checked_is_marked_in_the_phase_that_is_a_bound(row: Row) -> None:
    cells = check_table([row]).set_index("phase")["estimated bytes"]
    assert {phase for phase, cell in cells.items() if cell.startswith("≤ ")} == {"train"}


def test_files_say_which_numbers_are_bounds(row: Row) -> None:
    assert (plain(row)["peak_is_bound"], flat(row)["peak_is_bound"]) == (True, True)
    assert {phase for phase, peak in plain(row)["phases"].items() if peak["is_bound"]} == {"train"}


@pytest.mark.parametrize("axis", ["skip.depth", "train.note"])
def test_a_figure_marks_bounds(row: Row, axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    draw([Row(row.spec, {axis: "2" if axis == "skip.depth" else "word"}, row.estimate)], None)  # type: ignore[arg-type]
    axes = drawn[0].axes[0]
    words = [text.get_text() for text in (*axes.get_xticklabels(), *axes.get_legend().get_texts())]
    assert any("(≤)" in text for text in words)


def test_exact_estimates_are_not_marked(row: Row) -> None:
    spec = row.spec.model_copy(update={"method": "zeroshot", "options": {}})
    estimate: Estimate = Estimator().estimate(spec, classes=3)
    frame = pd.DataFrame([{**memory_cells(Row(spec, {}, estimate), 1), **work_cells(Row(spec, {}, estimate))}])
    assert not frame.map(lambda cell: "≤" in cell).any(axis=None)
    assert frame["fits"][0] == "no"
