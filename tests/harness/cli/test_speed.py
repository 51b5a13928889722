"""`skipbench speed` prints a table, writes JSON and refuses in one line what it cannot measure."""

from dataclasses import fields
from pathlib import Path

import pytest

from harness.reference.speed import timing
from harness.reference.speed.measurement import SpeedCosts
from harness.report.speed_table import NOTE
from tests.commands import error_line, skipbench
from tests.harness.reference.speed.specs import strictly


def test_the_command_prints_tables_and_writes_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(timing, "ENOUGH_SECONDS", 0)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 0)
    words = ["speed", "coop,skip", "--backbone", "clip-emoji", "--classes", "4", "--batch", "2"]
    done = skipbench(*words, "--brief", "--pairs", "2", "--results", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    # The backbone's own recipe is measured: depth 3, not the official 6 of its 6 blocks.
    titles = ["coop n_ctx=4 ctx_init=a drawing of a", "skip depth=3"]
    assert lines[:4] == [f"measured {title}, {name}" for title in titles for name in ("off", "on")]
    assert lines[4].strip() == "clip-emoji, 4 classes, fp32: training"
    assert "clip-emoji, 4 classes, fp32: caching, inference, equality" in done.stdout
    for column in ("step CPU ms", "step ms", "epoch CPU s", "step MiB", "cache CPU ms/img", "infer CPU ms/img"):
        assert column in done.stdout
    assert NOTE in done.stdout
    assert "coop n_ctx=4 ctx_init=a drawing of a, recipe clip-emoji, " in done.stdout
    assert "skip depth=3, recipe clip-emoji, depth=3 class_ratio=0.5 max_classes=50 lambda=0.3, batch size 2" in (
        done.stdout
    )
    assert "Load of the machine " in done.stdout
    assert "; computed with " in done.stdout
    path = tmp_path / "speed" / "coop_skip-clip-emoji-4classes-batch2-fp32-cpu.json"
    assert lines[-1] == f"JSON: {path}"
    written = strictly(path.read_text())
    assert set(written) == {"spec", "machine", "load", "measured"}
    assert (written["spec"]["classes"], written["spec"]["each"]) == (4, False)
    assert [row["options"].get("depth") for row in written["spec"]["rows"]] == [None, 3]
    assert {"torch", "processor", "cores", "threads", "device", "git_commit"} <= set(written["machine"])
    measured = written["measured"]
    assert [(item["title"], item["setting"]) for item in measured] == [
        (title, name) for title in titles for name in ("off", "on")
    ]
    for item in measured:
        assert set(item["costs"]) == {cost.name for cost in fields(SpeedCosts)}
        assert item["costs"]["step_cpu_seconds"] > 0
        assert item["costs"]["step_seconds"] > 0
        assert item["difference"] < 1e-4
    assert measured[1]["spreads"]["step"]["pairs"] >= 2


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    words = ["speed", "coop,maple", "coop.n_ctx=16", "coop.ctx_init=null", "maple.depth=9", "--backbone", "clip-emoji"]
    words += ["--results", str(tmp_path)]
    done = skipbench(*words)
    assert done.returncode == 2
    coop, maple, error = done.stderr.splitlines()
    assert coop.startswith("note: coop is left out: the prompt ")
    assert "the text tower takes 20" in coop
    assert maple.startswith(
        "note: maple ctx_init=a drawing of a is left out: maple.depth=9 is beyond a backbone of 6 blocks"
    )
    assert error == "error: nothing could be measured"
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "1"], "classes=1: input should be greater than or equal to 2"),
        (["--pairs", "1"], "pairs=1: input should be greater than or equal to 2"),
        (["--batch", "0"], "batch_size=0: input should be greater than or equal to 1"),
        (["--precision", "fp8"], "precision='fp8': input should be 'fp32', 'tf32', 'bf16', 'fp16' or 'half'"),
        (["--backbone", "ViT-B-61"], "unknown backbone 'ViT-B-61:random'."),
        (["--backbone", "clip-emoji", "--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["skip.dept=3"], "unknown key 'skip.dept'. Did you mean 'depth'?"),
        (["skipp"], "unknown method 'skipp'. Did you mean 'skip'?"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    assert error_line("speed", *words, "--results", str(tmp_path)).startswith(f"error: {message}")
