"""A protocol that is added to PROTOCOLS, and nowhere else, is planned, shown, tracked and searched."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from harness.errors import UserError
from harness.experiment.protocols import PROTOCOLS, Layout, Part, Protocol
from harness.experiment.spec import RunSpec
from harness.report.export import tidy_table
from harness.report.figures import paper_figures
from harness.report.method_table import method_table
from harness.report.page import page
from harness.report.paper_tables import ablation, paper_tables
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Table
from harness.results.metrics import METRICS, SummaryMetric
from harness.results.record import read_result
from harness.tracking import wandb_run
from harness.tracking.contents import summary_of
from harness.tracking.tracker import opening_of
from harness.tracking.wandb_run import WandbRun
from harness.tune.objective import headline_of, metrics_of
from harness.tune.sweep import Sweep
from harness.tune.sweep_file import load_sweep
from tests.commands import error_line, skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def worst_part(source: str, accuracies: Mapping[str, float]) -> float | None:
    return min(accuracies["seen"], accuracies["unseen"]) if {"seen", "unseen"} <= accuracies.keys() else None


WORST = SummaryMetric(
    "worst_part", "worst", "%", "lower of seen and unseen", 2, True, "accuracy/worst", of_accuracies=worst_part
)
SEEN = Protocol(
    "seen_to_unseen",
    "train on the new half, test on both halves; judged by the worse",
    Layout.PARTS,
    train_classes="new",
    parts=(Part("seen", "new"), Part("unseen", "base")),
    headline="worst_part",
)
SEEN_VALIDATION = Protocol(
    "seen_to_unseen_validation",
    "seen_to_unseen within the new half, on validation images",
    Layout.PARTS,
    train_classes="new.base",
    parts=(Part("seen", "new.base", ("val",)), Part("unseen", "new.new", ("train", "val"))),
    headline="worst_part",
    validates="seen_to_unseen",
)
HALF = Protocol("half_shot", "few shots of half of the classes", Layout.SHOTS, "base", (Part("half", "base"),))
HALF_HELD_OUT = Protocol(
    "half_shot_held_out",
    "half_shot on shots held out of training",
    Layout.SHOTS,
    "base",
    (Part("half", "base", ("held_out",)),),
    validates="half_shot",
    needs_folds=True,
)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place."""
    for protocol in (SEEN, SEEN_VALIDATION, HALF, HALF_HELD_OUT):
        monkeypatch.setitem(PROTOCOLS, protocol.name, protocol)
    monkeypatch.setitem(METRICS, WORST.name, WORST)


def table_of(specs: list[RunSpec], results: Path) -> Table:
    (found,) = paper_tables(experiment_runs(specs, results))
    return found


def means(table: Table, block: str, row: str) -> dict[str, float | None]:
    """Method -> mean."""
    return {cell.column: cell.mean for cell in table.cells if (cell.block, cell.row) == (block, row)}


def accuracies(found: dict[str, dict[str, float]], specs: list[RunSpec], method: str, dataset: str) -> pd.DataFrame:
    """Of the seeds of a method on a data set."""
    return pd.DataFrame([found[s.id] for s in specs if (s.method, s.data.dataset) == (method, dataset)])


def page_data(table: Table, specs: list[RunSpec], results: Path) -> dict[str, Any]:
    text, damage = page("mine", [table], experiment_runs(specs, results), results, results / "reports")
    assert damage == []
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


def test_they_are_listed_and_planned(tmp_path: Path) -> None:
    listed = skipbench("list").stdout
    assert f"protocol  {SEEN.name:22s} {SEEN.about}" in listed
    done = skipbench("plan", "--protocol", "seen_to_unseen", "--results", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.count(" seen_to_unseen skip-emoji-16shot-seed") == 3
    message = error_line("plan", "--protocol", "seen_to_unsen", "--results", str(tmp_path))
    assert message.startswith("error: unknown protocol 'seen_to_unsen'. Did you mean 'seen_to_unseen'?")


def test_what_runs_train_on_and_evaluate(plan_runs: Plan) -> None:
    spec = plan_runs("seen_to_unseen", methods=["skip"])[0]
    assert (spec.protocol, spec.data.classes) == ("seen_to_unseen", "new")
    assert [(item.name, item.classes, item.splits) for item in spec.evaluate] == [
        ("seen", "new", ("test",)),
        ("unseen", "base", ("test",)),
    ]
    assert spec.id != plan_runs("base_to_new", methods=["skip"])[0].id


def test_a_table_of_parts_with_its_own_names_and_metric(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("seen_to_unseen", datasets=["emoji", "emoji-food"])
    found = fill(tmp_path, specs)
    table = table_of(specs, tmp_path)
    rows = [row for row in table.rows if row[0] != "costs"]
    assert rows == [(block, row) for block in ("emoji", "emoji-food", "average") for row in ("seen", "unseen", "worst")]
    assert table.name == "seen_to_unseen-16shot"
    for method in ("zeroshot", "coop", "skip"):
        of_sets = [accuracies(found, specs, method, dataset).mean() for dataset in ("emoji", "emoji-food")]
        for dataset, mean in zip(("emoji", "emoji-food"), of_sets, strict=True):
            assert means(table, dataset, "worst")[method] == pytest.approx(min(mean))
            assert means(table, dataset, "unseen")[method] == pytest.approx(mean["unseen"])
        assert means(table, "average", "worst")[method] == pytest.approx(min((of_sets[0] + of_sets[1]) / 2))
    (best,) = (c.column for c in table.cells if (c.block, c.row, c.rank) == ("average", "worst", 1))
    averages = means(table, "average", "worst")
    assert averages[best] == max(value or 0.0 for value in averages.values())


def test_the_table_of_bench_says_the_same(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("seen_to_unseen")
    fill(tmp_path, specs)
    frame = method_table(experiment_runs(specs, tmp_path)).set_index("method")
    assert list(frame.columns[2:5]) == ["seen", "unseen", "worst"]
    table = table_of(specs, tmp_path)
    for method, mean in means(table, "emoji", "worst").items():
        assert str(frame.loc[method, "worst"]).split()[0] == f"{mean:.1f}"
    done = skipbench("bench", "zeroshot,coop,skip", "--protocol", "seen_to_unseen", "--results", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].strip() == "seen_to_unseen, emoji, 16 shots"


def test_figures_page_and_export_of_parts(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("seen_to_unseen")
    fill(tmp_path, specs)
    table = table_of(specs, tmp_path)
    figures = {figure.name: figure for figure in paper_figures([table], tmp_path)}
    time = figures["seen_to_unseen-16shot-accuracy-time"]
    assert time.y_label == "worst of emoji (%)"
    heights = {series.name: series.y[0] for series in time.panels[0].series}
    assert heights == pytest.approx(means(table, "emoji", "worst"))
    assert {f"seen_to_unseen-16shot-classes-emoji-{name}" for name in ("seen", "unseen")} <= figures.keys()
    data = page_data(table, specs, tmp_path)
    columns = [column["name"] for column in data["runs"]["columns"]]
    assert [name for name in columns if name in ("seen", "unseen", "worst")] == ["seen", "unseen", "worst"]
    assert any(figure["name"] == time.name for figure in data["figures"])
    export, _ = tidy_table(tmp_path)
    assert set(export["protocol"]) == {"seen_to_unseen"}
    assert set(export["evaluation.name"]) == {"seen", "unseen"}
    assert export["metrics.worst_part"].notna().all()
    assert export["metrics.H"].isna().all()


def test_a_table_and_curves_over_shots(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("half_shot", datasets=["emoji", "emoji-food"], shots=[1, 4])
    found = fill(tmp_path, specs)
    table = table_of(specs, tmp_path)
    rows = [row for row in table.rows if row[0] != "costs"]
    assert rows == [(block, shots) for block in ("emoji", "emoji-food", "average") for shots in ("1", "4")]
    own = [found[s.id]["half"] for s in specs if (s.method, s.data.dataset, s.data.shots) == ("skip", "emoji", 4)]
    assert means(table, "emoji", "4")["skip"] == pytest.approx(sum(own) / 3)
    figures = {figure.name: figure for figure in paper_figures([table], tmp_path)}
    assert [panel.title for panel in figures["half_shot-curves"].panels] == ["average", "emoji", "emoji-food"]
    assert figures["half_shot-accuracy-time"].y_label == "accuracy at 4 shots, average (%)"
    columns = [column["name"] for column in page_data(table, specs, tmp_path)["runs"]["columns"]]
    assert "half" in columns
    assert set(tidy_table(tmp_path)[0]["evaluation.name"]) == {"half"}
    frame = method_table(experiment_runs(specs, tmp_path))
    assert {"half"} == {"half", "H", "worst", "average of targets"} & set(frame.columns)


def test_an_ablation_of_parts(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("seen_to_unseen", methods=["skip"])
    fill(tmp_path, [*specs, *plan_runs("seen_to_unseen", "skip.depth=4", methods=["skip"])])
    table = ablation(axis_runs(specs, tmp_path, ["skip.depth"]), ["skip.depth"])
    assert table.rows == [("skip", "3"), ("skip", "4")]
    assert table.columns[:3] == ["seen", "unseen", "worst"]


def test_tags_and_summary_at_wandb(
    tmp_path: Path, plan_runs: Plan, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = plan_runs("seen_to_unseen", methods=["skip"], seeds=[1])
    found = fill(tmp_path, [spec])[spec.id]
    result = read_result(tmp_path / "runs" / spec.id / "result.json")
    summary = summary_of(result)
    assert (summary["accuracy/seen"], summary["accuracy/worst"]) == (found["seen"], min(found.values()))
    assert "accuracy/H" not in summary
    asked: dict[str, Any] = {}

    def init(**settings: Any) -> SimpleNamespace:
        asked.update(settings)
        return SimpleNamespace(define_metric=lambda *_, **__: None, starting_step=0, project="skipbench")

    monkeypatch.setattr(wandb_run.wandb, "init", init)
    WandbRun(opening_of(spec, spec.id, tmp_path, result.environment), "offline", tmp_path)
    assert asked["tags"] == ["skip", "emoji", "seen_to_unseen", "clip-emoji"]


def test_settings_are_searched_under_the_validation_twin(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    about = {"method": "skip", "name": "mine", "space": {"skip.depth": {"int": [0, 4]}}}
    sweep = Sweep(**about, protocol="seen_to_unseen_validation", objectives=("worst_part", "train_memory"))
    specs = sweep.specs({"skip.depth": 2})
    assert {spec.protocol for spec in specs} == {"seen_to_unseen_validation"}
    found = fill(tmp_path, specs)
    metrics = metrics_of([read_result(tmp_path / "runs" / spec.id / "result.json") for spec in specs])
    frame = pd.DataFrame([found[spec.id] for spec in specs])
    assert metrics["worst_part"] == pytest.approx(min(frame.mean()))
    assert metrics["worst_part.std"] == pytest.approx(frame.min(axis=1).std(ddof=1))
    assert headline_of(sweep.protocol, metrics) == "worst_part"
    assert table_of(specs, tmp_path).rows[:3] == [("emoji", row) for row in ("seen", "unseen", "worst")]
    with pytest.raises(UserError, match=r"must not look at test .* seen_to_unseen_validation"):
        Sweep(**about, protocol="seen_to_unseen", objectives=("worst_part",)).specs({})


def test_a_twin_on_held_out_shots_needs_folds() -> None:
    changes = {"protocol": "half_shot_held_out", "objectives": ["accuracy"], "seeds": [1]}
    with pytest.raises(UserError, match="held-out shots need folds"):
        load_sweep("skip", changes)
    specs = load_sweep("skip", {**changes, "folds": 4}).specs({})
    assert [spec.data.held_out for spec in specs] == ["1/4", "2/4", "3/4", "4/4"]
    assert {item.splits for spec in specs for item in spec.evaluate} == {("held_out",)}
