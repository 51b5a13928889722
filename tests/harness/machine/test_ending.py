"""How a process ends: quickly, with its exit code, after all that it has to do."""

import os
import subprocess
import sys

import pytest

from tests.commands import ROOT

# `__del__` of a module's object is called only where the interpreter takes modules apart.
CODE = """
import atexit, os, sys
from harness.machine.ending import quick_end

class Told:
    def __del__(self):
        os.write(1, b"taken apart")

told = Told()
with quick_end():
    atexit.register(lambda: os.write(1, b"registered "))
    sys.stdout.write("written ")
    BODY
"""


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """A process that ends after some code, and that keeps its output back as long as it may."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    words = [sys.executable, "-c", CODE.replace("BODY", body)]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3)])
def test_a_process_ends_without_taking_modules_apart(body: str, code: int) -> None:
    done = ended(body)
    assert (done.returncode, done.stderr) == (code, "")
    assert sorted(done.stdout.split()) == ["registered", "written"]


@pytest.mark.parametrize(("body", "told"), [("raise ValueError('odd')", "ValueError: odd"), ("sys.exit('odd')", "odd")])
def test_a_process_that_nobody_gave_an_exit_code_ends_as_usual(body: str, told: str) -> None:
    done = ended(body)
    assert done.returncode == 1
    assert told in done.stderr
    assert "taken apart" in done.stdout


def test_a_child_ends_as_usual() -> None:
    done = ended("child = os.fork(); child and (os.waitpid(child, 0), sys.exit(2)); sys.exit(5)")
    assert done.returncode == 2
    assert done.stdout.count("taken apart") == 1


def test_output_that_nobody_reads_any_more_does_not_end_in_a_traceback() -> None:
    done = ended("sys.stdout.close()")
    assert (done.returncode, done.stderr) == (0, "")
