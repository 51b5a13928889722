"""Short names of variants: only what differs, rounded, numbered where they would be long, the same in every output."""

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.datasets import read_dataset
from harness.experiment.spec import RunSpec
from harness.report.figures import paper_figures
from harness.report.footnotes import footnotes
from harness.report.labels import LONGEST_LABEL, label_variants, settings_apart, shortened
from harness.report.latex import latex_document, plan, to_latex
from harness.report.paper_tables import paper_tables
from harness.report.plots import compose, draw, key_lines
from harness.report.runs import axis_runs, experiment_runs, folder_runs
from harness.report.table import Table
from harness.results.folder import RunFolder
from tests.commands import error_line, skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
RATIO, LAMBDA = 0.7500000000000001, 0.05001713475190


def test_numbers_are_rounded_to_what_tells_them_apart() -> None:
    assert shortened([RATIO, 0.5]) == {"0.7500000000000001": "0.75", "0.5": "0.5"}
    assert list(shortened([0.123456, 0.12349]).values()) == ["0.12346", "0.12349"]
    assert list(shortened([0.75, RATIO]).values()) == ["0.75", "0.7500000000000001"]
    assert list(shortened([3, 12, None, "a", True]).values()) == ["3", "12", "null", "a", "true"]
    assert list(shortened([1234.5678, 1, 1.0]).values()) == ["1234.5678", "1", "1.0"]


def test_labels_hold_every_setting_that_differs_and_no_other() -> None:
    cells = [
        ("emoji", {"skip.depth": depth, "train.lr": lr, "train.epochs": 5}) for depth in (10, 2) for lr in (0.1, 1)
    ]
    found = label_variants("skip", cells)
    assert [one.label for one in found] == [
        "skip (depth=10, train.lr=0.1)" if False else f"skip #{number}" for number in (3, 4, 1, 2)
    ]
    assert found[0].settings == "depth=10, train.lr=0.1"
    (one, other) = label_variants("skip", [("emoji", {"skip.depth": depth}) for depth in (10, 2)])
    assert (one.label, other.label, one.place, other.place) == ("skip (depth=10)", "skip (depth=2)", 1, 0)
    # Different data sets may have different recipes.
    same = label_variants("skip", [("emoji", {"skip.depth": 2}), ("dtd", {"skip.depth": 3})])
    assert {one.label for one in same} == {"skip"}


@pytest.fixture
def several(plan_runs: Plan) -> list[RunSpec]:
    """Skip Tuning at two depths, ratios and weights, and CoOp once: two seeds each."""
    found = plan_runs("base_to_new", methods=["coop", "zeroshot"], seeds=[1, 2])
    for depth, ratio, weight in ((0, 0.5, 0.1), (3, RATIO, LAMBDA), (2, RATIO, 0.1)):
        changes = (f"skip.depth={depth}", f"skip.class_ratio={ratio}", f"skip.lambda={weight}")
        found += plan_runs("base_to_new", *changes, methods=["skip"], seeds=[1, 2])
    return found


@pytest.fixture
def table(several: list[RunSpec], tmp_path: Path, fill: Fill) -> Table:
    fill(tmp_path, several)
    (found,) = paper_tables(folder_runs(tmp_path).runs)
    return found


KEY = [
    "skip #1: class_ratio=0.5, depth=0, lambda=0.1.",
    "skip #2: class_ratio=0.75, depth=2, lambda=0.1.",
    "skip #3: class_ratio=0.75, depth=3, lambda=0.05.",
]


def test_long_labels_are_numbered_with_a_key_below(table: Table, tmp_path: Path) -> None:
    assert table.columns == ["coop", "skip #1", "skip #2", "skip #3", "zeroshot"]
    assert footnotes(table)[:3] == KEY
    printed = skipbench("table", "--format", "csv,md,latex,html", "--results", str(tmp_path))
    assert " ".join(KEY) in printed.stdout
    folder = tmp_path / "tables"
    for ending in ("md", "tex", "html"):
        text = next(folder.glob(f"*.{ending}")).read_text().replace("\\", "")
        assert ("Skip Tuning #2" if ending == "tex" else "skip #2") in text
        assert "class_ratio=0.75, depth=2, lambda=0.1." in text
        assert str(RATIO) not in text
    lines = list(csv.DictReader(io.StringIO(next(folder.glob("*.csv")).read_text())))
    exact = {line["column"]: line["settings"] for line in lines}
    assert exact["skip #3"] == f"class_ratio={RATIO}, depth=3, lambda={LAMBDA}"
    assert exact["coop"] == ""


def test_figures_and_the_page_have_short_names_and_their_key(table: Table, tmp_path: Path) -> None:
    figures = paper_figures([table], tmp_path)
    assert all(figure.key == tuple(line.removesuffix(".") for line in KEY) for figure in figures)
    names = {series.name for figure in figures for panel in figure.panels for series in panel.series}
    assert max(map(len, names)) <= LONGEST_LABEL
    scatter = next(figure for figure in figures if figure.kind == "scatter")
    assert b"skip #3: class_ratio=0.75, depth=3, lambda=0.05" in draw(scatter, table.columns, "svg")
    drawing = compose(scatter, table.columns)
    drawing.draw_without_rendering()
    (panel,) = drawing.axes
    assert panel.get_position().height > 0.4
    assert len(key_lines([f"skip #{number}: depth={number}" for number in range(30)], 5.0)) == 1
    told = skipbench("figures", "--results", str(tmp_path)).stdout
    assert KEY[0].removesuffix(".").replace("skip", "Skip Tuning", 1) in told
    assert skipbench("report", "--results", str(tmp_path)).returncode == 0
    page = (tmp_path / "reports" / "results.html").read_text()
    assert KEY[1] in page
    assert '"name":"settings"' in page


def test_runs_of_one_name_are_listed_with_what_differs(table: Table, tmp_path: Path, several: list[RunSpec]) -> None:
    lines = skipbench("runs", "--method", "skip", "--results", str(tmp_path)).stdout.splitlines()[:-1]
    # Behind state, id and protocol, no two lines are the same.
    about = [line.partition(": ")[0].split(maxsplit=3)[3] for line in lines]
    assert len(set(about)) == len(about) == 6
    assert "skip-emoji-16shot-seed2 depth=3 class_ratio=0.75 lambda=0.05" in about
    assert not settings_apart({spec.id: spec for spec in several if spec.method == "coop"})


def test_compare_rounds_too(table: Table, tmp_path: Path, several: list[RunSpec]) -> None:
    first, other = (next(spec.id for spec in several if spec.options.get("depth") == depth) for depth in (0, 3))
    printed = skipbench("compare", first, other, "--results", str(tmp_path)).stdout
    assert "0.75" in printed
    assert str(RATIO) not in printed


def test_ablations_have_short_rows_and_exact_csv(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    axes = (f"skip.class_ratio=0.5,{RATIO}", "skip.depth=0,3")
    fill(tmp_path, plan_runs("base_to_new", *axes, methods=["skip"], seeds=[1]))
    words = (
        "table",
        "--methods",
        "skip",
        "--seeds",
        "1",
        *axes,
        "--over",
        "skip.class_ratio",
        "--results",
        str(tmp_path),
    )
    printed = skipbench(*words, "--format", "csv").stdout
    assert "0.75, 3" in printed
    assert str(RATIO) not in printed
    assert f"{RATIO}, 3" in next((tmp_path / "tables").glob("*.csv")).read_text()


def test_runs_that_only_validate_are_shown_on_request(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    trials = plan_runs("base_to_new_validation", "skip.depth=0,3", methods=["skip"], seeds=[1])
    fill(tmp_path, trials)
    results = ("--results", str(tmp_path))
    told = "2 runs without test images, such as the trials of sweeps, are left out: --all-runs shows them."
    for command in ("table", "figures", "report"):
        assert told in error_line(command, *results)
    fill(tmp_path, plan_runs("base_to_new", methods=["skip"], seeds=[1]))
    printed = skipbench("table", *results).stdout
    assert told in printed
    assert "base_to_new_validation" not in printed
    everything = skipbench("table", "--all-runs", *results).stdout
    assert "base_to_new_validation" in everything
    assert "left out" not in everything
    # Who names the protocol has asked for them.
    asked = skipbench("table", "--protocol", "base_to_new_validation", "--methods", "skip", "--seeds", "1", *results)
    assert "left out" not in asked.stdout
    assert told in skipbench("figures", *results).stdout
    assert skipbench("report", *results).returncode == 0
    assert told in (tmp_path / "reports" / "results.html").read_text()


def many_variants(number: int, plan_runs: Plan) -> list[RunSpec]:
    """Runs of Skip Tuning with two seeds, in a number of settings."""
    return [
        spec.model_copy(update={"options": {**spec.options, "lambda": (place + 1) / 7, "depth": place % 4}})
        for place in range(number)
        for spec in plan_runs("base_to_new", methods=["skip"], seeds=[1, 2])
    ]


@pytest.mark.parametrize("number", [3, 7, 20])
def test_latex_is_planned_within_the_line(number: int, tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = many_variants(number, plan_runs)
    fill(tmp_path, specs)
    (found,) = paper_tables(experiment_runs(specs, tmp_path))
    layout = plan(found, 2, False, 487.0 if number > 4 else 345.0)
    assert [place for part in layout.parts for place in part] == list(range(2, number + 2))
    assert (len(layout.parts) == 1) == (number < 20)
    text = to_latex(found)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == len(layout.parts)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-base)")
def test_latex_of_many_variants_fits_the_page(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = many_variants(40, plan_runs)
    fill(tmp_path, specs)
    (found,) = paper_tables(experiment_runs(specs, tmp_path))
    (tmp_path / "wide.tex").write_text(latex_document([to_latex(found)]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "wide.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_runs_that_learn_or_are_asked_something_else_are_no_seeds_of_one_another(
    tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    half = "evaluate=[{name: base, dataset: emoji, classes: base.base}, {name: new, dataset: emoji, classes: new}]"
    usual = plan_runs("base_to_new", methods=["skip"], seeds=[1, 2])
    other = plan_runs("base_to_new", "data.classes=new", methods=["skip"], seeds=[1, 2])
    asked = plan_runs("base_to_new", half, methods=["skip"], seeds=[1, 2])
    alone = plan_runs("base_to_new", "data.classes=new", methods=["coop"])
    fill(tmp_path, [*usual, *other, *asked, *alone])
    (table,) = paper_tables(folder_runs(tmp_path).runs)
    labels = table.runs.groupby("label")["exact"].agg(["count", "first"])
    assert sorted(labels["count"]) == [2, 2, 2, 3]
    (coop,) = (row[2] for row in labels.itertuples() if str(row[0]).startswith("coop"))
    assert "data.classes=new" in str(coop)


def test_of_runs_whose_files_have_changed_the_last_counts(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    texts, results = tmp_path / "texts.json", tmp_path / "results"
    ids = []
    for number, sentence in enumerate(("a", "another")):
        texts.write_text(json.dumps({name: [f"{sentence} {name}"] for name in read_dataset("emoji").class_names}))
        specs = plan_runs("few_shot", f"data.templates={texts}", methods=["clip_adapter"], seeds=[1, 2], shots=[2])
        found = fill(results, specs)
        ids.append([spec.id for spec in specs])
        for run_id in ids[-1]:
            os.utime(RunFolder(results, run_id).result_file, (number, number))
    older, newer = ids
    assert not {*older} & {*newer}
    runs = folder_runs(results)
    assert (sorted(runs.runs["id"]), sorted(runs.older)) == (sorted(newer), sorted(older))
    (table,) = paper_tables(runs.runs)
    mean = sum(found[run_id]["all"] for run_id in newer) / 2
    assert [cell.mean for cell in table.cells if cell.row == "2"] == [pytest.approx(mean)]
    over = axis_runs(specs, results, ["train.lr"])
    assert sorted(over["id"]) == sorted(newer)
    told = skipbench("table", "--results", str(results)).stdout
    assert "2 earlier runs with the settings and seeds of a later one are left out" in told
