"""Names of data sets, classes and folders that mean something to an output form, in every output form."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.report.figures import paper_figures
from harness.report.latex import latex, latex_document, to_latex
from harness.report.paper_tables import paper_tables
from harness.report.plots import draw
from harness.report.render import to_html, to_markdown
from harness.report.runs import folder_runs
from tests.commands import skipbench
from tests.terminal import command_on_terminal

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
HOSTILE = (
    "[red]a[/red]",
    "[/b]",
    "$$",
    "$x_1$ ^2",
    "\\alpha\\",
    "100% & #1 ~ {y}",
    "a|b `c` *d* _e_",
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b]0;title\x07",
    "two\nlines\r\tand\u2028more\u202e",
    ":smile: --x \"q\" 'r' [5pt]",
    "=1+1",
)
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]")


def rename(results: Path, dataset: str) -> None:
    """Give all results a data set of this name, whose classes have the hostile names."""
    for path in results.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        result["spec"]["data"]["dataset"] = dataset
        result["name"] = f"{result['spec']['method']}-{dataset}"
        for item in (*result["spec"]["evaluate"], *result["evaluations"]):
            item["dataset"] = dataset
        for item in result["evaluations"]:
            item["per_class"] = {name: 50.0 + place for place, name in enumerate(HOSTILE)}
            item["same_prompts"] = [[HOSTILE[0], HOSTILE[2]]]
        path.write_text(json.dumps(result))


@pytest.fixture
def results(tmp_path: Path, plan_runs: Plan, fill: Fill) -> Path:
    folder = tmp_path / "results [red]\x1b[31m"
    fill(folder, plan_runs("base_to_new", methods=["zeroshot", "skip"], seeds=[1]))
    return folder


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_every_form_shows_the_name_as_it_is(name: str, results: Path) -> None:
    dataset = f"folder:/data/{name}/x"
    rename(results, dataset)
    (table,) = paper_tables(folder_runs(results).runs)
    shown = name.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t").replace("\x1b", "\\x1b")
    shown = shown.replace("\x07", "\\x07").replace("\u2028", "\\u2028").replace("\u202e", "\\u202e")
    for words in (("table",), ("runs",), ("bench", "skip", "--seeds", "1")):
        printed = skipbench(*words, "--results", str(results)).stdout
        assert not RAW.search(printed)
        if words[0] != "bench":
            assert shown in printed
    markdown = to_markdown(table)
    assert shown in re.sub(r"\\([\\`*_\[\]<>|~$&#])", r"\1", markdown)
    assert len({line.replace(r"\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1
    page = to_html(table)
    assert "<script>" not in page
    assert not RAW.search(page + markdown + to_latex(table))
    # In LaTeX nothing of the name is a command: outside of escapes no special character is left.
    rest = re.sub(r"\\(text(backslash|ascii\w+)|allowbreak){}|\\[&%$#_{}]", "", latex(name))
    assert not re.search(r"[\\%&#_^~]", rest)
    assert rest.count("$") == 2 * len(re.findall("[<>|]", name))


def test_figures_draw_every_name(results: Path) -> None:
    rename(results, f"folder:/data/{HOSTILE[3]}")
    tables = paper_tables(folder_runs(results).runs)
    figures = paper_figures(tables, results)
    assert {figure.kind for figure in figures} == {"scatter", "bars", "stacked"}
    for figure in figures:
        text = draw(figure, tables[0].columns, "svg").decode()
        if figure.kind == "bars":
            assert "$x_1$ ^2" in text
            assert ">$$<" in text
            assert "&lt;script&gt;" in text


def test_commands_on_a_terminal(results: Path) -> None:
    rename(results, "folder:/data/" + "".join(HOSTILE))
    for words in (("table",), ("runs",), ("table", "--methods", "x\x1b[31m\ny"), ("figures", "--format", "svg")):
        printed = command_on_terminal(80, *words, "--results", str(results))
        assert "\x1b" not in printed
        assert "Error" not in printed
        assert not RAW.search(printed)
        assert "[red]" in printed or "unknown method" in printed


def test_the_page_and_the_export_take_every_name(results: Path) -> None:
    rename(results, "folder:/data/" + "".join(HOSTILE))
    done = skipbench("report", "--results", str(results))
    assert done.returncode == 0, done
    page = next((results / "reports").glob("*.html")).read_text()
    assert "<script>alert" not in page
    found = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert HOSTILE[2] in found["classes"][0]
    assert skipbench("table", "--format", "csv,md,latex,html", "--results", str(results)).returncode == 0
    shown = command_on_terminal(120, "export", "--results", str(results))
    assert not RAW.search(shown)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-base)")
def test_latex_compiles_with_every_name(results: Path) -> None:
    rename(results, "folder:/data/" + "/".join(HOSTILE))
    (table,) = paper_tables(folder_runs(results).runs)
    (results / "hostile.tex").write_text(latex_document([to_latex(table), to_latex(table, transpose=True)]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "hostile.tex"]
    done = subprocess.run(command, cwd=results, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
