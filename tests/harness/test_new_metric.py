"""A metric that is added to METRICS, and nowhere else, is wherever results are shown or searched."""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from pydantic import ValidationError

from harness.experiment.spec import RunSpec
from harness.report.compare import number_differences
from harness.report.export import tidy_table
from harness.report.figures import Figure, paper_figures
from harness.report.footnotes import footnotes
from harness.report.method_table import method_table
from harness.report.page import page
from harness.report.paper_tables import ablation, paper_tables
from harness.report.render import MARKDOWN, text_frame
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Cell, Table
from harness.results.metrics import METRICS, EvaluationMetric, Metric, RunMetric, SummaryMetric, find_metric
from harness.results.record import Evaluation, Result, read_result
from harness.tracking.contents import summary_of
from harness.tune.objective import metrics_of
from harness.tune.report import shown, title_of
from harness.tune.sweep import Sweep
from tests.commands import skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def energy(result: Result) -> float | None:
    """100 W in training; None for a run that trains nothing."""
    return 100 * result.costs.seconds("train") or None


def worst_class(item: Evaluation) -> float | None:
    return min(item.per_class.values(), default=None)


def gap(source: str, accuracies: Any) -> float | None:
    """Distance of the highest and the lowest accuracy."""
    return max(accuracies.values()) - min(accuracies.values()) if len(accuracies) > 1 else None


ENERGY = RunMetric(
    "energy", "energy kJ", "J", "energy of training", 3, False, "metrics/energy", scale=1e-3, value=energy, axis="kJ"
)
WORST = EvaluationMetric("worst", "worst class", "%", "the worst class", 2, True, "worst", value=worst_class)
GAP = SummaryMetric("gap", "gap", "points", "distance of accuracies", 3, False, "accuracy/gap", of_accuracies=gap)


class Study(NamedTuple):
    """A finished experiment: its folder, runs, and the results that are in it."""

    folder: Path
    specs: list[RunSpec]
    runs: pd.DataFrame
    table: Table

    def results(self, method: str) -> list[Result]:
        """Of a method, by seed."""
        paths = [self.folder / "runs" / spec.id / "result.json" for spec in self.specs if spec.method == method]
        return [read_result(path) for path in paths]

    def cell(self, block: str, row: str, column: str) -> Cell:
        (found,) = (cell for cell in self.table.cells if (cell.block, cell.row, cell.column) == (block, row, column))
        return found


def add(monkeypatch: pytest.MonkeyPatch, *metrics: Metric) -> None:
    """The one place."""
    for metric in metrics:
        monkeypatch.setitem(METRICS, metric.name, metric)


def finished(folder: Path, specs: list[RunSpec], fill: Fill) -> Study:
    fill(folder, specs)
    runs = experiment_runs(specs, folder)
    (table,) = paper_tables(runs)
    return Study(folder, specs, runs, table)


@pytest.fixture
def study(tmp_path: Path, plan_runs: Plan, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Three methods, base to new, with all three metrics added."""
    add(monkeypatch, ENERGY, WORST, GAP)
    return finished(tmp_path, plan_runs("base_to_new"), fill)


def of_seeds(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.{digits}f} ± {statistics.stdev(known):.{digits}f}"


def worst_of(study: Study, method: str, number: int) -> list[float | None]:
    return [worst_class(result.evaluations[number]) for result in study.results(method)]


def energies(study: Study, method: str) -> list[float | None]:
    return [None if energy(result) is None else (energy(result) or 0) / 1000 for result in study.results(method)]


def gap_of_means(study: Study, method: str) -> float:
    accuracies = pd.DataFrame([result.accuracies for result in study.results(method)]).mean()
    return float(accuracies.max() - accuracies.min())


def test_none_of_them_is_there_before(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    study = finished(tmp_path, plan_runs("base_to_new", methods=["skip"]), fill)
    assert not {"energy kJ", "worst class base", "gap"} & {row for _, row in study.table.rows}
    assert not {"metrics/energy", "worst/base", "accuracy/gap"} & summary_of(study.results("skip")[0]).keys()


def test_in_the_table_of_bench(study: Study) -> None:
    table = method_table(study.runs).set_index("method")
    assert list(table.columns[2:7]) == ["base", "new", "worst class base", "worst class new", "H"]
    assert table.loc["skip", "energy kJ"] == of_seeds(energies(study, "skip"), 3)
    assert table.loc["zeroshot", "energy kJ"] == "-"
    assert table.loc["skip", "worst class new"] == of_seeds(worst_of(study, "skip", 1), 1)
    assert str(table.loc["coop", "gap"]).split()[0] == f"{gap_of_means(study, 'coop'):.3f}"
    done = skipbench("bench", "zeroshot,coop,skip", "--results", str(study.folder))
    assert done.returncode == 0
    for title in ("energy kJ", "worst class base", "gap"):
        assert title in done.stdout


def test_in_the_papers_table(study: Study) -> None:
    frame = text_frame(study.table, MARKDOWN)
    assert {"energy kJ", "worst class base", "worst class new", "gap"} <= set(frame[""])
    row = frame[frame[""] == "energy kJ"].iloc[0]
    assert (row["zeroshot"], row["skip"]) == ("–", of_seeds(energies(study, "skip"), 3))
    row = frame[frame[""] == "worst class new"].iloc[0]
    assert row["coop"] == of_seeds(worst_of(study, "coop", 1), 2)
    # Costs and further scores are not ranked; what sums up accuracies is, and of this one the lowest is the best.
    assert not any(cell.rank for cell in study.table.cells if cell.row in ("energy kJ", "worst class base"))
    means = {method: study.cell("emoji", "gap", method).mean for method in study.table.columns}
    assert means == pytest.approx({method: gap_of_means(study, method) for method in means})
    assert study.cell("emoji", "gap", min(means, key=lambda method: means[method] or 0.0)).rank == 1
    assert "gap: distance of accuracies." in footnotes(study.table)
    # The protocol is still judged by its own.
    assert [row for block, row in study.table.rows if block == "emoji"] == ["base", "new", "gap", "H"]


def test_in_an_ablation(study: Study) -> None:
    table = ablation(axis_runs(study.specs, study.folder, ["skip.depth"]), ["skip.depth"])
    assert {"energy kJ", "worst class base", "gap", "H"} <= set(table.columns)
    assert {"energy kJ", "worst class base"} <= table.costs


def test_in_a_figure(study: Study) -> None:
    figures: dict[str, Figure] = {figure.name: figure for figure in paper_figures([study.table], study.folder)}
    figure = figures[f"{study.table.name}-accuracy-energy"]
    assert (figure.x_label, figure.y_label) == ("kJ", "H of emoji (%)")
    assert "Accuracy against energy kJ" in figure.title
    points = {series.name: series.x[0] for series in figure.panels[0].series}
    assert points.keys() == {"coop", "skip"}, "zero-shot CLIP has none"
    assert points["skip"] == pytest.approx(statistics.mean(value or 0.0 for value in energies(study, "skip")))


def test_on_the_report_page(study: Study) -> None:
    text, damage = page("mine", [study.table], study.runs, study.folder, study.folder / "reports")
    assert damage == []
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    data = json.loads(found)
    names = [column["name"] for column in data["runs"]["columns"]]
    assert {"energy kJ", "worst class base", "worst class new", "gap"} <= set(names)
    row = next(row for row in data["runs"]["rows"] if row[-1] == study.specs[-1].id)
    last = study.results(study.specs[-1].method)[-1]
    assert row[names.index("energy kJ")] == round((energy(last) or 0) / 1000, 3)
    assert row[names.index("worst class base")] == worst_class(last.evaluations[0])
    assert any(figure["name"].endswith("accuracy-energy") for figure in data["figures"])
    assert text.count("worst class base") >= 2, "in the table and in the list of runs"


def test_in_a_comparison(study: Study) -> None:
    coop, skip = (study.runs[study.runs["method"] == method].assign(method="x") for method in ("coop", "skip"))
    found = number_differences(coop, skip).set_index("metric")
    a, b = (statistics.mean(value or 0.0 for value in energies(study, method)) for method in ("coop", "skip"))
    assert (found.loc["energy kJ", "difference"], found.loc["energy kJ", "ratio"]) == (f"{b - a:+.3f}", f"{b / a:.2f}x")
    assert found.loc["worst class base", "A"] == of_seeds(worst_of(study, "coop", 0), 2)
    assert found.loc["worst class base", "ratio"] == ""
    assert "gap" in found.index


def test_in_the_export(study: Study) -> None:
    table, damage = tidy_table(study.folder)
    assert damage == []
    for method in ("skip", "coop"):
        for number, result in enumerate(study.results(method)):
            rows = table[table["id"] == result.id]
            assert set(rows["metrics.energy"]) == {energy(result)}
            assert set(rows["metrics.gap"]) == {gap("", result.accuracies)}
            assert rows["evaluation.worst"].tolist() == [worst_of(study, method, part)[number] for part in (0, 1)]


def test_in_the_summary_at_wandb(study: Study) -> None:
    result = study.results("skip")[0]
    found = summary_of(result)
    assert found["metrics/energy"] == energy(result)
    assert found["worst/new"] == worst_class(result.evaluations[1])
    assert found["accuracy/gap"] == gap("", result.accuracies)
    assert "metrics/energy" not in summary_of(study.results("zeroshot")[0])


def test_as_objectives_and_limits_of_a_sweep(study: Study) -> None:
    about = {"method": "skip", "space": {"skip.depth": {"int": [0, 4]}}}
    objectives = ("gap", "energy", "worst", "worst.new")
    sweep = Sweep(**about, objectives=objectives, limits={"energy": 900.0})
    results = study.results("skip")
    found = metrics_of(results)
    expected = {
        "energy": statistics.mean(energy(result) or 0.0 for result in results),
        "worst.new": statistics.mean(value or 0.0 for value in worst_of(study, "skip", 1)),
        "gap": gap_of_means(study, "skip"),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["worst"] == pytest.approx((found["worst.base"] + found["worst.new"]) / 2)
    assert [find_metric(name).higher_is_better for name in sweep.objectives] == [False, False, True, True]
    assert [title_of(name) for name in objectives] == ["gap", "energy kJ", "worst", "worst.new"]
    assert shown("energy", found) == f"{expected['energy'] / 1000:.3f}"
    with pytest.raises(ValidationError, match=r"unknown metric 'enrgy'\. Did you mean 'energy'"):
        Sweep(**about, objectives=("enrgy",))


@pytest.mark.parametrize("protocol", ["cross_dataset", "domain_generalization"])
def test_what_sums_up_targets_is_a_row_before_their_average(
    protocol: str, tmp_path: Path, plan_runs: Plan, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(monkeypatch, GAP, ENERGY)
    study = finished(tmp_path, plan_runs(protocol, methods=["skip"]), fill)
    rows = [row for block, row in study.table.rows if block == "targets"]
    assert rows[-2:] == ["gap", "average"]
    assert study.cell("targets", "gap", "skip").mean == pytest.approx(gap_of_means(study, "skip"))
    names = {figure.name: figure for figure in paper_figures([study.table], study.folder)}
    assert names[f"{study.table.name}-accuracy-energy"].y_label == "average accuracy of targets (%)"
