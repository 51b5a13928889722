"""`skipbench selfcheck` as a user runs it: all right, a wrong number, a word that means nothing."""

import json
from pathlib import Path

import pytest
import torch

from methods.base import Method
from methods.skip import SkipTuning
from tests.commands import run_process, skipbench

WORDS = ("selfcheck", "--quick", "--device", "cpu")


def test_a_quick_self_check_ends_well_and_is_stored(tmp_path: Path) -> None:
    # A process of its own, as for a user: it measures memory to the byte, also what other tests would have left alive.
    done = run_process(*WORDS, "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All numbers are right." in done.stdout
    (path,) = tmp_path.glob("selfcheck/cpu-*/selfcheck.json")
    sections = json.loads(path.read_text())["sections"]
    assert list(sections) == [
        "devices",
        "files",
        "vectors",
        "precisions",
        "repeat",
        "tracking",
        "memory",
        "times",
        "attention",
    ]
    for name in ("vectors", "memory"):
        assert {item["ok"] for item in sections[name]["findings"]} == {True}
        assert len(sections[name]["findings"]) == 2
    assert {item["subject"] for item in sections["repeat"]["findings"]} == {"skip", "clip_adapter"}
    assert len(sections["times"]["findings"]) == 4 + 3 * 4
    assert len(sections["precisions"]["findings"]) == 3 * 3
    assert "numbers are right" in path.with_suffix(".html").read_text()
    # Nothing else is left behind.
    assert {file.name for file in path.parent.iterdir()} == {"selfcheck.json", "selfcheck.html"}
    again = skipbench(*WORDS, "--results", str(tmp_path))
    assert again.returncode == 0
    stored = [line.split()[0] for line in again.stdout.splitlines() if "(stored, " in line]
    # Devices and disks change from one minute to the next.
    assert stored == ["vectors", "precisions", "repeat", "tracking", "memory", "times", "attention"]


def test_a_wrong_number_is_found_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Method.similarity_logits

    def warmer(self: Method, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return 1.001 * original(self, image, text)

    monkeypatch.setattr(SkipTuning, "similarity_logits", warmer, raising=False)
    done = skipbench(*WORDS, "--parts", "vectors", "--results", str(tmp_path))
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong
    assert all(line.startswith("WRONG vectors, skip_tuning") for line in wrong)
    assert any("train_logits" in line for line in wrong)
    assert "All numbers are right." not in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parts", "memroy"), "there is no section 'memroy'. Did you mean 'memory'?"),
        (("--methods", "scip"), "unknown method 'scip'. Did you mean 'skip'?"),
        (("--device", "tpu"), "unknown device 'tpu'"),
    ],
)
def test_a_wrong_word_is_one_line(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = skipbench("selfcheck", *words, "--results", str(tmp_path))
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.glob("selfcheck/*")) == []
