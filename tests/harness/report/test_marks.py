"""Results that chose on too much, evaluations that a method refuses, seconds of another run: shown as what they are."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.ablation_curves import ablation_curves
from harness.report.compare import comparison_notes, number_differences
from harness.report.export import tidy_table
from harness.report.figures import Figure, paper_figures
from harness.report.footnotes import footnotes
from harness.report.latex import to_latex
from harness.report.marks import choices_of, details_of, mark_of
from harness.report.method_table import footnote, method_table
from harness.report.page import page
from harness.report.paper_tables import paper_tables
from harness.report.plots import draw
from harness.report.render import to_html, to_markdown
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Cell, Table
from harness.results.record import Result, parse_result
from tests.commands import skipbench
from tests.made_up_results import result_json

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]
Json = dict[str, Any]
ON_TEST = {"chosen": {"alpha": 1.5}, "accuracy": 70.0, "candidates": 9, "pictures": "test", "images": 60}
ON_ALL = {"chosen": {"alpha": 1.5}, "accuracy": 70.0, "candidates": 9, "images": 500, "shots": "all"}
CLEAN = {"chosen": {"alpha": 1.5, "beta": 2.0}, "accuracy": 70.0, "candidates": 9, "images": 180}
NO_NEW = [{"evaluation": "new", "reason": "learns one weight vector a training class"}]


def change(results: Path, specs: list[RunSpec], method: str, **facts: Any) -> None:
    """Change the results of a method; `phases` are added to those of its costs."""
    for spec in specs:
        if spec.method == method:
            path = results / "runs" / spec.id / "result.json"
            content = json.loads(path.read_text())
            phases = facts.get("phases", {})
            content["costs"]["phases"] = {
                name: {**content["costs"]["phases"].get(name, {}), **phases.get(name, {})}
                for name in {**content["costs"]["phases"], **phases}
            }
            content.update({key: value for key, value in facts.items() if key not in ("phases", "recipe")})
            content["spec"]["recipe"] = facts.get("recipe", content["spec"]["recipe"])
            if "refusals" in facts:
                refused = {item["evaluation"] for item in facts["refusals"]}
                content["evaluations"] = [item for item in content["evaluations"] if item["name"] not in refused]
            path.write_text(json.dumps(content))


@pytest.fixture
def few(tmp_path: Path, plan_runs: Plan, finish: Finish) -> list[RunSpec]:
    """Few-shot runs of seven seeds, of which skip is the best, coop the second."""
    specs = plan_runs("few_shot", seeds=[1, 2, 3, 4, 5, 6, 7], shots=[4])
    level = {"zeroshot": 50.0, "coop": 60.0, "skip": 70.0}
    for spec in specs:
        finish(tmp_path, spec, {"all": level[spec.method] + 0.1 * spec.seed})
    return specs


@pytest.fixture
def halves(tmp_path: Path, plan_runs: Plan, finish: Finish) -> list[RunSpec]:
    """Base-to-new runs on two data sets, in which coop refuses the new classes."""
    specs = plan_runs("base_to_new", datasets=["emoji", "emoji-food"], seeds=[1, 2])
    for spec in specs:
        finish(tmp_path, spec, {"base": 60.0 + spec.seed, "new": 50.0})
    change(tmp_path, specs, "coop", refusals=NO_NEW)
    return specs


def table_of(specs: list[RunSpec], results: Path) -> Table:
    (table,) = paper_tables(experiment_runs(specs, results))
    return table


def cell_of(table: Table, column: str, row: str, block: str = "emoji") -> Cell:
    return next(cell for cell in table.cells if (cell.block, cell.row, cell.column) == (block, row, column))


def a_result(spec: RunSpec, selection: Mapping[str, Any] | None) -> Result:
    content = result_json(spec, {"all": 50.0}, {}, selection=selection)
    return parse_result(json.dumps(content), Path("made up"))


@pytest.mark.parametrize(
    ("selection", "recipe", "mark", "images"),
    [
        (None, "official", "", []),
        (None, "as_published", "¶", []),
        (CLEAN, "official", "", ["2 validation images a class"]),
        ({**CLEAN, "shots": "shots"}, "official", "", ["2 validation images a class"]),
        ({**CLEAN, "shots": 1}, "official", "", ["1 validation image a class"]),
        ({**CLEAN, "shots": 3}, "official", "¶", ["3 validation images a class"]),
        (ON_ALL, "official", "¶", ["all validation images"]),
        (ON_TEST, "official", "§", ["test images"]),
        (
            {**ON_ALL, "epoch": 3, "epoch_pictures": "test"},
            "as_published",
            "§",
            ["all validation images", "test images"],
        ),
        ({"epoch": 3, "epoch_pictures": "test"}, "official", "§", ["test images"]),
        ({"epoch": 3, "pictures": "test"}, "official", "", ["2 validation images a class"]),
        ({**CLEAN, "epoch_pictures": "test"}, "official", "", ["2 validation images a class"]),
    ],
)  # fmt: skip
def test_only_what_was_chosen_marks_a_result(
    selection: Json | None, recipe: str, mark: str, images: list[str], plan_runs: Plan
) -> None:
    (spec,) = plan_runs("few_shot", methods=["skip"], seeds=[1], shots=[2])
    result = a_result(spec, selection)
    assert mark_of(result, recipe) == mark
    assert [choice.images for choice in choices_of(result)] == images


def test_at_most_four_validation_images_a_class_are_what_nobody_asked_otherwise(plan_runs: Plan) -> None:
    (spec,) = plan_runs("few_shot", methods=["skip"], seeds=[1], shots=[16])
    assert [choice.shots for choice in choices_of(a_result(spec, CLEAN))] == [4]
    assert [choice.shots for choice in choices_of(a_result(spec, {**CLEAN, "shots": "shots"}))] == [16]


@pytest.mark.parametrize(("selection", "mark"), [(ON_TEST, "§"), (ON_ALL, "¶")])
def test_a_marked_number_is_neither_ranked_nor_tested(
    selection: Json, mark: str, tmp_path: Path, few: list[RunSpec]
) -> None:
    before = table_of(few, tmp_path)
    assert cell_of(before, "skip", "4").rank == 1
    assert cell_of(before, "coop", "4").worse
    change(tmp_path, few, "skip", selection=selection)
    table = table_of(few, tmp_path)
    skip, coop, zeroshot = (cell_of(table, name, "4") for name in ("skip", "coop", "zeroshot"))
    assert (skip.mark, skip.rank, skip.worse) == (mark, 0, False)
    assert (coop.mark, coop.rank, coop.worse) == ("", 1, False)
    assert (zeroshot.rank, zeroshot.worse) == (2, True)
    assert {(test.best, test.other) for test in table.tests["emoji", "4"]} == {("coop", "zeroshot")}


def test_a_mark_stands_in_every_form_of_a_table_with_what_was_chosen_on_what(
    tmp_path: Path, few: list[RunSpec]
) -> None:
    change(tmp_path, few, "skip", selection=ON_TEST)
    change(tmp_path, few, "coop", selection={**CLEAN, "shots": 4})
    table = table_of(few, tmp_path)
    told = "§: chosen on test images, so not ranked: alpha (skip)."
    notes = footnotes(table)
    assert told in notes
    assert "Chosen on 4 validation images a class: alpha, beta (coop)." in notes
    assert "70.40 ± 0.22 §" in to_markdown(table)
    assert r"0.22}\textsuperscript{\S}" in to_latex(table)
    assert r"\textsuperscript{\S}: chosen on test images" in to_latex(table)
    assert "</small><sup>§</sup>" in to_html(table)
    assert told in to_markdown(table)
    assert told in to_html(table)
    words = ["coop,skip", "--protocol", "few_shot", "--shots", "4", "--seeds", "1..7", "--results", str(tmp_path)]
    printed = skipbench("table", "--methods", *words).stdout
    assert "70.40 ± 0.22 §" in printed
    assert told in printed
    printed = skipbench("bench", *words).stdout
    assert "skip §" in printed
    assert told in printed


def test_a_recipe_of_the_authors_is_marked_though_it_chooses_nothing(tmp_path: Path, few: list[RunSpec]) -> None:
    published = [spec.model_copy(update={"recipe": "as_published"}) if spec.method == "coop" else spec for spec in few]
    change(tmp_path, few, "coop", recipe="as_published")
    table = table_of(published, tmp_path)
    assert cell_of(table, "coop", "4").mark == "¶"
    assert "¶: the authors' own choices (recipe as_published), so not ranked: coop." in footnotes(table)
    # The same settings under a clean recipe are the same run, and clean.
    assert cell_of(table_of(few, tmp_path), "coop", "4").mark == ""


def test_an_average_over_a_marked_data_set_is_marked(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs("few_shot", datasets=["emoji", "emoji-food"], seeds=[1], shots=[4], methods=["coop", "skip"])
    for spec in specs:
        finish(tmp_path, spec, {"all": 60.0 if spec.method == "coop" else 70.0})
    change(tmp_path, [spec for spec in specs if spec.data.dataset == "emoji"], "skip", selection=ON_TEST)
    table = table_of(specs, tmp_path)
    marks = {block: cell_of(table, "skip", "4", block).mark for block in ("emoji", "emoji-food", "average")}
    assert marks == {"emoji": "§", "emoji-food": "", "average": "§"}
    assert cell_of(table, "skip", "4", "emoji-food").rank == 1
    assert cell_of(table, "coop", "4", "average").rank == 0, "one method is not ranked"


def test_figures_mark_names_and_leave_them_out_of_the_front(tmp_path: Path, few: list[RunSpec]) -> None:
    change(tmp_path, few, "skip", selection=ON_TEST)
    tables = paper_tables(experiment_runs(few, tmp_path))
    found: dict[str, Figure] = {figure.name: figure for figure in paper_figures(tables, tmp_path)}
    curves = found["few_shot-curves"]
    assert {series.name: series.mark for series in curves.panels[0].series} == {"zeroshot": "", "coop": "", "skip": "§"}
    points = found["few_shot-accuracy-time"]
    assert max(y for _, y in points.panels[0].front) == pytest.approx(60.4)
    assert found["few_shot-phases"].panels[0].series[0].x == ("zeroshot", "coop", "skip §")
    assert [panel.title for panel in found["few_shot-classes-emoji-all"].panels] == ["coop", "skip §"]
    for figure in found.values():
        assert figure.marks == ("§: chosen on test images, so not ranked: alpha (skip).",)
        drawn = draw(figure, ["zeroshot", "coop", "skip"], "svg").decode()
        assert "skip §" in drawn, figure.name
        assert "chosen on test images" in drawn, figure.name
    specs = [spec for spec in few if spec.method == "skip"]
    over = ablation_curves(axis_runs(specs, tmp_path, ["skip.depth"]), "skip.depth")
    assert [panel.title for panel in over.panels] == ["skip §"]
    assert over.marks


def test_an_evaluation_that_a_method_refuses_says_so(tmp_path: Path, halves: list[RunSpec]) -> None:
    table = table_of(halves, tmp_path)
    for block in ("emoji", "emoji-food", "average"):
        states = {row: cell_of(table, "coop", row, block).state for row in ("base", "new", "H")}
        assert states == {"base": "done", "new": "refused", "H": "refused"}
    assert cell_of(table, "coop", "base", "average").mean == 61.5
    assert cell_of(table, "coop", "base", "average").rank == 1, "all three are equally good on the base classes"
    assert cell_of(table, "coop", "H", "average").rank == 0
    why = "n/a: cannot be evaluated (coop on new: learns one weight vector a training class)."
    notes = footnotes(table)
    assert why in notes
    assert not any("missing" in note or "not every data set" in note for note in notes)
    assert "| n/a |" in to_markdown(table)
    runs = experiment_runs(halves, tmp_path)
    rows = method_table(runs).set_index(["dataset", "method"])
    assert rows.loc[("emoji", "coop"), ["base", "new", "H"]].tolist() == ["61.5 ± 0.7", "n/a", "n/a"]
    assert why in footnote(runs)
    (time,) = [figure for figure in paper_figures([table], tmp_path) if figure.name.endswith("accuracy-time")]
    assert {series.name for series in time.panels[0].series} == {"zeroshot", "skip"}
    assert "Not drawn, since they cannot be evaluated on all classes: CoOp." in time.note


def test_a_table_of_refusing_runs_alone_keeps_the_columns(tmp_path: Path, halves: list[RunSpec]) -> None:
    runs = experiment_runs([spec for spec in halves if spec.method == "coop"], tmp_path)
    rows = method_table(runs)
    assert rows[["new", "H"]].values.tolist() == [["n/a", "n/a"]] * 2
    text, _ = page("x", paper_tables(runs), runs, tmp_path, tmp_path)
    assert "Not evaluated on new: learns one weight vector a training class." in text


def test_targets_that_a_method_refuses_have_no_average(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    specs = plan_runs("cross_dataset", methods=["zeroshot", "coop"], seeds=[1])
    for spec in specs:
        finish(tmp_path, spec, {item.name: 50.0 for item in spec.evaluate})
    targets = [item.name for item in specs[0].evaluate if item.name != "emoji"]
    change(tmp_path, specs, "coop", refusals=[{"evaluation": name, "reason": "why"} for name in targets])
    table = table_of(specs, tmp_path)
    cells = {cell.row: cell for cell in table.cells if cell.column == "coop" and cell.block == "targets"}
    assert {cell.state for cell in cells.values()} == {"refused"}
    assert cell_of(table, "coop", "emoji", "source").mean == 50.0
    assert f"n/a: cannot be evaluated (coop on {', '.join(targets)}: why)." in footnotes(table)


def test_a_comparison_shows_marks_and_refusals(tmp_path: Path, halves: list[RunSpec]) -> None:
    change(tmp_path, halves, "skip", selection=ON_TEST)
    sides = [[spec for spec in halves if spec.method == name and spec.seed == 1][:1] for name in ("coop", "skip")]
    a, b = (experiment_runs(specs, tmp_path) for specs in sides)
    numbers = number_differences(a, b).set_index("metric")
    assert numbers.loc["base", ["A", "B", "difference"]].tolist() == ["61.00", "61.00 §", "+0.00"]
    assert numbers.loc["new", ["A", "B", "difference"]].tolist() == ["n/a", "50.00 §", ""]
    assert numbers.loc["H", "A"] == "n/a"
    notes = " ".join(comparison_notes(a, b))
    assert "§: chosen on test images" in notes
    assert "n/a: cannot be evaluated (coop on new" in notes
    assert "new" not in set(number_differences(a, a)["metric"]), "both refuse"


def test_seconds_of_another_run_count_and_are_told(tmp_path: Path, few: list[RunSpec]) -> None:
    change(tmp_path, few, "skip", phases={"cache": {"seconds": 0.25, "shared_seconds": 3.0}})
    table = table_of(few, tmp_path)
    cell = cell_of(table, "skip", "cache s", "costs")
    assert (cell.mean, cell.mark) == (3.25, "‖")
    assert cell_of(table, "coop", "cache s", "costs").mark == ""
    assert cell_of(table, "skip", "train s", "costs").mark == ""
    told = "‖: as if alone; of these seconds a run, another spent on the features that both use: skip 3.0."
    assert told in footnotes(table)
    runs = experiment_runs(few, tmp_path)
    assert method_table(runs).set_index("method").loc["skip", "cache s"] == "3.2 ± 0.0 ‖"
    assert told in footnote(runs)
    phases = next(figure for figure in paper_figures([table], tmp_path) if figure.name.endswith("phases"))
    bars = {series.name: dict(zip(series.x, series.y, strict=True)) for series in phases.panels[0].series}
    assert (bars["cache"]["skip"], told.removeprefix("‖: a") in phases.note) == (3.25, True)


def test_time_to_adapt_is_a_column_where_something_is_fitted_or_chosen(tmp_path: Path, few: list[RunSpec]) -> None:
    assert not {"fit s", "select s", "adapt s"} & set(method_table(experiment_runs(few, tmp_path)).columns)
    assert "adapt s" not in footnote(experiment_runs(few, tmp_path))
    phases = {"fit": {"seconds": 0.5}, "select": {"seconds": 4.0, "peak_tensor_bytes": 64 * 2**20}}
    change(tmp_path, few, "skip", phases=phases)
    runs = experiment_runs(few, tmp_path)
    rows = method_table(runs).set_index("method")
    # Caching takes a second, training two.
    assert rows.loc["skip", ["fit s", "select s", "adapt s"]].tolist() == ["0.5 ± 0.0", "4.0 ± 0.0", "7.5 ± 0.0"]
    assert rows.loc["coop", ["fit s", "select s", "adapt s"]].tolist() == ["-", "-", "3.0 ± 0.0"]
    assert "adapt s: cache, fit, train, select together." in footnote(runs)
    table = table_of(few, tmp_path)
    assert cell_of(table, "skip", "adapt s", "costs").mean == 7.5
    assert cell_of(table, "skip", "run MiB", "costs").mean == 64
    assert runs.set_index("method").loc["skip", "train_memory"].tolist() == [64.0] * 7


def test_a_fitted_method_that_trains_nothing_has_a_value_for_each_seed(
    tmp_path: Path, few: list[RunSpec], finish: Finish
) -> None:
    zeroshot = next(spec for spec in few if spec.method == "zeroshot")
    assert [test.pairs for test in table_of(few, tmp_path).tests["emoji", "4"] if test.other == "zeroshot"] == [7]
    change(tmp_path, [zeroshot], "zeroshot", phases={"fit": {"seconds": 0.5}})
    assert [test.pairs for test in table_of(few, tmp_path).tests["emoji", "4"] if test.other == "zeroshot"] == [1]


def test_page_show_and_export_tell_what_was_chosen(tmp_path: Path, few: list[RunSpec]) -> None:
    chosen = {**CLEAN, "epoch": 2, "epoch_pictures": "test", "epoch_accuracy": 71.0, "epoch_images": 60}
    change(tmp_path, few, "skip", selection=chosen, phases={"cache": {"shared_seconds": 3.0}})
    spec = next(spec for spec in few if spec.method == "skip")
    lines = [
        "Chosen on 4 validation images a class (180 images): alpha=1.5, beta=2 of 9 candidates, with 70.00 %.",
        "§ Chosen on test images (60 images): epoch 2, with 71.00 %.",
        "‖ Phase cache: 4.00 s as if alone, 3.00 s of them spent by another run for the features both use.",
    ]
    content = (tmp_path / "runs" / spec.id / "result.json").read_text()
    assert details_of(parse_result(content, Path("made up"))) == lines
    runs = experiment_runs(few, tmp_path)
    text, _ = page("x", paper_tables(runs), runs, tmp_path, tmp_path)
    assert all(line in text for line in lines)
    assert '"words":["zeroshot","coop","skip §"]' in text
    printed = skipbench("show", spec.id, "--results", str(tmp_path)).stdout
    assert all(line in printed for line in lines)
    table, _ = tidy_table(tmp_path)
    row = table[table["id"] == spec.id].iloc[0]
    assert (row["selection.chosen.alpha"], row["selection.candidates"], row["selection.epoch"]) == (1.5, 9, 2)


def test_the_export_has_a_row_for_a_refused_evaluation(tmp_path: Path, halves: list[RunSpec]) -> None:
    spec = next(spec for spec in halves if spec.method == "coop")
    table, _ = tidy_table(tmp_path)
    rows = table[table["id"] == spec.id].set_index("evaluation.name")
    assert rows.loc["base", "evaluation.accuracy"] == 61.0
    assert rows.loc["new", "evaluation.refused"] == "learns one weight vector a training class"
    assert rows.loc["new", ["evaluation.accuracy", "metrics.H"]].isna().all()
    printed = skipbench("runs", "--method", "coop", "--results", str(tmp_path)).stdout
    assert "base 61.00 new n/a" in printed


def test_marks_of_cells_in_an_ablation(tmp_path: Path, few: list[RunSpec]) -> None:
    change(tmp_path, few, "skip", selection=ON_TEST)
    words = ["skip", "--protocol", "few_shot", "--shots", "4", "--seeds", "1..7", "--results", str(tmp_path)]
    printed = skipbench("table", "--methods", *words, "--over", "skip.depth").stdout
    assert "70.40 ± 0.22 §" in printed
    assert "§: chosen on test images, so not ranked: alpha (skip)." in printed
