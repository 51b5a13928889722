"""Runs that cannot fit their device are refused before they start; several share one only if they fit together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.estimate.fit import estimated_peak
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.device import choose_device
from harness.machine.margin import RULE_OF_THUMB, Margin, remember_margin
from harness.machine.units import MIB
from harness.results.folder import RunFolder
from harness.schedule import run_all
from harness.schedule.admission import Memory
from harness.schedule.slots import make_slots
from harness.training.events import Done, Event, Started
from tests.evaluations import FEW_OF_BOTH

Make = Callable[..., RunSpec]


def test_a_run_that_cannot_fit_is_refused_with_the_nearest_setting_that_does(make_spec: Make, tmp_path: Path) -> None:
    few = ("train.epochs=1", "train.batch_size=4", "train.cache_batch_size=4", FEW_OF_BOTH)
    small = make_spec("clip_adapter", *few, "runtime.eval_batch_size=4", shots=1)
    large = make_spec("clip_adapter", *few, "runtime.eval_batch_size=100", shots=2)
    between = (estimated_peak(small) + estimated_peak(large)) / 2 / MIB
    schedule = ScheduleSpec(devices=("cpu",), memory=f"{between:.2f}MiB")
    started: list[str] = []
    failed = run_all(
        [large, small], tmp_path, schedule, lambda spec, event: started.extend([spec.id] * isinstance(event, Started))
    )
    assert started == [small.id]
    assert RunFolder(tmp_path, small.id).is_complete
    (refused,) = failed
    assert refused.spec.id == large.id
    assert f"{estimated_peak(large) / MIB:.0f} MiB in phase evaluate" in refused.failure.reason
    assert "it fits with runtime.eval_batch_size=" in refused.failure.reason
    assert RunFolder(tmp_path, large.id).state == "failed"
    size = int(refused.failure.reason.rsplit("=", 1)[1])
    runtime = large.runtime.model_copy(update={"eval_batch_size": size})
    assert estimated_peak(large.model_copy(update={"runtime": runtime})) <= between * MIB


def test_runs_share_a_device_only_if_they_fit_together(make_spec: Make, tmp_path: Path) -> None:
    specs = [
        make_spec("zeroshot", FEW_OF_BOTH, shots=1),
        make_spec("zeroshot", FEW_OF_BOTH, "runtime.eval_batch_size=50", shots=2),
    ]
    slots = make_slots(ScheduleSpec(devices=("cpu",), runs_per_device=2), specs)
    placed = [slot.place(spec) for slot, spec in zip(slots, specs, strict=True)]
    # A slot has its part of the threads, which attention takes scratch memory for.
    peaks = [estimated_peak(spec) for spec in placed]
    for room, together in ((sum(peaks), True), (sum(peaks) - 1, False)):
        schedule = ScheduleSpec(devices=("cpu",), memory=f"{room}B", runs_per_device=2)
        memory = Memory(schedule, ["cpu"])
        assert memory.refusal(placed[1]) is None
        assert memory.has_room_for(placed[1], [placed[0]]) is together
        assert memory.has_room_for(placed[1], [])

    running: set[str] = set()
    most = 0

    def listen(spec: RunSpec, event: Event) -> None:
        nonlocal most
        if isinstance(event, Started):
            running.add(spec.id)
        if isinstance(event, Done):
            running.discard(spec.id)
        most = max(most, len(running))

    schedule = ScheduleSpec(devices=("cpu",), memory=f"{sum(peaks) - 1}B", runs_per_device=2)
    assert run_all(specs, tmp_path, schedule, listen) == []
    assert most == 1


def test_without_a_bound_the_cpu_takes_any_run_and_a_gpu_what_is_free(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("zeroshot", shots=1)
    memory = Memory(ScheduleSpec(), ["cpu"])
    assert memory.room == {"cpu": None}
    assert memory.refusal(make_slots(ScheduleSpec(devices=("cpu",)), [])[0].place(spec)) is None
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("harness.schedule.admission.free_mib", lambda index: 20000.0)
    assert Memory(ScheduleSpec(), ["cuda:0"]).room == {"cuda:0": 20000 * MIB}


def test_a_margin_that_was_measured_counts_on_a_gpu(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a card")
    specs = [make_spec("zeroshot", "runtime.device=cuda:0", shots=shots) for shots in (1, 2)]
    device = choose_device("cuda:0")
    peaks = [estimated_peak(spec) for spec in specs]

    def fit_together(room: float) -> bool:
        monkeypatch.setattr("harness.schedule.admission.free_mib", lambda index: room / MIB)
        return Memory(ScheduleSpec(), ["cuda:0"]).has_room_for(specs[0], specs[1:])

    by_rule = sum(peaks) + 2 * RULE_OF_THUMB.context_bytes
    assert fit_together(by_rule + 1)
    assert not fit_together(by_rule - MIB)
    remember_margin(device, Margin(ratio=3.0, context_bytes=5 * MIB))
    assert fit_together(3 * sum(peaks) + 10 * MIB + 1)
    assert not fit_together(3 * sum(peaks) + 9 * MIB)
    refused = Memory(ScheduleSpec(), ["cuda:0"])
    refused.room["cuda:0"] = 3 * peaks[0] + 4 * MIB
    assert "MiB are free" in (refused.refusal(specs[0]) or "")
    refused = Memory(ScheduleSpec(), ["cuda:0"])
    refused.room["cuda:0"] = 3 * peaks[0] + 6 * MIB
    assert refused.refusal(specs[0]) is None
