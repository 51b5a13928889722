"""The section `precisions`: a wrong number in one precision is named with its file, and the rest is put together."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.reference.parity.comparison import Comparison
from harness.reference.parity.vectors import Vectors
from harness.reference.selfcheck import precisions, vectors
from harness.reference.selfcheck.findings import Asked
from methods.base import Method


def asked(folder: Path, *methods: str) -> Asked:
    return Asked(torch.device("cpu"), methods, True, folder)


def test_a_wrong_number_in_one_precision_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def replay(cls: type[Method], found: Vectors, precision: str) -> Iterator[Comparison]:
        yield Comparison(found.name, "logits", 0.01 if found.name == "zeroshot" else 0.02, 0.1)
        yield Comparison(found.name, "loss", 0.5 if precision == "fp16" and found.name == "zeroshot" else 0.0, 0.1)

    monkeypatch.setattr(precisions, "replay_rounded", replay)
    found = precisions.check(asked(tmp_path, "zeroshot", "clip_adapter"), lambda words: None)
    assert [(item.subject, item.quantity, item.value) for item in found if not item.ok] == [
        ("zeroshot, fp16", "loss", 0.5)
    ]
    largest = {(item.subject, item.quantity): item.value for item in found if item.ok}
    assert largest["clip_adapter, bf16", "logits"] == largest["clip_adapter, half", "logits"] == 0.02
    # Of each precision and quantity the largest that is right.
    assert len(largest) == 3 * 2


def test_an_error_is_wrong_and_ends_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def replay(cls: type[Method], found: Vectors, precision: str) -> Iterator[Comparison]:
        if precision == "half":
            raise RuntimeError("no such kernel")
        yield Comparison(found.name, "logits", 0.0, 0.1)

    monkeypatch.setattr(precisions, "replay_rounded", replay)
    found = precisions.check(asked(tmp_path, "zeroshot"), lambda words: None)
    assert [(item.subject, item.value) for item in found if not item.ok] == [("zeroshot, half", "no such kernel")]
    assert len(found) == 3


def test_where_there_are_no_vectors_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "GOLDEN", tmp_path)
    (found,) = precisions.check(asked(tmp_path), lambda words: None)
    assert str(found.value).startswith("not here")
