"""Tables, figures and the page with tracks apart: ranks and tests only among what was chosen alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.figures import paper_figures
from harness.report.footnotes import footnotes
from harness.report.page import page
from harness.report.paper_tables import paper_tables
from harness.report.render import to_csv, to_markdown
from harness.report.runs import experiment_runs, folder_runs
from harness.report.track_tables import NOT_COMPUTED, place_of, with_tracks
from harness.report.tracks import Track
from tests.commands import skipbench

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]
LEVELS = {"zeroshot": 50.0, "clip_adapter": 60.0, "clip_lora": 55.0, "skip": 70.0}


@pytest.fixture
def specs(tmp_path: Path, plan_runs: Plan, finish: Finish) -> list[RunSpec]:
    """Runs of methods in three tracks, of seven seeds each."""
    several = plan_runs("base_to_new", methods=list(LEVELS), recipe="official", seeds=[1, 2, 3, 4, 5, 6, 7])
    for spec in several:
        level = LEVELS[spec.method] + 0.1 * spec.seed
        finish(tmp_path, spec, {"base": level, "new": level})
    return several


def test_only_what_was_chosen_alike_is_ranked_together(tmp_path: Path, specs: list[RunSpec]) -> None:
    tables = paper_tables(with_tracks(experiment_runs(specs, tmp_path), tmp_path))
    assert [(table.track, table.columns) for table in tables] == [
        ("training-free", ["zeroshot"]),
        ("validation-free", ["clip_adapter", "clip_lora"]),
        ("as published", ["skip"]),
    ]
    assert [table.name for table in tables] == [
        "base_to_new-16shot-training-free",
        "base_to_new-16shot-validation-free",
        "base_to_new-16shot-as-published",
    ]
    ranks = {cell.column: cell.rank for table in tables for cell in table.cells if cell.row == "H"}
    assert ranks == {"zeroshot": 0, "clip_adapter": 1, "clip_lora": 2, "skip": 0}
    tests = [test for table in tables for several in table.tests.values() for test in several]
    assert {(test.best, test.other) for test in tests} == {("clip_adapter", "clip_lora")}
    assert "track: validation-free" in to_markdown(tables[1])
    assert "as published" in to_csv(tables[2])


def test_without_tracks_a_table_is_as_before(tmp_path: Path, specs: list[RunSpec]) -> None:
    (table,) = paper_tables(experiment_runs(specs, tmp_path))
    assert table.columns == list(LEVELS)
    assert "rack" not in to_markdown(table) + to_csv(table)


def test_the_note_says_why_a_method_is_not_ranked(tmp_path: Path, specs: list[RunSpec]) -> None:
    last = paper_tables(with_tracks(experiment_runs(specs, tmp_path), tmp_path))[-1]
    assert all(cell.mark == "¶" for cell in last.cells if cell.block != "costs")
    note = next(line for line in footnotes(last) if line.startswith("¶"))
    assert note.startswith("¶: skip: settings of single data sets: imagenet: train.epochs; skip: ")
    assert not any("the authors' own choices" in line for line in footnotes(last))


def test_marked_results_keep_their_mark(tmp_path: Path, specs: list[RunSpec]) -> None:
    for spec in specs:
        if spec.method == "clip_adapter":
            path = tmp_path / "runs" / spec.id / "result.json"
            content = json.loads(path.read_text())
            content["selection"] = {"epoch": 1, "epoch_pictures": "test", "epoch_images": 60}
            path.write_text(json.dumps(content))
    runs = with_tracks(experiment_runs(specs, tmp_path), tmp_path)
    marks = dict(zip(runs["method"], runs["mark"], strict=True))
    assert marks == {"zeroshot": "", "clip_adapter": "§", "clip_lora": "", "skip": "¶"}


def test_a_missing_run_stands_with_the_others_of_its_method(tmp_path: Path, specs: list[RunSpec]) -> None:
    for spec in specs:
        if spec.method == "zeroshot" or (spec.method == "clip_lora" and spec.seed == 2):
            (tmp_path / "runs" / spec.id / "result.json").unlink()
    runs = with_tracks(experiment_runs(specs, tmp_path), tmp_path)
    tracks = {(row.method, row.seed): row.track for row in runs.itertuples()}
    assert tracks["clip_lora", 2] == tracks["clip_lora", 3] == "validation-free"
    assert tracks["zeroshot", 1] == NOT_COMPUTED
    assert [table.track for table in paper_tables(runs)][-1] == NOT_COMPUTED


def test_with_few_shots_a_method_may_be_in_another_track(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    chosen = plan_runs("few_shot", methods=["clip_adapter"], shots=[1, 16], seeds=[1])
    for spec in chosen:
        finish(tmp_path, spec, {"all": 50.0})
    tables = paper_tables(with_tracks(folder_runs(tmp_path).runs, tmp_path))
    assert [(table.track, table.rows[0]) for table in tables] == [
        ("few-shot validation", ("emoji", "16")),
        ("as published", ("emoji", "1")),
    ]


def test_figures_and_the_page_keep_tracks_apart(tmp_path: Path, specs: list[RunSpec]) -> None:
    runs = with_tracks(experiment_runs(specs, tmp_path), tmp_path)
    tables = paper_tables(runs)
    figures = paper_figures(tables, tmp_path)
    assert len({figure.name for figure in figures}) == len(figures)
    assert any("validation-free" in figure.name for figure in figures)
    text, _ = page("x", tables, runs, tmp_path, tmp_path)
    assert all(f"track: {table.track}" in text for table in tables)


def test_the_cleanest_track_comes_first() -> None:
    titles: list[Any] = [NOT_COMPUTED, "as published", "equal budget, 6 trials", *(track.title for track in Track)]
    ordered = sorted(titles, key=place_of)
    assert ordered[0] == "training-free"
    assert ordered[-1] == NOT_COMPUTED
    assert ordered.index("equal budget, 6 trials") < ordered.index("as published")


def test_the_command_separates_tracks(tmp_path: Path, specs: list[RunSpec]) -> None:
    done = skipbench("table", "--by", "track", "--results", str(tmp_path), "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("training-free") < done.stdout.index("validation-free") < done.stdout.index("as published")
    assert (tmp_path / "tables" / "results-base_to_new-16shot-validation-free.csv").is_file()
    assert "track" not in skipbench("table", "--results", str(tmp_path)).stdout
