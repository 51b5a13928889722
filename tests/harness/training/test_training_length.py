"""Lengths given in steps for each shot, batches of all pictures, and the schedules over them."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import UserError
from harness.estimate.estimator import Estimator, measure
from harness.experiment.no_effect import reason_in
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.results.epochs import EpochRecord
from harness.results.index import StoredRun
from harness.training import trainer as trainer_module
from harness.training.events import Event, TrainingProgress
from harness.training.run import Run
from harness.training.state import trained_state
from tests.harness.training.test_trainer import assert_same, make_trainer

Make = Callable[..., RunSpec]
SMALL = ("train.lr=0.2", "train.lr_min=0.02", "train.warmup_epochs=0", "data.classes=base.base", "train.batch_size=5")
IN_STEPS = (*SMALL, "train.iterations_per_shot=7", "train.schedule=step")
EVALUATE_LITTLE = "evaluate=[{name: base, dataset: emoji, classes: base.base, splits: [val]}]"


@given(st.integers(1, 500), st.integers(1, 16), st.integers(1, 300))
def test_a_length_in_steps_is_that_many_steps_in_whole_passes_the_last_of_which_is_cut(
    iterations: int, shots: int, steps: int
) -> None:
    recipe = TrainSpec(iterations_per_shot=iterations)
    total, epochs = recipe.num_steps(shots), recipe.num_epochs(shots, steps)
    assert total == iterations * shots
    lengths = [min(steps, total - epoch * steps) for epoch in range(epochs)]
    assert sum(lengths) == total
    assert all(length == steps for length in lengths[:-1])
    assert 0 < lengths[-1] <= steps
    assert epochs <= recipe.num_epochs(shots, 1)


@given(
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["step", "epoch", "constant"]),
)
def test_a_cosine_over_steps_begins_at_the_rate_never_rises_and_ends_next_to_the_lowest(
    iterations: int, shots: int, steps: int, lr: float, lowest: float, schedule: Any
) -> None:
    lowest = min(lr, lowest)
    recipe = TrainSpec(iterations_per_shot=iterations, schedule=schedule, lr=lr, lr_min=lowest)
    total = iterations * shots
    rates = [recipe.lr_at(i // steps, lr, i % steps, steps, total / steps) for i in range(total)]
    assert rates[0] == pytest.approx(lr)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(rates))
    assert min(rates) >= lowest - 1e-12
    if schedule == "step":
        exact = [lowest + (lr - lowest) * (1 + math.cos(math.pi * i / total)) / 2 for i in range(total)]
        assert rates == pytest.approx(exact, abs=1e-12)
        # A cosine is symmetric: with the end that no step has, its mean is that of both ends.
        assert sum(rates) + lowest == pytest.approx((total + 1) * (lr + lowest) / 2)
    if schedule == "constant":
        assert set(rates) == {lr}


@pytest.mark.parametrize("keep", ["true", "false"])
def test_the_trainer_takes_exactly_these_steps(keep: str, make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(make_spec("clip_adapter", *IN_STEPS, f"train.keep_remainder={keep}", shots=3))
    seen: list[float] = []

    def step(method: object, optimizer: torch.optim.Optimizer, *others: object) -> Tensor:
        seen.append(optimizer.param_groups[0]["lr"])
        return torch.zeros(())

    monkeypatch.setattr(trainer_module, "training_step", step)
    trainer.flops = {"train": 1.0}
    records: list[EpochRecord] = []
    trainer.train(0, records.append)
    assert seen == pytest.approx([0.02 + 0.18 * (1 + math.cos(math.pi * i / 21)) / 2 for i in range(21)])
    images = len(trainer.images.pictures)
    whole = math.ceil(images / 5) if keep == "true" else images // 5
    assert [record.steps for record in records] == [min(whole, 21 - start) for start in range(0, 21, whole)]
    assert 21 % math.ceil(images / 5) > 0  # so that one of the two cuts its last epoch
    assert trainer.epochs == len(records)
    if keep == "true":
        assert sum(map(len, trainer.draw_batches(0))) == images


def test_a_training_by_steps_that_is_interrupted_ends_with_the_same_weights(make_spec: Make) -> None:
    spec = make_spec("clip_adapter", *IN_STEPS, "train.optimizer=adam", "train.precision=fp32", shots=2)
    whole = make_trainer(spec)
    states: list[dict[str, Tensor]] = []
    whole.train(
        0, lambda record: states.append({name: value.detach().clone() for name, value in whole.state().items()})
    )
    assert len(states) == whole.epochs > 2
    for first in (1, len(states) - 1):
        resumed = make_trainer(spec)
        resumed.load_state(states[first - 1])
        resumed.train(first, lambda record: None)
        assert_same(trained_state(whole.method), trained_state(resumed.method))


def test_a_run_by_steps_shows_its_progress_and_goes_on_after_an_interruption(make_spec: Make, tmp_path: Path) -> None:
    words = ("train.iterations_per_shot=7", "train.schedule=step", "train.batch_size=5", "data.classes=base.base")
    spec = make_spec("clip_adapter", *words, "runtime.threads=1", EVALUATE_LITTLE, shots=2)
    seen: list[tuple[int, int]] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress):
            seen.append((event.epoch, event.epochs))
            if event.epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path / "interrupted", interrupt).execute()
    epochs = seen[0][1]
    assert seen == [(0, epochs), (1, epochs)]
    stored = StoredRun(Run(spec, tmp_path / "interrupted").folder)
    steps = stored.epochs[0].steps
    assert stored.progress == f"{steps} of 14 steps"
    assert epochs == math.ceil(14 / steps)
    results = []
    for name in ("interrupted", "calm"):
        run = Run(spec, tmp_path / name)
        run.execute()
        results.append(run.folder.checkpoint_file.read_bytes())
        assert sum(record.steps for record in run.folder.read_metrics()) == 14
    assert results[0] == results[1]


def test_the_length_in_steps_replaces_epochs_and_is_part_of_the_id_only_where_it_is_set(make_spec: Make) -> None:
    usual = make_spec("clip_adapter")
    assert not {"iterations_per_shot", "lbfgs_iterations"} & usual.identity()["train"].keys()
    changed = make_spec("clip_adapter", "train.iterations_per_shot=3", "train.epochs=7")
    assert changed.id != usual.id
    assert reason_in(changed, "train.epochs") == "train.iterations_per_shot decides how long the training is"
    assert reason_in(make_spec("clip_adapter", "train.epochs=7"), "train.epochs") is None
    # No epochs: nothing trains, whatever the length.
    none = make_spec("clip_adapter", "train.iterations_per_shot=3", "train.epochs=0")
    assert none.train.num_steps(16) is None
    assert none.most_epochs == 0


def test_a_batch_of_all_pictures_has_them_in_order_in_every_epoch(make_spec: Make) -> None:
    trainer = make_trainer(make_spec("clip_adapter", "train.batch_size=null", "data.classes=base.base", shots=3))
    everything = list(range(len(trainer.images.pictures)))
    assert trainer.draw_batches(0) == trainer.draw_batches(5) == [everything]
    trainer.train(trainer.epochs - 1, lambda record: None)
    assert trainer.meter.phases["train"].images == len(everything)


def test_a_batch_of_all_pictures_trains_like_one_as_large_as_they_are(make_spec: Make) -> None:
    states = []
    for size in ("null", "36"):
        words = ("train.epochs=3", f"train.batch_size={size}", "data.classes=base.base", "train.warmup_epochs=0")
        trainer = make_trainer(make_spec("clip_adapter", *words, "train.cache=once", shots=3))
        assert len(trainer.images.pictures) == 36
        trainer.train(0, lambda record: None)
        states.append(trained_state(trainer.method))
    # The order of pictures in a sum changes its rounding only.
    assert_same(*states, rtol=1e-4, atol=1e-6)


def test_same_class_batches_of_all_pictures_are_refused_in_one_line(make_spec: Make) -> None:
    with pytest.raises(UserError, match=r"^train\.batch_size=null is one batch of all pictures: set train\.batches=ra"):
        make_spec("skip", "train.batch_size=null", "train.batches=same_class")


def test_the_estimate_of_all_pictures_at_once_is_what_is_measured(make_spec: Make) -> None:
    words = ("train.batch_size=null", "data.classes=base.base", EVALUATE_LITTLE)
    for more in ((), ("train.optimizer=lbfgs",)):
        spec = make_spec("clip_adapter", *words, *more, shots=4)
        estimate = Estimator().estimate(spec)
        assert estimate.batch_size == estimate.train_images == 48
        measured = measure(spec, None, torch.device("cpu"))
        assert {name: peak.num_bytes for name, peak in estimate.phases.items()} == {
            name: peak.num_bytes for name, peak in measured.items()
        }


def test_settings_of_single_batches_have_no_effect_on_all_pictures(make_spec: Make) -> None:
    spec = make_spec("clip_adapter", "train.batch_size=null", "train.keep_remainder=true")
    assert reason_in(spec, "train.keep_remainder") == "train.batch_size is null: all pictures are one batch"
    assert reason_in(spec, "train.batches") == "train.batch_size is null: all pictures are one batch"
    assert reason_in(make_spec("clip_adapter", "train.batch_size=4"), "train.keep_remainder") is None
