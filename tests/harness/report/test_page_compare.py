"""Two settings or runs side by side, in a browser: numbers, settings, pictures; filters and what is printed (long)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.page import page
from harness.report.paper_tables import paper_tables
from harness.report.runs import experiment_runs
from harness.results.folder import RunFolder
from tests.harness.report.browser import needs_browser, open_page
from tests.harness.report.kept import keep, of_test_images

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
pytestmark = [pytest.mark.long, needs_browser]


@pytest.fixture
def written(tmp_path: Path, plan_runs: Plan, fill: Fill) -> Path:
    """A page of two methods with two seeds and a trial of a sweep; logits of base images, the data set is here."""
    specs = plan_runs("base_to_new", methods=["coop", "skip"], seeds=[1, 2])
    trials = plan_runs("base_to_new_validation", methods=["coop"], seeds=[1])
    fill(tmp_path, [*specs, *trials])
    names, labels, pictures = of_test_images("emoji", "base")
    for number, spec in enumerate(specs):
        folder = RunFolder(tmp_path, spec.id)
        result = folder.read_result()
        base = result.evaluations[0].model_copy(update={"pictures_hash": pictures, "images": len(labels)})
        changed = result.model_copy(update={"evaluations": (base, *result.evaluations[1:])})
        folder.result_file.write_text(changed.model_dump_json())
        said = [(label + number) % len(names) if place < 3 else label for place, label in enumerate(labels)]
        keep(folder, base, names, labels, said)
    runs = experiment_runs([*specs, *trials], tmp_path)
    text, damage = page("mine", paper_tables(runs), runs, tmp_path, tmp_path)
    assert damage == []
    (tmp_path / "mine.html").write_text(text)
    return tmp_path / "mine.html"


def test_two_settings_and_two_runs(written: Path, browser: Any) -> None:
    tab, problems, requests = open_page(browser, written, permissions=["clipboard-read"])
    box = tab.locator("#compare-result")
    tab.select_option("#compare-a", index=0)
    tab.select_option("#compare-b", index=1)
    text = box.inner_text()
    assert "A: coop, base_to_new, emoji, 16 shots (2 runs)." in text
    assert "skip.depth" in text
    # Seed 1 of CoOp is always right; that of Skip Tuning is wrong on three images.
    assert "only A is right: 3; only B is right: 0; both are wrong, and say different classes: 0." in text
    assert box.locator(".examples img").count() == 3
    mean = box.locator("tbody tr", has_text="base").first.locator("td").all_inner_texts()
    first, second = (float(value.split(" ")[0]) for value in mean[:2])
    assert float(mean[2].replace("\u2212", "-")) == pytest.approx(second - first, abs=0.011)
    tab.click("#compare-swap")
    assert "only A is right: 0; only B is right: 3" in box.inner_text()
    box.locator("button", has_text="Copy as LaTeX").first.click()
    box.locator("button", has_text="Copied").wait_for()
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert "\\begin{tabular}{lrrr}" in copied
    assert " & A & B & B $-$ A \\\\" in copied
    # Single runs, chosen by keyboard from the list of runs.
    tab.locator("#run-table tbody tr[data-run] button").first.press("Enter")
    tab.locator("tr.detail button", has_text="Compare as A").press("Enter")
    assert tab.input_value("#compare-kind") == "runs"
    assert tab.locator("#compare-a").evaluate("select => select === document.activeElement")
    assert "(1 run)" in box.inner_text()
    tab.fill("#compare-filter", "skip")
    offered = tab.locator("#compare-b option").all_inner_texts()
    # Whatever is chosen stays, whether or not the filter leaves it out.
    assert len([words for words in offered if words.startswith("skip")]) == 2 <= len(offered) <= 3
    assert (problems, requests) == ([], [])


def test_details_of_a_run_show_curves_and_confusions(written: Path, browser: Any) -> None:
    tab, problems, _ = open_page(browser, written)
    tab.locator("#run-table tbody tr[data-run]", has_text="skip").first.locator("button").click()
    detail = tab.locator("tr.detail")
    titles = detail.locator("h3").all_inner_texts()
    assert {"Settings", "Costs", "Training loss", "Reliability: base", "Confusions: base"} <= set(titles)
    # A square for each class, and one for each of the three wrong images at most.
    squares = detail.locator(".matrix [data-tip]").count()
    assert 23 < squares <= 26
    for link in detail.locator("a").all():
        assert (written.parent / str(link.get_attribute("href"))).is_file()
    assert problems == []


def test_runs_are_filtered_by_settings_and_trials_are_hidden(written: Path, browser: Any) -> None:
    tab, _, _ = open_page(browser, written)
    assert tab.inner_text("#count") == "5 runs"
    tab.check("#hide-trials")
    assert tab.inner_text("#count") == "4 of 5 runs"
    tab.fill("#filter-settings", "skip.depth:")
    assert tab.inner_text("#count") == "2 of 5 runs"
    tab.fill("#filter-settings", "")
    tab.uncheck("#hide-trials")
    tab.select_option("#filter-protocol", "base_to_new")
    assert tab.inner_text("#count") == "4 of 5 runs"


def test_print_is_black_on_white_without_controls(written: Path, browser: Any) -> None:
    tab, _, _ = open_page(browser, written, color_scheme="dark")
    tab.emulate_media(media="print", color_scheme="dark")
    colours = tab.evaluate(
        "(({ backgroundColor, color }) => [backgroundColor, color])(getComputedStyle(document.body))"
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    for hidden in ("nav", "#theme", "#runs", "button[data-latex]", "#compare-filter", "#methods details"):
        assert tab.locator(hidden).first.is_hidden()
    for shown in ("h1", "figure.table table", "#compare-result table"):
        assert tab.locator(shown).first.is_visible()
