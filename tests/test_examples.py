"""The notebook runs from its first to its last cell, in an empty folder, without a notebook server."""

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import methods
from tests.commands import ROOT, Finished, restored, skipbench

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def cells() -> list[dict[str, object]]:
    notebook = json.loads(NOTEBOOK.read_text())
    assert isinstance(notebook["cells"], list)
    return notebook["cells"]


def code_of(cell: dict[str, object]) -> str:
    source = cell["source"]
    assert isinstance(source, list)
    return "".join(source)


def test_outputs_are_not_committed() -> None:
    assert all(
        not cell["outputs"] and cell["execution_count"] is None for cell in cells() if cell["cell_type"] == "code"
    )


@pytest.fixture
def ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    """What IPython would provide: showing things."""
    module = types.ModuleType("IPython.display")
    module.__dict__.update(
        SVG=lambda filename: Path(filename).read_text(), display=lambda shown: print("shown", len(shown))
    )
    package = types.ModuleType("IPython")
    package.__dict__.update(get_ipython=lambda: None)  # matplotlib asks
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)


@pytest.fixture
def few_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Commands of the notebook: those that only read results run in this process, which has imported everything.

    The benchmark knows a method of the user's by a variable that is read at the start, so it is a process of its own.
    """
    commands: list[str] = []
    original = subprocess.run

    def run(arguments: list[str], **options: Any) -> Finished:
        if arguments[:3] != [sys.executable, "-m", "harness"]:
            return original(arguments, **options)  # what a command asks git, for example
        command, *words = arguments[3:]
        commands.append(command)
        if command == "bench":
            return original(arguments, **options)
        with monkeypatch.context() as patch:
            patch.setattr(methods, "__path__", [*methods.__path__, os.environ["SKIPBENCH_METHODS"]])
            return skipbench(command, *words)

    with monkeypatch.context() as patch, restored():
        patch.setattr(subprocess, "run", run)
        yield commands
    sys.modules.pop("methods.text_shift", None)
    vars(methods).pop("text_shift", None)


@pytest.mark.slow
@pytest.mark.usefixtures("ipython")
def test_every_cell_runs(
    few_processes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    program = "\n\n".join(code_of(cell) for cell in cells() if cell["cell_type"] == "code")
    exec(compile(program, NOTEBOOK.name, "exec"), {})
    printed = capsys.readouterr().out
    accuracies = next(line for line in printed.splitlines() if line.startswith("zero-shot "))
    before, after = (float(part.split()[-2]) for part in accuracies.split(","))
    assert after > before, "what the notebook shows is that training helps"
    assert few_processes == ["bench", "table", "figures"]
    assert "text_shift" in printed
    assert "shown" in printed
