"""The section `attention` is about GPUs; elsewhere it says so in one line."""

from pathlib import Path

import torch

from harness.reference.selfcheck import attention
from harness.reference.selfcheck.findings import Asked


def test_on_a_cpu_it_is_left_out_and_says_so(tmp_path: Path) -> None:
    (found,) = attention.check(Asked(torch.device("cpu"), (), True, tmp_path), lambda words: None)
    assert found.ok
    assert str(found.value).startswith("left out")
