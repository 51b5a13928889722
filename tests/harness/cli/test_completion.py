"""Completion by click's own means: what a shell asks for and gets."""

import subprocess
import sys
from pathlib import Path

from tests.commands import ROOT


def completed(*words: str, **environment: str) -> list[str]:
    """What bash would offer for the last word."""
    asked = {"COMP_WORDS": "\n".join(["skipbench", *words]), "COMP_CWORD": str(len(words))}
    asked |= {"_SKIPBENCH_COMPLETE": "bash_complete", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    command = [sys.executable, "-m", "harness"]
    done = subprocess.run(command, env={**asked, **environment}, capture_output=True, text=True, check=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_methods_and_ids(tmp_path: Path) -> None:
    for run_id in ("abc1", "abc2", "def3"):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
    assert completed("pre") == ["predict"]
    assert completed("table", "--transp") == ["--transpose"]
    assert completed("bench", "skip,zero") == ["skip,zeroshot"]
    for command in ("show", "predict"):
        assert completed(command, "ab", RESULTS=str(tmp_path)) == ["abc1", "abc2"]
