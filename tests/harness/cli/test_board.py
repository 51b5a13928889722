"""`skipbench board` as a command: a suite whose runs are there, merging, plans, mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.board.plan import plan_suite
from harness.board.suite import read_suite
from harness.experiment.spec import RunSpec
from tests.commands import error_line, skipbench

Fill = Callable[..., dict[str, dict[str, float]]]
WORDS = ("board", "embedded", "--quick", "--methods", "zeroshot,coop,skip")


def specs() -> list[RunSpec]:
    return [item.spec for item in plan_suite(read_suite("embedded", True, "zeroshot,coop,skip"))]


def test_a_board_is_written_of_the_runs_that_are_there_and_tells_what_is_missing(tmp_path: Path, fill: Fill) -> None:
    own = [spec for spec in specs() if spec.protocol in ("base_to_new", "few_shot")]
    fill(tmp_path / "results", own[:-1])
    done = skipbench(*WORDS, "--no-run", RESULTS=str(tmp_path / "results"))
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "results" / "board"
    names = ["board.md", "index.html", "results.csv", "tables.csv", "tables.tex"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert f"Not complete: {len(specs()) - len(own) + 1} runs missing." in done.stdout
    assert "Of cross_dataset nothing is there yet." in done.stdout
    assert "Zero-shot CLIP (for reference: training-free)" in (folder / "board.md").read_text()
    before = {name: (folder / name).read_bytes() for name in names}
    assert skipbench(*WORDS, "--no-run", RESULTS=str(tmp_path / "results")).returncode == 0
    assert {name: (folder / name).read_bytes() for name in names} == before
    line = error_line("board", "merge", str(folder), str(folder), "--out", str(tmp_path / "both"))
    assert "is named twice" in line


def test_a_plan_starts_and_writes_nothing(tmp_path: Path) -> None:
    done = skipbench(*WORDS, "--dry-run", RESULTS=str(tmp_path / "results"))
    assert done.returncode == 0
    assert f"{len(specs())} different runs" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["embeded"], "there is no suite 'embeded'"),
        (["embedded", "skip"], "'skip' is no setting"),
        (["--methods", "skp", "--no-run"], "skip"),
        (["merge", "A", "B"], "--out FOLDER"),
        (["merge", "A", "B", "--quick", "--out", "C"], "--quick does nothing with merge"),
        (["--no-run", "--methods", "zeroshot"], "no run of suite 'embedded' is complete"),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    assert message in error_line("board", *words, RESULTS=str(tmp_path))
