"""Runs that differ only in the wording of their prompts as one row, with how far the wordings lie apart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes
from harness.report.paper_tables import paper_tables
from harness.report.runs import experiment_runs
from harness.report.wordings import with_wordings

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]


def test_the_spread_is_that_of_the_means_over_common_seeds(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs(
        "base_to_new", "data.templates=[[drawings],[zeroshot]]", methods=["zeroshot", "clip_adapter"], seeds=[1, 2]
    )
    accuracies = {("zeroshot", 1): 50.0, ("zeroshot", 2): 60.0, ("drawings", 1): 58.0, ("drawings", 2): 59.0}
    for spec in specs:
        value = accuracies["zeroshot" if "zeroshot" in spec.data.templates else "drawings", spec.seed]
        finish(tmp_path, spec, {item.name: value for item in spec.evaluate})
    (table,) = paper_tables(with_wordings(experiment_runs(specs, tmp_path)))
    cells = {(cell.row, cell.column): cell for cell in table.cells}
    assert table.columns == ["zeroshot", "clip_adapter"]
    # Means 55 and 58.5; zero-shot has one seed: 50 and 58.
    assert cells["H over templates", "clip_adapter"].mean == pytest.approx(3.5)
    assert cells["H over templates", "zeroshot"].mean == pytest.approx(8.0)
    assert cells["templates", "clip_adapter"].mean == 2
    assert cells["H", "clip_adapter"].mean == pytest.approx(55.0)
    assert "All other numbers: data.templates=zeroshot." in " ".join(footnotes(table))
