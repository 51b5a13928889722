"""The notebook runs from its first to its last cell, in an empty folder, without a notebook server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
# What IPython would provide: showing things.
PREAMBLE = """
import sys, types
display_module = types.ModuleType("IPython.display")
display_module.SVG = lambda filename: open(filename).read()
display_module.display = lambda shown: print("shown", len(shown))
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython.display"] = display_module
"""


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


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path) -> None:
    program = "\n\n".join([PREAMBLE, *(code_of(cell) for cell in cells() if cell["cell_type"] == "code")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    accuracies = next(line for line in done.stdout.splitlines() if line.startswith("zero-shot "))
    before, after = (float(part.split()[-2]) for part in accuracies.split(","))
    assert after > before, "what the notebook shows is that training helps"
    assert "text_shift" in done.stdout
    assert "shown" in done.stdout
