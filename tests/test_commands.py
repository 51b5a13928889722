"""The helper that runs the command line in this process: what it catches, and what it puts back."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.commands import run_process, skipbench


def state() -> tuple[object, ...]:
    """What a command could change here."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return dict(os.environ), Path.cwd(), list(sys.argv), handlers, sys.stdout, sys.stderr


def test_output_and_errors_are_caught_apart_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = state()
    listed = skipbench("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "method    skip" in listed.stdout
    refused = skipbench("--debug", "keys", "skipp", HOME=str(tmp_path))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Traceback" in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("error: unknown method 'skipp'")
    assert state() == before
    assert capsys.readouterr() == ("", "")


def test_the_same_words_print_the_same_in_a_process_of_their_own() -> None:
    words = ["plan", "--seeds", "1,2", "--results", "nowhere"]
    here, there = skipbench(*words), run_process(*words)
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)
    assert here.returncode == 0
