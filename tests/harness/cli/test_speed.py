"""`skipbench speed` prints a table, writes JSON and refuses in one line what it cannot measure."""

from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest

from harness.reference.speed import benchmark
from harness.reference.speed.measurement import SpeedCosts, median_seconds
from harness.report.speed_table import NOTE
from tests.commands import error_line, skipbench
from tests.harness.reference.speed.specs import strictly


def test_the_command_prints_a_table_and_writes_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(benchmark, "median_seconds", partial(median_seconds, enough_seconds=0))
    words = ["speed", "coop,skip", "--backbone", "clip-emoji", "--classes", "4", "--batch", "2", "--brief"]
    done = skipbench(*words, "skip.depth=3", "--results", str(tmp_path))
    assert done.returncode == 0
    # CoOp with 16 context tokens does not fit the text tower; the other rows are measured all the same.
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: coop is left out: the prompt 'X X X X X X X X X X X X X X X X T-Rex.' has 23 tokens")
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        f"measured {title}, {name}" for title in ("coop n_ctx=4", "skip depth=3") for name in ("off", "on")
    ]
    assert lines[4].strip() == "clip-emoji, 4 classes, fp32"
    assert [line.split()[:3] for line in lines[6:10]] == [
        [*title.split(), name] for title in ("coop n_ctx=4", "skip depth=3") for name in ("off", "on")
    ]
    assert NOTE in done.stdout
    path = tmp_path / "speed" / "coop_skip-clip-emoji-4classes-batch2-fp32-cpu.json"
    assert lines[-1] == f"JSON: {path}"
    written = strictly(path.read_text())
    assert set(written) == {"spec", "machine", "measured"}
    assert (written["spec"]["classes"], written["spec"]["batch_size"], written["spec"]["each"]) == (4, 2, False)
    assert [row["options"] for row in written["spec"]["rows"]] == [{"n_ctx": 4}, {"n_ctx": 16}, {"depth": 3}]
    assert {"torch", "processor", "cores", "threads", "device", "git_commit"} <= set(written["machine"])
    measured = written["measured"]
    assert [(item["title"], item["setting"]) for item in measured] == [
        (title, name) for title in ("coop n_ctx=4", "skip depth=3") for name in ("off", "on")
    ]
    for item in measured:
        assert set(item["costs"]) == {cost.name for cost in fields(SpeedCosts)}
        assert item["costs"]["step_seconds"] > 0
        assert item["difference"] < 1e-4
        assert item["batch_size"] == 2


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    words = ["speed", "coop,maple", "coop.n_ctx=16", "--backbone", "clip-emoji", "--results", str(tmp_path)]
    done = skipbench(*words)
    assert done.returncode == 2
    coop, maple, error = done.stderr.splitlines()
    assert coop.startswith("note: coop is left out: the prompt ")
    assert "the text tower takes 20" in coop
    assert maple.startswith("note: maple is left out: maple.depth=9 is beyond a backbone of 6 blocks")
    assert error == "error: nothing could be measured"
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "1"], "classes=1: input should be greater than or equal to 2"),
        (["--batch", "0"], "batch_size=0: input should be greater than or equal to 1"),
        (["--precision", "fp8"], "precision='fp8': input should be 'fp32', 'bf16', 'fp16' or 'half'"),
        (["--backbone", "ViT-B-61"], "unknown backbone 'ViT-B-61:random'."),
        (["--backbone", "clip-emoji", "--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["skip.dept=3"], "unknown key 'skip.dept'. Did you mean 'depth'?"),
        (["skipp"], "unknown method 'skipp'. Did you mean 'skip'?"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    assert error_line("speed", *words, "--results", str(tmp_path)).startswith(f"error: {message}")
