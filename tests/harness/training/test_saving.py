"""How often a training is saved, and what a kill between two savings costs."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DivergedError
from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from harness.training import training
from harness.training.events import Event, TrainingProgress
from harness.training.run import Run
from harness.training.training import MOST_LOST, SaveClock

Make = Callable[..., RunSpec]
EVALUATE_LITTLE = "evaluate=[{name: base, dataset: emoji, classes: base.base, splits: [val]}]"
SMALL = ("train.batch_size=4", "runtime.threads=1", "data.classes=base.base", EVALUATE_LITTLE)


@given(st.floats(0.001, 5), st.integers(1, 300))
def test_a_kill_loses_one_epoch_or_a_second_and_saving_is_no_more_frequent_than_that(
    duration: float, epochs: int
) -> None:
    clock, saved = SaveClock(0.0), []
    for epoch in range(1, epochs + 1):
        now = epoch * duration
        if clock.is_due(now):
            clock.saved = now
            saved.append(now)
    assert saved[0] == duration
    # Just before it is saved again, a kill loses everything since.
    ends = [*saved, (epochs + 1) * duration]
    lost = [later - earlier for earlier, later in itertools.pairwise(ends)]
    assert max(lost) <= max(MOST_LOST, duration) + 1e-9
    assert len(saved) <= 1 + epochs * duration / max(duration, MOST_LOST - duration)


def test_a_run_that_is_killed_between_two_savings_ends_with_the_same_bytes(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MOST_LOST", 3600.0)
    spec = make_spec("clip_adapter", *SMALL, "train.epochs=6", shots=1)

    def kill(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, kill).execute()
    folder = RunFolder(tmp_path, spec.id)
    saved = folder.load_progress()
    assert saved
    assert saved[1].epoch == len(folder.read_metrics()) == 1
    starts: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, TrainingProgress):
            starts.append(event.epoch)

    Run(spec, tmp_path, note).execute()
    assert starts == list(range(1, 7))
    calm = Run(spec, tmp_path / "calm")
    calm.execute()
    assert folder.checkpoint_file.read_bytes() == calm.folder.checkpoint_file.read_bytes()
    records = [[(record.epoch, record.loss) for record in one.read_metrics()] for one in (folder, calm.folder)]
    assert records[0] == records[1]
    assert [epoch for epoch, _ in records[0]] == list(range(6))
    assert folder.read_result().interruptions == 1


def test_the_end_of_a_training_is_always_saved(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MOST_LOST", 3600.0)
    spec = make_spec("clip_adapter", *SMALL, "train.epochs=3", shots=1)

    def kill(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == event.epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, kill).execute()
    saved = RunFolder(tmp_path, spec.id).load_progress()
    assert saved
    assert saved[1].epoch == 3


def test_epochs_before_one_that_diverges_are_recorded(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MOST_LOST", 3600.0)
    words = ("train.epochs=40", "train.lr=1e30", "train.warmup_epochs=3", "train.warmup_lr=1e-5")
    spec = make_spec("finetune", "finetune.depth=5", *SMALL, *words, shots=1)
    with pytest.raises(DivergedError):
        Run(spec, tmp_path).execute()
    assert len(RunFolder(tmp_path, spec.id).read_metrics()) >= 3
