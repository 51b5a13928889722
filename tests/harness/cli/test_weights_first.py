"""Weights are fetched before the first run, and where none are needed open_clip is not even imported."""

import sys
from collections.abc import Callable

import pytest

from harness.cli.run import fetch_backbones
from harness.experiment.spec import RunSpec


def test_each_backbone_is_fetched_once(make_spec: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("harness.clip.pretrained.fetch_weights", fetched.append)
    spec = make_spec("zeroshot")
    others = [spec.model_copy(update={"backbone": name}) for name in ("ViT-B-32-quickgelu", "ViT-B-16:random")]
    fetch_backbones([spec, *others, *others])
    assert sorted(fetched) == ["ViT-B-16:random", "ViT-B-32-quickgelu"]


def test_the_backbone_of_the_project_needs_no_open_clip(
    make_spec: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("zeroshot")
    monkeypatch.delitem(sys.modules, "harness.clip.pretrained", raising=False)
    fetch_backbones([spec])
    assert "harness.clip.pretrained" not in sys.modules
