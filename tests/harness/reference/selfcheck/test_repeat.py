"""The section `repeat`: a checkpoint that differs is found, and so is a training that began anew."""

from pathlib import Path

import pytest
import torch

from harness.experiment.spec import RunSpec
from harness.reference.selfcheck import repeat
from harness.reference.selfcheck.findings import Asked
from harness.results.folder import RunFolder


def test_a_changed_byte_and_a_training_that_begins_anew_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train = repeat.train

    def changed(spec: RunSpec, results: Path) -> RunFolder:
        folder = train(spec, results)
        if results.name == "twice":
            content = bytearray(folder.checkpoint_file.read_bytes())
            content[-1] ^= 1
            folder.checkpoint_file.write_bytes(content + b"more")
        return folder

    monkeypatch.setattr(repeat, "train", changed)
    monkeypatch.setattr(repeat, "train_interrupted", changed)
    asked = Asked(torch.device("cpu"), ("clip_adapter", "zeroshot"), True, tmp_path)
    twice, interrupted, times = repeat.check(asked, lambda words: None)
    assert (twice.subject, twice.value, twice.ok) == ("clip_adapter", 5, False)
    assert (interrupted.value, interrupted.ok) == (0, True)
    assert (times.value, times.ok) == (0, False)
    assert list(tmp_path.iterdir()) == []
