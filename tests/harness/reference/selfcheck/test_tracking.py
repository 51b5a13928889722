"""The section `tracking`: what W&B wrote offline is our record; a lost epoch, another loss or no file is wrong."""

import json
from pathlib import Path

import pytest
import torch

from harness.reference.selfcheck import tracking
from harness.reference.selfcheck.findings import Asked, Finding
from harness.results.folder import RunFolder


def test_a_run_is_read_back_and_changes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare, seen = tracking.compare, []

    def changed(name: str, folder: RunFolder, notices: list[str]) -> list[Finding]:
        found = compare(name, folder, notices)
        path = folder.path / "metrics.jsonl"
        lines = path.read_text().splitlines()
        other = {**json.loads(lines[1]), "loss": 7.0}
        path.write_text("\n".join([lines[0], json.dumps(other)]))
        seen.extend(compare(name, folder, notices))
        path.write_text("\n".join([*lines, lines[1]]))
        seen.extend(compare(name, folder, notices))
        for file in folder.path.glob("wandb/offline-run-*/*.wandb"):
            file.unlink()
        seen.extend(compare(name, folder, ["W&B is full"]))
        return found

    monkeypatch.setattr(tracking, "compare", changed)
    found = tracking.check(Asked(torch.device("cpu"), ("clip_adapter",), True, tmp_path), lambda words: None)
    assert [(item.value, item.limit, item.ok) for item in found] == [(2, 2, True), (0, 0, True)]
    assert [item.ok for item in seen] == [True, False, False, True, False]
    assert (seen[-1].subject, seen[-1].value) == ("clip_adapter", "W&B is full")
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_trains_nothing_is_left_out(tmp_path: Path) -> None:
    (found,) = tracking.check(Asked(torch.device("cpu"), ("zeroshot",), True, tmp_path), lambda words: None)
    assert found.ok
