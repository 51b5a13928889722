"""Cached features: the same wherever they lie, and nothing left behind."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.machine.units import MIB
from harness.training.feature_storage import FILE, GPU, HOST, Place
from harness.training.run import Run

CPU = torch.device("cpu")
# Few images, since no accuracy counts here.
EVALUATED = "evaluate=[{name: seen, dataset: emoji, classes: base.base.base, splits: [test]}]"


@given(st.integers(0, 40 * MIB), st.integers(0, 20), st.integers(0, 20))
def test_features_go_to_the_fastest_place_that_holds_them(num_bytes: int, gpu_mib: int, host_mib: int) -> None:
    on_gpu = Place(torch.device("cuda"), gpu_mib, host_mib, Path()).choose(num_bytes)
    on_cpu = Place(CPU, gpu_mib, host_mib, Path()).choose(num_bytes)
    assert (on_gpu == GPU) == (num_bytes <= gpu_mib * MIB)
    assert on_cpu == (HOST if num_bytes <= host_mib * MIB else FILE)
    assert on_gpu in (GPU, on_cpu)


def test_only_the_memory_of_the_device_that_computes_counts() -> None:
    on_gpu, on_cpu = (Place(torch.device(device), 0, 0, Path()) for device in ("cuda", "cpu"))
    assert [on_gpu.is_on_device(where) for where in (GPU, HOST, FILE, None)] == [True, False, False, False]
    assert [on_cpu.is_on_device(where) for where in (GPU, HOST, FILE, None)] == [False, True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_mapped_file_holds_what_is_written_and_leaves_nothing(dtype: torch.dtype, tmp_path: Path) -> None:
    features, where = Place(CPU, 0, 0, tmp_path).allocate((3, 5, 7), dtype)
    values = torch.randn(3, 5, 7).to(dtype)
    features[1:] = values[1:]
    assert (where, features.shape, features.dtype) == (FILE, (3, 5, 7), dtype)
    assert torch.equal(features[1:], values[1:])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        UserError, match=r"cached features of 4 MiB do not fit on the disk of .*\(runtime\.cache_host_mib\)"
    ):
        Place(CPU, 0, 0, tmp_path).allocate((MIB,), torch.float32)
    assert not list(tmp_path.iterdir())


def test_a_run_is_the_same_from_memory_and_from_a_file(make_spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    checkpoints, costs = [], []
    for host_mib in (1000, 0):
        small = ("train.epochs=2", "data.classes=base.base", f"runtime.cache_host_mib={host_mib}")
        run = Run(make_spec("skip", *small, EVALUATED, shots=2), tmp_path / str(host_mib))
        run.execute()
        checkpoints.append(load_file(run.folder.checkpoint_file))
        costs.append(run.folder.read_result().costs)
        assert not list(run.folder.path.glob("*.tmp"))
    assert checkpoints[0].keys() == checkpoints[1].keys()
    assert all(torch.equal(value, checkpoints[1][name]) for name, value in checkpoints[0].items())
    assert [cost.cache_location for cost in costs] == [HOST, FILE]
    # 12 classes x 2 shots, 37 tokens of width 128 in float32.
    assert [cost.cache_bytes for cost in costs] == [24 * 37 * 128 * 4] * 2
    peaks = [cost.phases["train"].peak_tensor_bytes for cost in costs]
    assert peaks[0] - peaks[1] == costs[0].cache_bytes
