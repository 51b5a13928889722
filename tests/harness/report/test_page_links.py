"""Links of the page lead somewhere: sections, files of runs, the board."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from harness.board.contents import make_board
from harness.board.page import board_page
from harness.experiment.spec import RunSpec
from harness.report.page import Standings, page
from harness.report.paper_tables import paper_tables
from harness.report.run_details import FILES, run_files
from harness.report.runs import experiment_runs
from tests.harness.board.rows import base_to_new

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def check_anchors(text: str) -> list[str]:
    """Every link within a page has its target; returns the targets."""
    targets = re.findall(r'href="#([^"]*)"', text)
    assert set(targets) <= set(re.findall(r'\bid="([^"]+)"', text))
    return targets


def test_links_of_the_report_resolve(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new")
    fill(tmp_path, specs[:-1])
    (tmp_path / "runs" / specs[0].id / "spec.yaml").write_text("method: zeroshot")
    board = tmp_path / "my board" / "index.html"
    board.parent.mkdir()
    board.write_text("a board")
    runs = experiment_runs(specs, tmp_path)
    folder = tmp_path / "reports"
    folder.mkdir()
    text, _ = page("mine", paper_tables(runs), runs, tmp_path, folder, standings=Standings(board=board))
    assert check_anchors(text) == ["tables", "standings", "tables", "figures", "compare", "methods", "runs"]
    (link,) = re.findall(r'href="(?!data:|#)([^"]*)"', text)
    assert (folder / unquote(link)).resolve() == board.resolve()
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    listed = [data["files"]["sets"][place] for place in data["files"]["of"]]
    assert listed[0] == ["result.json", "spec.yaml", "metrics.jsonl"]
    assert listed[-1] == []
    ids = [row[-1] for row in data["runs"]["rows"]]
    for run_id, names in zip(ids, listed, strict=True):
        assert all((folder / data["folder"] / run_id / name).is_file() for name in names)


def test_a_page_without_a_board_has_no_section_of_standings(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["zeroshot"])
    fill(tmp_path, specs)
    runs = experiment_runs(specs, tmp_path)
    text, _ = page("mine", paper_tables(runs), runs, tmp_path, tmp_path)
    assert "standings" not in check_anchors(text)


def test_links_of_a_board_resolve() -> None:
    assert "figures" in check_anchors(board_page(make_board("Board", "about", base_to_new())))


def test_only_files_that_are_there_are_listed(tmp_path: Path) -> None:
    for name in ("log.txt", "checkpoint.safetensors", "logits-base.safetensors"):
        (tmp_path / "runs" / "one").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "one" / name).write_text("")
    files = run_files(["one", "nowhere", "one"], tmp_path)
    assert (files.sets, files.of, files.with_logits) == ([("log.txt",), ()], [0, 1, 0], {"one"})
    assert "checkpoint.safetensors" not in FILES
