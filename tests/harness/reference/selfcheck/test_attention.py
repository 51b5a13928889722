"""The section `attention` is about GPUs; elsewhere it says so in one line. Its comparison works on any device."""

from pathlib import Path

import pytest
import torch

from harness.reference.selfcheck import attention
from harness.reference.selfcheck.findings import Asked, Finding

CPU = torch.device("cpu")


def compared(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Finding]:
    monkeypatch.setattr(attention, "SHAPE", (1, 2, 17, 8))
    monkeypatch.setattr(attention, "CALLS", 1)
    found = attention.compare_kernels(CPU, lambda words: None)
    return {(item.subject, item.quantity): item for item in found}


def test_on_a_cpu_it_is_left_out_and_says_so(tmp_path: Path) -> None:
    (found,) = attention.check(Asked(CPU, (), True, tmp_path), lambda words: None)
    assert found.ok
    assert str(found.value).startswith("left out")


def test_every_kernel_is_compared_or_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch)
    for dtype in ("float32", "float16", "bfloat16"):
        error = found[f"math, {dtype}", "largest error"]
        assert isinstance(error.value, float)
        assert 0 < error.value <= float(error.limit or 0)
    # A CPU has none of this name.
    assert ("cudnn_attention, float32", "left out") in found
    # And of each type the fastest of all.
    assert len({subject for subject, _ in found}) == 3 * len(attention.KERNELS) + 3
    assert all(item.ok or item.quantity == "failed" for item in found.values())


def test_the_fastest_is_one_that_is_exact_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch)
    seconds = {name: float(item.value) for (name, what), item in found.items() if what == "time"}
    of_half = {name: value for name, value in seconds.items() if name.endswith("float16") and "bfloat16" not in name}
    assert (
        found["float16", "fastest that is exact enough"].value
        == min(of_half, key=of_half.__getitem__).partition(",")[0]
    )
    assert float(found["float16", "time of torch's own choice, by that of the fastest"].value) > 0
    monkeypatch.setitem(attention.LIMITS, torch.float16, 1e-9)
    assert ("float16", "fastest that is exact enough") not in compared(monkeypatch)


def test_an_error_over_its_limit_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention.LIMITS, torch.float16, 1e-9)
    found = compared(monkeypatch)
    assert not found["math, float16", "largest error"].ok
    assert found["math, float32", "largest error"].ok
