"""What a result says of its machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

import harness
from harness.machine import environment
from harness.machine.environment import Environment


def test_versions_processor_and_threads() -> None:
    found = environment.describe(torch.device("cpu"))
    assert found.skipbench == harness.__version__
    assert found.python == platform.python_version()
    assert found.threads == torch.get_num_threads()
    assert found.device == "cpu"
    assert found.cuda is None
    assert found.processor
    for package in environment.PACKAGES:
        assert getattr(found, package) == version(package), package


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "SkipBench ?, torch ?"),
        ({"skipbench": "0.1.0", "torch": "2.9.0"}, "SkipBench 0.1.0, torch 2.9.0"),
        (
            {"skipbench": "0.1.0", "torch": "2.9.0", "git_commit": "abcdef0123", "git_changed": False, "cuda": "12.8"},
            "SkipBench 0.1.0 (abcdef0), torch 2.9.0 with CUDA 12.8",
        ),
        (
            {"skipbench": "0.1.0", "torch": "2.9.0", "git_commit": "abcdef0123", "git_changed": True},
            "SkipBench 0.1.0 (abcdef0+changes), torch 2.9.0",
        ),
    ],
)
def test_versions_in_words(facts: dict[str, Any], expected: str) -> None:
    assert Environment(device="cpu", **facts).versions() == expected


def test_facts_of_other_versions_are_kept() -> None:
    found = Environment.model_validate({"device": "cpu", "blas": "mkl"})
    assert found.model_dump(exclude_none=True) == {"device": "cpu", "blas": "mkl"}


def test_commit_and_whether_it_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e")
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "harness").mkdir()
    module = tmp_path / "harness" / "__init__.py"
    module.write_text("")
    monkeypatch.setattr(environment.harness, "__file__", str(module))
    environment.git_state.cache_clear()
    assert environment.git_state() == {"git_commit": None, "git_changed": None}
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    environment.git_state.cache_clear()
    assert environment.git_state() == {"git_commit": git("rev-parse", "HEAD"), "git_changed": False}
    module.write_text("changed")
    environment.git_state.cache_clear()
    assert environment.git_state()["git_changed"] is True
    environment.git_state.cache_clear()


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert environment.package_version("no-such-package-anywhere") is None
