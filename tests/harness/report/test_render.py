"""A table as text: marks, escapes, and what LaTeX makes of every layout."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from harness.experiment.spec import RunSpec
from harness.report.latex import LATEX, SIZES, caption_of, height_of, latex, latex_document, pages, row_groups, to_latex
from harness.report.paper_tables import ablation, paper_tables
from harness.report.published import with_published
from harness.report.render import HTML, MARKDOWN, cell_text, to_csv, to_html, to_markdown
from harness.report.runs import axis_runs, experiment_runs
from harness.report.table import Cell, Table

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
CELL = Cell("dtd", "base", "skip", 76.504, 0.306, seeds=3, planned=3)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (CELL, "76.50 ± 0.31"),
        (replace(CELL, rank=1), "**76.50** ± 0.31"),
        (replace(CELL, rank=2), "<u>76.50</u> ± 0.31"),
        (replace(CELL, worse=True), "76.50 ± 0.31\\*"),
        (replace(CELL, seeds=2), "76.50 ± 0.31 (2)"),
        (replace(CELL, std=None), "76.50"),
        (replace(CELL, digits=0), "77 ± 0"),
        (replace(CELL, mean=None, state="missing"), "–"),
        (replace(CELL, mean=None, state="failed"), "–‡"),
        (replace(CELL, mean=None, published=True), ""),
        (replace(CELL, mean=0.0, std=None), "0.00"),
    ],
)
def test_cells_of_markdown(cell: Cell, expected: str) -> None:
    assert cell_text(cell, MARKDOWN) == expected


def test_cells_of_latex_and_html() -> None:
    best = replace(CELL, rank=1, worse=True)
    assert cell_text(best, LATEX) == r"\textbf{76.50}\,{\scriptsize$\pm$\,0.31}\textsuperscript{*}"
    assert cell_text(best, HTML) == "<b>76.50</b> <small>± 0.31</small><sup>*</sup>"
    assert cell_text(replace(CELL, mean=None, state="failed"), LATEX) == r"--\textsuperscript{$\ddagger$}"


def test_latex_escapes_what_it_would_read_as_commands() -> None:
    assert latex("a_b 5% {x} & #1 ~ ^ \\ < $") == (
        r"a\_b 5\% \{x\} \& \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} $<$ \$"
    )


@pytest.mark.parametrize(
    ("typed", "set_as"),
    [
        ('a "word", ("two")', "a ``word'', (``two'')"),
        ("the authors' 'own' code", "the authors' `own' code"),
        ("-0.5 and 1e-3 and 16-shot", "$-$0.5 and 1e-3 and 16-shot"),
        ("--over a--b", "-{}-over a-{}-b"),
        ("1–3 --", "1--3 -{}-"),
        ("seeds x data sets", r"seeds $\times$ data sets"),
        ("3...", r"3\ldots{}"),
    ],
)
def test_latex_is_set_as_a_typesetter_would(typed: str, set_as: str) -> None:
    assert latex(typed) == set_as


def test_negative_numbers_have_a_minus() -> None:
    assert cell_text(replace(CELL, mean=-0.42, std=None), LATEX) == "$-$0.42"


@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("base_to_new, emoji, 16 shots", "Base-to-new, emoji, 16 shots."),
        ("Standing: few_shot, 1 shot, validation-free", "Standing: few-shot, 1 shot, validation-free."),
        ("my_method of others.", "My_method of others."),
    ],
)
def test_captions_are_sentences(title: str, sentence: str) -> None:
    assert caption_of(title) == sentence


def test_methods_are_called_as_their_papers_call_them(table: Table) -> None:
    text = to_latex(table)
    assert r"data set &  & Zero-shot CLIP & CoOp & Skip Tuning \\" in text
    assert "(Zero-shot CLIP 1)" in text
    assert "zeroshot" not in text
    assert "\nSkip Tuning & " in to_latex(table, transpose=True)


def test_what_is_longer_than_a_page_continues_on_the_next() -> None:
    pieces = [("one", 300.0), ("two", 180.0), ("three", 10.0), ("four", 900.0), ("five", 1.0)]
    assert pages(pieces, 480.0) == [["one", "two"], ["three"], ["four"], ["five"]]
    lines = [["block" if not number % 3 else "", "row", "1.0"] for number in range(150)]
    groups = row_groups(lines, 480.0, SIZES[0], transpose=False)
    assert [line for group in groups for line in group] == lines
    assert len(groups) > 1
    # Rows of one block stay together, and every part fits.
    assert all(group[0][0] == "block" for group in groups)
    assert all(height_of(group, SIZES[0], transpose=False) < 480.0 for group in groups)


def test_a_long_table_has_one_caption_and_says_that_it_continues(table: Table) -> None:
    cells = tuple(replace(cell, block=f"{cell.block} {copy}") for copy in range(12) for cell in table.cells)
    text = to_latex(replace(table, cells=cells))
    floats = text.count(r"\begin{table")
    assert floats == text.count(r"\end{table") > 1
    assert text.count(r"\caption{") == text.count(r"\label{") == 1
    assert text.count(r"Table~\ref{tab:base_to_new-16shot}, continued.") == floats - 1
    assert text.count("over 3 seeds") == 1


@pytest.fixture
def table(tmp_path: Path, plan_runs: Plan, fill: Fill) -> Table:
    specs = plan_runs("base_to_new", datasets=["emoji", "emoji-food"])
    fill(tmp_path, specs)
    (found,) = paper_tables(experiment_runs(specs, tmp_path))
    return found


def test_markdown_has_a_line_a_row(table: Table) -> None:
    lines = to_markdown(table).splitlines()
    assert lines[2] == "| data set |  | zeroshot | coop | skip |"
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(table.rows)
    assert lines[4].startswith("| emoji | base | ")
    assert lines[5].startswith("|  | new | ")


def test_transposed_methods_are_rows(table: Table) -> None:
    lines = to_markdown(table, transpose=True).splitlines()
    assert lines[2].startswith("| method | emoji base | emoji new | emoji H | emoji-food base |")
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| zeroshot", "| coop", "| skip"]
    assert "Bold: best of its column" in lines[-1]


def test_csv_holds_unrounded_numbers(table: Table) -> None:
    frame = pd.read_csv(StringIO(to_csv(table)))
    assert len(frame) == len(table.cells)
    assert list(frame["mean"].dropna()) == pytest.approx([c.mean for c in table.cells if c.mean is not None], abs=1e-12)
    assert {"table", "leaderboard", "block", "row", "column", "std", "seeds", "planned", "state"} <= set(frame.columns)


def test_html_escapes_names(table: Table) -> None:
    odd = replace(table, title="<b>&", cells=(replace(table.cells[0], column="<script>"),))
    assert "<script>" not in to_html(odd)
    assert "&lt;b&gt;&amp;" in to_html(odd)


def test_latex_takes_caption_and_label(table: Table) -> None:
    text = to_latex(table, caption="Ours & theirs", label="tab:mine")
    assert r"\caption{Ours \& theirs}" in text
    assert r"\label{tab:mine}" in text
    assert r"\label{tab:base_to_new-16shot}" in to_latex(table)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    # One rule behind the head, and one before every block but the first: emoji-food, average, costs.
    assert text.count(r"\midrule") == 4


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-base)")
@pytest.mark.parametrize("layout", ["base_to_new", "few_shot", "cross_dataset", "domain_generalization", "ablation"])
def test_latex_of_every_layout_compiles_and_holds_the_numbers(
    layout: str, tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    if layout == "ablation":
        specs = plan_runs("base_to_new", methods=["skip"])
        fill(tmp_path, [*specs, *plan_runs("base_to_new", "skip.depth=4", methods=["skip"])])
        found = ablation(axis_runs(specs, tmp_path, ["skip.depth"]), ["skip.depth"])
    else:
        paper = {"methods": ["all"], "datasets": ["imagenet"], "backbone": "ViT-B-16-quickgelu"}
        paper |= {"datasets": ["imagenet", "dtd", "sun397"]} if layout in ("base_to_new", "few_shot") else {}
        specs = plan_runs(layout, **paper)
        # One run is missing, so that dashes are compiled too.
        fill(tmp_path, specs[:-1])
        (found,) = paper_tables(experiment_runs(specs, tmp_path))
        found = with_published(found, "all" if layout == "cross_dataset" else "ours")
    for name, transpose in (("upright", False), ("transposed", True)):
        (tmp_path / f"{name}.tex").write_text(latex_document([to_latex(found, transpose=transpose)]))
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Undefined" not in done.stdout
        if not transpose:
            assert "Overfull" not in done.stdout
            assert "Float too large" not in done.stdout
    if shutil.which("pdftotext"):
        text = subprocess.run(
            ["pdftotext", "upright.pdf", "-"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        printed = set(re.findall(r"\d+\.\d+", text.stdout))
        assert {
            f"{cell.mean:.{cell.digits}f}" for cell in found.cells if cell.mean is not None and cell.digits
        } <= printed
