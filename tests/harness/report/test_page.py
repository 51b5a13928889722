"""The report page: what is in it, its size, and how it behaves in a browser (long)."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report import page as page_module
from harness.report import run_details
from harness.report.page import duration, page
from harness.report.paper_tables import paper_tables
from harness.report.run_details import Shared, read_url
from harness.report.runs import experiment_runs, folder_runs
from harness.results.record import DamagedError
from tests.harness.report.browser import needs_browser, open_page

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
LIMIT = 2_000_000


def write_page(specs: list[RunSpec], results: Path) -> tuple[str, dict[str, Any]]:
    runs = experiment_runs(specs, results)
    text, damage = page("mine", paper_tables(runs), runs, results, results / "reports")
    assert damage == []
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    return text, json.loads(found)


def test_the_page_holds_tables_figures_and_every_run(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs[:-1])
    run = tmp_path / "runs" / specs[1].id
    prediction = {"path": "a/b.png", "label": "cat", "predicted": "dog", "confidence": 0.123}
    (run / "predictions.json").write_text(json.dumps({"base": [prediction]}))
    (run / "wandb.json").write_text('{"mode": "online", "url": "https://wandb.example/run", "project": "p"}')
    text, data = write_page(specs, tmp_path)
    assert text.count('<figure class="table">') == len(data["latex"]) == 1
    assert r"\toprule" in data["latex"][0]
    columns = [column["name"] for column in data["runs"]["columns"]]
    assert columns[:5] == ["method", "data set", "shots", "seed", "state"]
    assert len(data["runs"]["rows"]) == len(specs)
    assert data["folder"] == "../runs"
    detail = data["details"][specs[1].id]
    assert (detail["seed"], detail["url"]) == (specs[1].seed, "https://wandb.example/run")
    assert detail["examples"] == {"base": [["a/b.png", "cat", "dog", 0.12]]}
    assert detail["losses"][:2] == [[1, 2.0], [2, 1.0]]
    assert "method: coop" in [data["lines"][line] for line in data["specs"][detail["spec"]]]
    assert data["classes"][detail["classes"]["base"]["names"]][0] == "class 0"
    assert specs[-1].id not in data["details"]
    assert data["cards"][detail["card"]].startswith("CoOp (IJCV 2022). Official code selects on nothing; sets for")
    assert "<summary>CoOp (coop)</summary>" in text
    # Seeds share their spec.
    assert data["details"][specs[2].id]["spec"] == detail["spec"]


def test_nothing_is_loaded_from_anywhere(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["zeroshot"])
    fill(tmp_path, specs)
    text, _ = write_page(specs, tmp_path)
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert "url(" not in text


def test_a_name_cannot_end_the_script(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["zeroshot"])
    fill(tmp_path, specs)
    path = tmp_path / "runs" / specs[0].id / "predictions.json"
    evil = {"path": "x", "label": "</script><script>alert(1)</script><!--", "predicted": "", "confidence": 1}
    path.write_text(json.dumps({"base": [evil]}))
    text, data = write_page(specs, tmp_path)
    assert "<script>alert" not in text
    assert data["details"][specs[0].id]["examples"]["base"][0][1] == evil["label"]


def test_runs_that_do_not_fit_are_left_out_of_the_details_only(
    tmp_path: Path, plan_runs: Plan, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs)
    whole, data = write_page(specs, tmp_path)
    monkeypatch.setattr(run_details, "PICTURE_BYTES", 0)
    monkeypatch.setattr(page_module, "PAGE_BYTES", len(whole.encode()) - 1000)
    text, data = write_page(specs, tmp_path)
    assert 0 < len(data["details"]) < len(specs) == len(data["runs"]["rows"])
    assert f"{len(data['details'])} of {len(specs)} runs are described here, first seeds first" in text


def test_the_first_seed_of_each_setting_is_described_first(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop", "skip"], seeds=[1, 2])
    fill(tmp_path, specs)
    ordered = run_details.first_seeds_first(experiment_runs(specs, tmp_path))
    assert list(zip(ordered["method"], ordered["seed"], strict=True)) == [
        ("coop", 1), ("skip", 1), ("coop", 2), ("skip", 2)
    ]  # fmt: skip


def test_more_rows_than_fit_are_counted(
    tmp_path: Path, plan_runs: Plan, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs)
    monkeypatch.setattr(page_module, "MOST_ROWS", 3)
    text, data = write_page(specs, tmp_path)
    assert len(data["runs"]["rows"]) == len(data["files"]["of"]) == 3
    assert f"The first 3 of {len(specs)} runs are listed" in text


def test_runs_of_several_backbones_say_which(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    names = ("clip-emoji", "RN50-quickgelu")
    specs = [spec for name in names for spec in plan_runs("base_to_new", methods=["coop"], backbone=name, seeds=[1])]
    fill(tmp_path, specs)
    _, data = write_page(specs, tmp_path)
    (column,) = [column for column in data["runs"]["columns"] if column["name"] == "backbone"]
    assert tuple(column["words"]) == names
    _, data = write_page(specs[:1], tmp_path)
    assert "backbone" not in [column["name"] for column in data["runs"]["columns"]]


def test_trials_are_told_apart(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = [*plan_runs("base_to_new", methods=["coop"]), *plan_runs("base_to_new_validation", methods=["coop"])]
    fill(tmp_path, specs)
    _, data = write_page(specs, tmp_path)
    names = [column["name"] for column in data["runs"]["columns"]]
    column = names.index("protocol")
    words = data["runs"]["columns"][column]["words"]
    found = [words[data["runs"]["rows"][place][column]] for place in data["trials"]]
    assert found == ["base_to_new_validation"] * 3


def test_a_failed_run_says_why(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["skip"], seeds=[1, 2])
    fill(tmp_path, specs[:1])
    folder = tmp_path / "runs" / specs[1].id
    folder.mkdir()
    (folder / "log.txt").write_text("2026-01-01T00:00:00Z INFO x\n2026-01-01T00:00:01Z ERROR failed\nValueError: odd\n")
    _, data = write_page(specs, tmp_path)
    assert data["details"][specs[1].id]["reason"] == "ValueError: odd"


def test_shared_values_are_there_once() -> None:
    shared = Shared()
    assert [shared.place(("a",)), shared.place("b"), shared.place(("a",))] == [0, 1, 0]
    assert shared.grown() == len('["a"]') + len('"b"') + 2
    assert shared.grown() == 0


def test_a_url_is_read_or_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "wandb.json"
    assert read_url(tmp_path) is None
    path.write_text('{"mode": "offline"}')
    assert read_url(tmp_path) is None
    path.write_text('{"mode": "online", "url": "https://page"}')
    assert read_url(tmp_path) == "https://page"
    for text in ("{", "[]", "{}", '{"mode": "online", "url": 3}'):
        path.write_text(text)
        with pytest.raises(DamagedError, match=r"wandb\.json' is damaged"):
            read_url(tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (90, "1.5 min"), (7200, "2.0 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# In a browser.


def bench(results: Path, *words: str) -> Path:
    """A real experiment on the embedded benchmark, and its page."""
    for command in (["bench", "zeroshot,coop", *words, "train.epochs=2"], ["report"]):
        arguments = [sys.executable, "-m", "harness", *command, "--results", str(results)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return results / "reports" / "results.html"


@pytest.mark.long
@needs_browser
def test_the_page_of_a_real_experiment_in_a_browser(tmp_path: Path, browser: Any) -> None:
    path = bench(tmp_path, "--seeds", "1,2")
    assert path.stat().st_size < LIMIT
    tab, problems, requests = open_page(browser, path, color_scheme="light", permissions=["clipboard-read"])
    # Sort the table of a paper: by a method, both ways; what has no number comes last.
    table = tab.locator("figure.table table").first

    def values(column: int) -> list[float]:
        cells = table.locator(f"tbody tr td:nth-child({column})").evaluate_all("a => a.map(c => c.dataset.v)")
        return [float(value) for value in cells if value is not None]

    before = values(4)
    button = table.locator("thead th").nth(3).locator("button")
    button.click()
    assert values(4) == sorted(before, reverse=True) != before
    assert table.locator("thead th").nth(3).get_attribute("aria-sort") == "descending"
    button.press("Enter")
    assert values(4) == sorted(before)
    # Filter its rows.
    tab.fill("#filter-tables", "base")
    assert table.locator("tbody tr:visible").count() == 1
    tab.fill("#filter-tables", "")
    # Runs: sort, filter, open by keyboard.
    rows = tab.locator("#run-table tbody tr[data-run]")
    assert rows.count() == 3
    tab.locator("#run-table thead button", has_text="new").click()
    news = [float(text) for text in tab.locator("#run-table tbody tr td:nth-child(7)").all_inner_texts()]
    assert news == sorted(news, reverse=True)
    tab.select_option("#filter-method", "coop")
    assert rows.count() == 2
    assert tab.inner_text("#count") == "2 of 3 runs"
    tab.fill("#filter-runs", "nothing like it")
    assert rows.count() == 0
    tab.fill("#filter-runs", "")
    rows.first.locator("button").focus()
    tab.keyboard.press("Enter")
    detail = tab.locator("tr.detail")
    assert "method: coop" in detail.inner_text()
    assert detail.locator(".examples img").count() == 24
    for link in detail.locator("a").all():
        assert (path.parent / str(link.get_attribute("href"))).is_file()
    assert rows.first.locator("button").evaluate("b => b === document.activeElement")
    # Point at a mark, and reach one by keyboard.
    mark = tab.locator("#charts [data-tip]").first
    mark.hover()
    assert tab.locator("#tip").is_visible()
    assert "%" in tab.inner_text("#tip")
    tab.keyboard.press("Escape")
    assert tab.locator("#tip").is_hidden()
    mark.focus()
    assert tab.locator("#tip").is_visible()

    # Theme.
    def background() -> str:
        return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    tab.click("#theme")
    assert background() == light
    tab.click("#theme")
    assert background() != light
    # Copy.
    tab.locator("button[data-latex]").first.click()
    tab.locator("button[data-latex]", has_text="Copied").wait_for()
    assert r"\begin{tabular}" in tab.evaluate("navigator.clipboard.readText()")
    assert problems == []
    assert requests == []


@pytest.mark.long
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(
    scheme: str, tmp_path: Path, plan_runs: Plan, fill: Fill, browser: Any
) -> None:
    specs = plan_runs("cross_dataset")
    fill(tmp_path, specs)
    text, _ = write_page(specs, tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "mine.html").write_text(text)
    tab, problems, _ = open_page(browser, tmp_path / "reports" / "mine.html", width=375, color_scheme=scheme)
    tab.locator("#run-table tbody button").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") == 375
    # The links of the head take one line, which is scrolled.
    assert tab.locator("nav").bounding_box()["height"] < 45
    box = tab.locator("tr.detail .box").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (scheme == "dark")
    assert problems == []


@pytest.fixture
def many(tmp_path: Path, plan_runs: Plan, finish: Callable[..., None]) -> Path:
    """A results folder of 10,000 runs: seven methods at a time, one file's text changed for each."""
    names = ["dtd", "eurosat", "ucf101", "food101", "sun397"]
    specs = plan_runs("few_shot", methods=["skip", "coop", "maple", "finetune"], datasets=names, seeds=[1])
    done = 0
    for number, spec in enumerate(specs):
        finish(tmp_path / "one", spec, {"all": 50.0 + number})
        text = (tmp_path / "one" / "runs" / spec.id / "result.json").read_text()
        for seed in range(1, 10_000 // len(specs) + 1):
            result = json.loads(text)
            result["id"], result["spec"]["seed"] = f"{done:012x}", seed
            result["evaluations"][0]["accuracy"] += seed / 1000
            folder = tmp_path / "many" / "runs" / result["id"]
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps(result))
            done += 1
    assert done == 10_000
    return tmp_path / "many"


@pytest.mark.long
def test_a_table_counts_all_of_ten_thousand_runs(many: Path) -> None:
    # How long it takes says experiments/measure_scale.py.
    done = subprocess.run(
        [sys.executable, "-m", "harness", "table", "--results", str(many)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "over 500 seeds" in done.stdout


@pytest.mark.long
@needs_browser
def test_a_page_of_ten_thousand_runs_is_usable(many: Path, browser: Any) -> None:
    runs = folder_runs(many).runs
    path = many / "mine.html"
    text, _ = page("mine", paper_tables(runs), runs, many, many)
    path.write_text(text)
    assert path.stat().st_size < LIMIT
    tab, problems, _ = open_page(browser, path)
    assert tab.inner_text("#count") == "10000 runs"
    assert tab.locator("#run-table tbody tr").count() == 50
    tab.locator("#run-table thead button", has_text="all").click()
    tab.fill("#filter-runs", "skip dtd")
    assert tab.inner_text("#count") == "500 of 10000 runs"
    tab.click("#next")
    assert tab.inner_text("#page") == "Page 2 of 10"
    last = tab.locator("#run-table tbody tr[data-run] button").last
    last.click()
    assert "kept below 2 MB" in tab.inner_text("tr.detail") or "method: skip" in tab.inner_text("tr.detail")
    assert problems == []
