"""What a process takes beside its estimate is remembered by the kind of GPU; whatever is damaged is not believed."""

from pathlib import Path

import pytest
import torch

from harness.machine.margin import RULE_OF_THUMB, Margin, margin_of, margins_file, remember_margin

GPU = torch.device("cuda")


def test_a_margin_goes_both_ways() -> None:
    margin = Margin(ratio=1.25, context_bytes=100)
    assert margin.with_margin(1000) == 1350
    assert margin.without_margin(1350) == 1000
    assert margin_of(torch.device("cpu")).with_margin(1000) == 1000


def test_each_kind_of_gpu_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = ["one card"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name[0])
    assert margin_of(GPU) == RULE_OF_THUMB
    remember_margin(GPU, Margin(ratio=1.1, context_bytes=5))
    name[0] = "another"
    assert margin_of(GPU) == RULE_OF_THUMB
    remember_margin(GPU, Margin(ratio=1.2, context_bytes=6))
    assert margin_of(GPU).ratio == 1.2
    name[0] = "one card"
    assert margin_of(GPU) == Margin(ratio=1.1, context_bytes=5)
    for damage in ("", "[]", '{"one card": {"ratio": 0.5}}', '{"one card": {"ratio": 1e999}}'):
        margins_file().write_text(damage)
        assert margin_of(GPU) == RULE_OF_THUMB
