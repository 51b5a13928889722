"""What a result says of its machine."""

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from harness.machine import environment


def test_versions_processor_and_threads() -> None:
    found = environment.describe(torch.device("cpu"))
    assert found["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert found["processor"]
    for package in environment.PACKAGES:
        assert found[package], package


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
