"""The Python of the README and of docs/python.md runs as it stands; tables are those of the committed results."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, run_process, skipbench
from tests.evaluations import FEW_OF_BOTH


def python_in(document: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)
    return code


LOOP, METHOD_FILE = python_in("docs/python.md"), python_in("README.md")


def test_the_loop_trains_skip_tuning_in_about_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    statements = [line for line in LOOP.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(statements) <= 15
    exec(compile(LOOP, "docs/python.md", "exec"), {})
    (accuracy,) = re.findall(r"accuracy ([0-9.]+)%", capsys.readouterr().out)
    assert float(accuracy) > 40


def test_a_method_is_one_new_file(tmp_path: Path) -> None:
    folder = tmp_path / "my_methods"
    folder.mkdir()
    (folder / "text_shift.py").write_text(METHOD_FILE)
    words = ["bench", "text_shift", "text_shift.strength=0.5", "train.lr=0.1", "train.epochs=2"]
    options = [FEW_OF_BOTH, "--seeds", "1", "--shots", "2", "--results", str(tmp_path / "results")]
    done = run_process(*words, *options, SKIPBENCH_METHODS=str(folder))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("results/runs/*/result.json")
    result = json.loads(path.read_text())
    assert result["spec"]["text_shift"] == {"strength": 0.5}
    assert result["costs"]["trainable_parameters"] == 128
    assert result["costs"]["phases"]["cache"]["images"] == 2 * 2 * 23
    assert any(line.split()[:1] == ["text_shift"] for line in done.stdout.splitlines())


def test_the_method_in_a_folder_of_its_own_keeps_the_contract(
    add_method: Callable[[str, str], None], tmp_path: Path, tiny: Path
) -> None:
    add_method("text_shift", METHOD_FILE)
    done = skipbench("check", "text_shift", "text_shift.strength=0.5", "train.lr=0.1", "--backbone", str(tiny))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ok       can be imported                  {tmp_path}/text_shift.py" in done.stdout
    assert f"text_shift on {tiny}: 21 ok, 4 skipped" in done.stdout


@pytest.mark.parametrize("command", [["list"], ["bench", "skip"]])
def test_a_missing_folder_of_methods_is_one_line(command: list[str], tmp_path: Path) -> None:
    done = run_process(*command, SKIPBENCH_METHODS=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: SKIPBENCH_METHODS=")
    assert done.stderr.count("\n") == 1


def test_the_table_of_all_methods_is_that_of_the_committed_results() -> None:
    done = skipbench("table", "--results", "results/embedded", "--transpose")
    assert done.returncode == 0, done.stderr
    shown = [line.rstrip() for line in (ROOT / "docs/embedded.md").read_text().splitlines()]
    for line in done.stdout.splitlines():
        assert line.rstrip() in shown
