"""The section `vectors`: what is shown of a file, and what there is without files."""

from pathlib import Path

import pytest
import torch

from harness.reference.parity.comparison import Comparison
from harness.reference.parity.vectors import Vectors
from harness.reference.selfcheck import vectors
from harness.reference.selfcheck.findings import Asked
from methods.base import Method


def test_of_a_file_all_that_is_over_is_shown_or_else_what_is_nearest() -> None:
    right = [Comparison("file", "logits", 1e-6, 1e-4), Comparison("file", "loss", 5e-5, 1e-4)]
    wrong = [Comparison("file", "grad", 1.0, 1e-4), Comparison("file", "after", float("nan"), 0.0)]
    assert [(item.quantity, item.ok) for item in vectors._summarise(right)] == [("loss", True)]
    found = vectors._summarise([*right, *wrong])
    assert [(item.quantity, item.value, item.ok) for item in found] == [("grad", 1.0, False), ("after", "nan", False)]


def test_where_there_are_no_vectors_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "GOLDEN", tmp_path)
    (found,) = vectors.check(Asked(torch.device("cpu"), (), True, tmp_path), lambda words: None)
    assert found.ok
    assert str(found.value).startswith("not here")


def test_an_error_names_the_file_and_ends_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def replay(cls: type[Method], found: Vectors) -> list[Comparison]:
        if found.name == "zeroshot":
            raise RuntimeError("no such kernel\nat line 1")
        return [Comparison(found.name, "logits", 0.0, 1e-4)]

    monkeypatch.setattr(vectors, "replay", replay)
    asked = Asked(torch.device("cpu"), ("zeroshot", "clip_adapter"), True, tmp_path)
    found = vectors.check(asked, lambda words: None)
    assert {(item.subject, item.value) for item in found if not item.ok} == {("zeroshot", "no such kernel")}
    assert [item.quantity for item in found if item.ok] == ["logits"]
