"""The section `files`: little space is wrong, and so is a file system that loses what is open."""

import shutil
from pathlib import Path

import pytest
import torch

from harness.reference.selfcheck import files
from harness.reference.selfcheck.findings import Asked, Finding


def found_in(folder: Path) -> list[Finding]:
    return files.check(Asked(torch.device("cpu"), (), True, folder), lambda words: None)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_in(tmp_path)[1].ok
    assert list(tmp_path.iterdir()) == []
    # Written into the file itself, what a reader had opened is gone.
    monkeypatch.setattr(files, "write_atomically", lambda path, data: path.write_bytes(data))
    assert not found_in(tmp_path)[1].ok


def test_little_space_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=files.LEAST - 1))
    assert not found_in(tmp_path)[0].ok
