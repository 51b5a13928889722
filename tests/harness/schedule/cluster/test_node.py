"""What a node of a cluster does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.failure import CLAIMED
from harness.results.folder import RunFolder
from harness.schedule.cluster import node
from harness.schedule.cluster.node import compute, on_one_node, refuse_numbers, wants_gpu

Make = Callable[..., RunSpec]


def compute_here(spec: RunSpec, results: Path) -> str | None:
    local = on_one_node(ScheduleSpec(retries=0), threads=1, cpu_only=True)
    failure = compute(spec.settings(), str(results), local.model_dump(mode="json"), str(Path.cwd()))
    return failure and f"{failure.kind}: {failure.reason}"


def test_a_run_is_computed_unless_another_process_does(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    monkeypatch.setattr(node, "run_all", lambda specs, *_: computed.append(specs[0].id))
    spec = make_spec("zeroshot", shots=1)
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    with folder.claimed():
        told = compute_here(spec, tmp_path)
        assert told is not None
        assert told.startswith(CLAIMED)
    assert computed == []
    assert compute_here(spec, tmp_path) is None
    assert computed == [spec.id]


def test_a_results_folder_that_is_not_shared_is_told(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "LATE", 0.0)
    told = compute_here(make_spec("zeroshot"), tmp_path)
    assert told is not None
    assert "is not there on node" in told
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_on_the_node_is_noted(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("zeroshot")
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    spec = spec.model_copy(update={"runtime": spec.runtime.model_copy(update={"device": "cuda:99"})})
    local = ScheduleSpec(retries=0).model_dump(mode="json")
    assert compute(spec.settings(), str(tmp_path), local, "") is not None
    told = folder.read_failure()
    assert told is not None
    assert "cuda:99" in told.reason


def test_a_cluster_gives_out_devices_itself(make_spec: Make) -> None:
    refuse_numbers(ScheduleSpec(devices=("cpu",)))
    with pytest.raises(UserError, match="--devices 0,1: executor 'ray' gives out devices itself"):
        refuse_numbers(ScheduleSpec(executor="ray", devices=("0", "1")))
    spec = make_spec("zeroshot")
    assert wants_gpu(spec, ScheduleSpec(), there_are_gpus=True)
    assert not wants_gpu(spec, ScheduleSpec(), there_are_gpus=False)
    assert not wants_gpu(spec, ScheduleSpec(devices=("cpu",)), there_are_gpus=True)
    shared = on_one_node(ScheduleSpec(executor="ray", runs_per_device=2), threads=3, cpu_only=False)
    assert (shared.executor, shared.runs_per_device, shared.share_busy_devices, shared.threads) == ("local", 1, True, 3)
