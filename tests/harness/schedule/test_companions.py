"""Which runs train as one, and that they do where it is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.failure import FailedAttempt
from harness.results.folder import RunFolder
from harness.results.metrics import metric_values
from harness.schedule import run_all
from harness.schedule.cluster.node import refuse_together
from harness.schedule.companions import NUMBERS, is_on_features, together_key
from harness.schedule.local import Job, LocalScheduler
from harness.training.events import Event, Started
from tests.evaluations import FEW_OF_BOTH

Make = Callable[..., RunSpec]
CHANGES: dict[str, Any] = {
    "lr": 0.3,
    "lr_image": 0.1,
    "lr_min": 1e-4,
    "warmup_lr": 1e-3,
    "warmup_epochs": 3,
    "momentum": 0.1,
    "weight_decay": 0.1,
    "betas": (0.5, 0.6),
    "eps": 0.1,
    "epochs": 7,
    "batch_size": 8,
    "optimizer": "adam",
    "schedule": "constant",
    "views": 5,
    "keep_remainder": True,
    "batches": "all_views",
}
ALONE: dict[str, Any] = {
    "compile": "default",
    "precision": "bf16",
    "cache": "none",
    "optimizer": "lbfgs",
    "batches": "same_class",
    "epochs": 0,
    "validate_every": 1,
}


def changed(spec: RunSpec, **train: Any) -> RunSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update=train)})


def test_methods_on_features_are_those_of_both_ends() -> None:
    assert [name for name in ("clip_adapter", "taskres", "zs_lp", "tip_adapter_f") if not is_on_features(name)] == []
    # Others run a part of a tower in every step, or train nothing.
    assert not any(map(is_on_features, ("skip", "coop", "finetune", "prolip", "zeroshot", "tip_adapter")))


@settings(max_examples=50, deadline=None)
@given(keys=st.sets(st.sampled_from(sorted(CHANGES))), seed=st.integers(1, 9), sample=st.none() | st.integers(1, 9))
def test_runs_fit_together_if_they_differ_in_numbers_only(keys: set[str], seed: int, sample: int | None) -> None:
    base = RunSpec.model_validate({"method": "clip_adapter", "evaluate": [{"name": "base", "dataset": "emoji"}]})
    other = changed(base, **{key: CHANGES[key] for key in keys})
    data = other.data.model_copy(update={"sample_seed": sample})
    other = other.model_copy(update={"seed": seed, "data": data})
    assert (together_key(other) == together_key(base)) == (keys <= set(NUMBERS))


@pytest.mark.parametrize("name", sorted(ALONE))
def test_some_settings_train_alone(name: str, make_spec: Make) -> None:
    spec = make_spec("clip_adapter")
    assert together_key(spec)
    assert together_key(changed(spec, **{name: ALONE[name]})) is None


def test_a_run_that_keeps_its_best_epoch_trains_alone(make_spec: Make) -> None:
    assert together_key(make_spec("clip_adapter", "select.epoch=last_best")) is None


def test_other_places_backbones_and_options_are_other_groups(make_spec: Make) -> None:
    spec = make_spec("clip_adapter")
    keys = {
        together_key(spec),
        together_key(make_spec("clip_adapter", "clip_adapter.reduction=2")),
        together_key(make_spec("clip_adapter", "runtime.device=cpu")),
        together_key(make_spec("clip_adapter", shots=4)),
        together_key(spec.model_copy(update={"backbone": "ViT-B-16"})),
        together_key(make_spec("zs_lp")),
    }
    assert len(keys) == 6


def test_a_file_that_cannot_be_read_fits_with_no_other(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("clip_adapter")
    data = spec.data.model_copy(update={"index": str(tmp_path / "missing.json")})
    spec = spec.model_copy(update={"data": data})
    job = Job(spec, RunFolder(tmp_path, "0" * 12))
    assert not job.trains_with(job)


def test_a_mixed_grid_trains_together_what_can(make_spec: Make, tmp_path: Path) -> None:
    quick = ("train.epochs=2", "train.views=1", "train.batch_size=16", FEW_OF_BOTH)
    adapters = [make_spec("clip_adapter", *quick, seed=seed, shots=1) for seed in (1, 2, 3)]
    broken = make_spec("clip_adapter", *quick, "train.batch_size=8", "train.lr=1e38", seed=1, shots=1)
    others = [make_spec("zeroshot", FEW_OF_BOTH, shots=1)]
    starts: list[str] = []

    def listen(spec: RunSpec, event: Event) -> None:
        starts.extend([spec.id] if isinstance(event, Started) else [])

    todo = [adapters[0], *others, broken, *adapters[1:]]
    schedule = ScheduleSpec(devices=("cpu",), together=2)
    failed = run_all(todo, tmp_path, schedule, listen)
    assert [item.spec.id for item in failed] == [broken.id]
    assert starts == [spec.id for spec in (adapters[0], adapters[1], *others, broken, adapters[2])]
    results = [RunFolder(tmp_path, spec.id).read_result() for spec in [*adapters, *others]]
    assert [result.costs.together for result in results] == [2, 2, None, None]
    shown = [metric_values(result) for result in results]
    assert [values.get("steps_seconds") is None for values in shown] == [True, True, False, True]
    assert [values.get("steps_throughput") is None for values in shown[:3]] == [True, True, False]
    assert [values.get("train_seconds") is None for values in shown[:3]] == [True, True, False]
    assert all(values["steps_memory"] for values in shown[:3])


def test_a_run_that_failed_before_is_tried_alone(make_spec: Make, tmp_path: Path) -> None:
    specs = [make_spec("clip_adapter", seed=seed) for seed in (1, 2, 3, 4)]
    schedule = ScheduleSpec(devices=("cpu",), together=3)
    scheduler = LocalScheduler(specs, tmp_path, schedule, lambda spec, event: None)
    first, second, *others = scheduler.waiting
    scheduler.waiting.popleft()
    placed = scheduler.free[-1].place(first.spec)
    second.attempts.append(FailedAttempt(kind="killed", reason="memory ran out", started=0.0, seconds=1.0))
    assert scheduler._companions(first, placed) == others
    assert [*scheduler.waiting] == [second]
    assert scheduler._companions(second, placed) == []


def test_clusters_refuse_it() -> None:
    refuse_together(ScheduleSpec(executor="ray"))
    with pytest.raises(UserError, match=r"schedule\.together: executor 'slurm' computes every run by itself"):
        refuse_together(ScheduleSpec(executor="slurm", together=2))
