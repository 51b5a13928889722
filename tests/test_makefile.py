"""The Makefile hands every variable on as one word, and refuses those that would change nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.make_variables import complaint, targets
from tests.commands import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that is installed already, whose command prints its words, one a line."""
    folder = tmp_path_factory.mktemp("venv")
    (folder / "bin").mkdir()
    command = folder / "bin" / "skipbench"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    (folder / "python").touch()
    (folder / "installed").touch()
    (folder / "installed-dev").touch()
    now = (ROOT / "pyproject.toml").stat().st_mtime + 1e6
    for name in ("python", "installed", "installed-dev"):
        os.utime(folder / name, (now, now))
    return folder


# The tests may be run by make themselves.
OF_AN_OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "RESULTS", "DATA")


def make(venv: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does."""
    clean = {name: value for name, value in os.environ.items() if name not in OF_AN_OUTER_MAKE}
    command = ["make", f"VENV={venv}", *words]
    return subprocess.run(command, cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("latest", ["", "1"])
def test_uv_makes_the_same_environment_with_the_same_versions(latest: str, tmp_path: Path) -> None:
    """A stand-in of uv writes its words down, and makes what the next command needs."""
    folder, programs, words = tmp_path / "venv", tmp_path / "programs", tmp_path / "words"
    programs.mkdir()
    uv = programs / "uv"
    uv.write_text(f'#!/bin/sh\necho "$*" >> {words}\nmkdir -p {folder}/bin\n')
    uv.chmod(0o755)
    done = make(folder, "setup", "UV=1", f"LATEST={latest}", PATH=f"{programs}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    environment, install = words.read_text().splitlines()
    assert environment == f"venv --quiet --allow-existing --python python3 {folder}"
    versions = "--upgrade" if latest else "--constraint constraints.txt"
    assert install == f"pip install --quiet --python {folder}/bin/python {versions} --editable ."


def test_uv_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, command in {"bash": "/bin/bash", "make": shutil.which("make"), "python3": sys.executable}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    done = make(tmp_path / "venv", "setup", "UV=1", PATH=str(programs))
    assert done.returncode == 2
    assert "error: UV=1 needs uv on the PATH" in done.stdout
    assert not (tmp_path / "venv").exists()


HOSTILE = "folder:/a b;touch x$y\"'`touch x`$(touch x)#&|*"


@pytest.mark.parametrize(
    ("target", "variable", "before"),
    [
        ("bench", "METHOD", "bench"),
        ("bench", "DATASET", "--dataset"),
        ("bench", "RESULTS", "--results"),
        ("table", "EXPERIMENT", "table"),
        ("figures", "OVER", "--over"),
        ("compare", "A", "compare"),
        ("data", "DATASET", "data"),
        ("check", "METHOD", "check"),
        ("sweep", "METHOD", "sweep"),
        ("estimate", "FITS", "--fits"),
    ],
)
def test_a_variable_is_one_word_whatever_is_in_it(target: str, variable: str, before: str, venv: Path) -> None:
    done = make(venv, target, f"{variable}={HOSTILE}")
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    assert words[words.index(before) + 1] == HOSTILE
    assert not (ROOT / "x").exists()


def test_variables_of_the_environment_are_quoted_too_and_no_mistake(venv: Path) -> None:
    done = make(venv, "bench", "ARGS=skip.depth=4 'limits={a: 1}'", DATASET="a b", METHODS="coop", FOO="1")
    assert done.stdout.splitlines() == [
        "bench", "--dataset", "a b", "--results", "results", "skip.depth=4", "limits={a: 1}"
    ]  # fmt: skip


def test_a_misspelt_variable_ends_make_before_anything_is_installed(tmp_path: Path) -> None:
    done = make(tmp_path / "none", "bench", "METHODS=coop")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("METHODS= is no variable of the Makefile. Did you mean METHOD=?.  Stop.\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("ends", "printed", "code"),
    [
        ({}, ["ruff", "ruff", "pytest", "mypy:", "mypy"], 0),
        ({"mypy": 1}, ["ruff", "ruff", "pytest", "mypy:", "mypy"], 2),
        ({"pytest": 1}, ["ruff", "ruff", "pytest", "mypy:", "mypy"], 2),
        ({"ruff": 1}, ["ruff"], 2),
    ],
)
def test_the_tests_fail_with_each_of_their_parts_and_types_are_checked_beside_them(
    ends: dict[str, int], printed: list[str], code: int, venv: Path, tmp_path: Path
) -> None:
    shutil.copytree(venv, tmp_path / "venv")
    for name in ("ruff", "mypy", "pytest"):
        command = tmp_path / "venv" / "bin" / name
        command.write_text(f"#!/bin/sh\necho {name}\nexit {ends.get(name, 0)}\n")
        command.chmod(0o755)
    done = make(tmp_path / "venv", "test")
    assert (done.returncode, done.stdout.split()) == (code, printed)


@pytest.mark.parametrize(
    ("goals", "given", "advice"),
    [
        ("bench", {"method": "coop"}, "Did you mean METHOD=?"),
        ("bench", {"Method": "coop"}, "Did you mean METHOD=?"),
        ("bench", {"DATASETS": "dtd"}, "Did you mean DATASET=?"),
        ("bench", {"SEED": "1"}, "Did you mean SEEDS=?"),
        ("bench", {"ARG": "x"}, "Did you mean ARGS=?"),
        ("bench", {"EPOCHS": "3"}, 'ARGS="train.epochs=3" sets it'),
        ("bench", {"train.epochs": "3"}, 'ARGS="train.epochs=3" sets it'),
        ("bench", {"BATCH_SIZE": "8"}, 'ARGS="train.batch_size=8" sets it'),
        ("bench", {"LEARNING_RATE": "0.1"}, 'ARGS="train.lr=0.1" sets it'),
        ("bench", {"METHOD": "maple", "DEPTH": "4"}, 'ARGS="maple.depth=4" sets it'),
        ("bench", {"SOMETHING": "4"}, "This target reads: ARGS, BACKBONE"),
        ("table", {"CLASSES": "50"}, "CLASSES= changes nothing in `make table`; it is for: speed estimate"),
        ("", {"METHOD": "coop"}, "METHOD= changes nothing in `make help`; it is for: bench"),
        ("list", {"METHOD": "coop"}, "METHOD= changes nothing in `make list`; it is for: bench"),
        ("bench", {"SEEDS": ""}, "SEEDS= is empty: give a value, or leave it out"),
    ],
)
def test_the_right_name_is_told(goals: str, given: dict[str, str], advice: str) -> None:
    assert advice in complaint(goals.split() or ["help"], given, MAKEFILE)


@pytest.mark.parametrize("name", ["SHELL", "MAKEFLAGS", "DATA", "OMP_NUM_THREADS", "WANDB_MODE", "PYTHON", "LATEST"])
def test_variables_of_make_and_of_the_libraries_are_no_mistake(name: str) -> None:
    assert complaint(["bench"], {name: "x"}, MAKEFILE) == ""


def test_what_targets_read_is_read_from_their_recipes() -> None:
    reads = targets(MAKEFILE)
    assert reads["compare"] >= {"A", "B", "RESULTS", "ARGS"}
    assert reads["table"] >= {"EXPERIMENT", "SHOTS", "FORMAT", "OVER"}
    assert "EXPERIMENT" not in reads["sweep"]
    assert "TEST_PROCESSES" in reads["test"]
