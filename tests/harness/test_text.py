"""Plurals, commands as the reader types them, and foreign names on a terminal."""

import os
import sys
from pathlib import Path

import pytest

from harness.text import as_typed, counted, examples_as_typed, plain, program
from tests.commands import skipbench

ADVICE = "see `skipbench plan`, then `bench`"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b é 中 🦊", "a b é 中 🦊"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m\x7f\0", "\\x9b31m\\x7f\\x00"),
        ("a\u2028b\u202ec\u2066", "a\\u2028b\\u202ec\\u2066"),
        (os.fsdecode(b"\xff.png"), "\\udcff.png"),
        ("[red]$$", "[red]$$"),
    ],
)
def test_nothing_in_a_name_has_an_effect_on_a_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown
    plain(text).encode()


def test_counted_nouns() -> None:
    assert [counted(number, "run") for number in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
    assert counted(1, "class", "classes") == "1 class"
    assert counted(3, "class", "classes") == "3 classes"


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_command_is_advised_as_the_user_has_to_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = executable(tmp_path / ".venv" / "bin" / "skipbench")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin")
    for started, typed in (
        ("skipbench", "skipbench"),
        (".venv/bin/skipbench", ".venv/bin/skipbench"),
        (str(installed), ".venv/bin/skipbench"),
    ):
        monkeypatch.setattr(sys, "argv", [started, "runs"])
        assert as_typed(ADVICE) == f"see `{typed} plan`, then `bench`"
    monkeypatch.setattr(sys, "argv", [str(installed)])
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program() == "skipbench"
    monkeypatch.setattr(sys, "argv", [str(executable(tmp_path / "a b" / "skipbench"))])
    assert program() == "'a b/skipbench'"
    module = "/somewhere/harness/__main__.py"
    monkeypatch.setattr(sys, "argv", [module])
    monkeypatch.setattr(sys, "executable", str(executable(tmp_path / ".venv" / "bin" / "python")))
    assert program() == "python -m harness"
    monkeypatch.setenv("PATH", "/usr/bin")
    assert as_typed(ADVICE).startswith("see `.venv/bin/python -m harness plan`")
    assert examples_as_typed("  A=1 skipbench runs\nskipbench is") == f"  A=1 {program()} runs\nskipbench is"


def test_errors_and_help_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.text.program", lambda: "./here")
    assert "`./here bench` makes some" in skipbench("table", "--results", str(tmp_path)).stderr
    assert "\n    ./here compare 8e2efc 762107" in skipbench("compare", "--help").stdout
    assert "\n    ./here list " in skipbench("--help").stdout


def test_what_the_user_typed_is_shown_without_effect() -> None:
    done = skipbench("table", "--\x1b[31mred")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\\x1b[31mred" in done.stderr


def test_one_of_something_is_no_plural(tmp_path: Path) -> None:
    words = ("--seeds", "1", "--shots", "1", "--results", str(tmp_path))
    assert "1 = 1 run\n" in skipbench("plan", *words).stdout
    assert "error: the run is not complete in" in skipbench("table", *words).stderr
    assert "none of the 2 runs is complete in" in skipbench("table", "--seeds", "1,2", *words[2:]).stderr
    assert skipbench("run", "--help").stdout.startswith("Usage: skipbench run [OPTIONS] FILE [KEY=VALUE]...")
    for command in ("table", "figures", "report"):
        told = " ".join(skipbench(command, "--help").stdout.split())
        assert f"Usage: skipbench {command} [OPTIONS] [FILE] [KEY=VALUE]..." in told
        assert "--experiment PATH Experiment file; default: all of RESULTS, or bench if any of these" in told
