"""Runs that find pictures on disk end as those that decode them, and say what they were spared."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data import views
from harness.experiment.spec import RunSpec
from harness.training import picture_store
from harness.training.events import Event, Notice
from harness.training.run import Run

QUICK = ("train.epochs=3", "train.batch_size=4", "wandb.mode=disabled", "runtime.feature_store_mib=0")
Execute = Callable[..., tuple[dict[str, Any], dict[str, torch.Tensor]]]


@pytest.fixture
def spec(make_spec: Callable[..., RunSpec], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunSpec]:
    """Spec of a run on a tiny backbone that is evaluated on a few images; its pictures are kept, small as they are."""
    monkeypatch.setattr(views, "FEWEST_PIXELS", 1)

    def make(*overrides: str) -> RunSpec:
        whole = make_spec("skip", "skip.depth=1", *QUICK, *overrides, shots=1)
        few = tuple(item.model_copy(update={"splits": ("val",)}) for item in whole.evaluate[:1])
        return whole.model_copy(update={"evaluate": few, "backbone": str(tiny)})

    return make


@pytest.fixture
def run(tmp_path: Path) -> Execute:
    """Execute a run in a folder of its own: result and trained tensors."""
    from safetensors.torch import load_file

    count = 0

    def execute(spec: RunSpec, told: list[str] | None = None) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        nonlocal count
        count += 1

        def report(event: Event) -> None:
            if isinstance(event, Notice) and told is not None:
                told.append(event.text)

        done = Run(spec, tmp_path / f"results-{count}", report)
        done.execute()
        return json.loads(done.folder.result_file.read_text()), load_file(done.folder.path / "checkpoint.safetensors")

    return execute


def spared(result: dict[str, Any]) -> dict[str, bool]:
    return {name: bool(phase["shared_seconds"]) for name, phase in result["costs"]["phases"].items()}


@pytest.mark.parametrize("decode", ["exact", "fast"])
def test_results_are_the_same_without_a_store_and_with_one_cold_and_warm(
    spec: Callable[..., RunSpec], run: Execute, tmp_path: Path, decode: str
) -> None:
    words = (f"runtime.picture_store={tmp_path / 'store'}", f"data.decode={decode}")
    off, trained = run(spec(*words, "runtime.picture_store_mib=0"))
    assert not any(spared(off).values())
    assert not (tmp_path / "store").exists()
    for state in ("cold", "warm"):
        found, weights = run(spec(*words))
        assert found["evaluations"] == off["evaluations"], state
        for name, value in weights.items():
            assert torch.equal(value, trained[name]), f"{name}, {state}"
        for name, phase in found["costs"]["phases"].items():
            assert phase["peak_tensor_bytes"] == off["costs"]["phases"][name]["peak_tensor_bytes"]
        assert spared(found)["cache"] == spared(found)["evaluate"] == (state == "warm")


def test_decoding_fast_is_another_run_and_where_pictures_are_kept_is_not(spec: Callable[..., RunSpec]) -> None:
    assert spec("data.decode=exact").id == spec().id
    assert spec("data.decode=fast").id != spec().id
    assert "decode" not in spec().identity()["data"]
    assert spec("runtime.picture_store=/x", "runtime.picture_store_mib=0").id == spec().id


def test_a_store_that_cannot_be_written_is_told_once(
    spec: Callable[..., RunSpec], run: Execute, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    told: list[str] = []
    run(spec(f"runtime.picture_store={tmp_path / 'file' / 'store'}", "train.epochs=2"), told)
    assert len([line for line in told if "pictures cannot be kept" in line]) == 1


def test_the_folder_is_that_of_the_variable(monkeypatch: pytest.MonkeyPatch, spec: Callable[..., RunSpec]) -> None:
    monkeypatch.setitem(os.environ, "SKIPBENCH_PICTURES", "/somewhere")
    found = picture_store.open_picture_store(spec().runtime)
    assert found is not None
    assert found.folder == Path("/somewhere")
