"""Training: the same weights whatever the cache mode, whoever interrupts it, however often it is repeated."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, few_shot_sample, keep_classes
from harness.data.loader import PictureSet
from harness.data.transforms import TrainTransform
from harness.errors import UserError
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import Meter
from harness.machine.threads import threads
from harness.machine.torch_internals import take_step
from harness.results.epochs import EpochRecord
from harness.training.build import build_clip, build_method
from harness.training.feature_cache import TrainingImages
from harness.training.optimizer import build_optimizer
from harness.training.state import load_trained_state, trained_state
from harness.training.trainer import Trainer

Make = Callable[..., RunSpec]
QUICK = ("train.epochs=3", "train.lr=0.01", "train.warmup_epochs=0")
SMALL = (*QUICK, "data.classes=base.base")
# Half of the classes, where whole trainings are compared.
SMALLER = (*QUICK, "data.classes=base.base.base")


def make_trainer(spec: RunSpec) -> Trainer:
    """A trainer as `harness.training.run` makes it, without a folder."""
    precision = spec.train.precision
    clip = build_clip(spec.backbone, precision, torch.device("cpu"))
    splits = read_dataset(spec.data.dataset, None)
    labels = class_subset(len(splits.class_names), spec.data.classes)
    cls = method_class(spec.method)
    template = cls.prompt_template(cls.Config(**spec.options), DATASETS[spec.data.dataset].template)
    texts = [fill_template(template, splits.class_names[label]) for label in labels]
    cached = spec.train.cache != "none"
    method = build_method(clip, spec.method, spec.options, texts, precision, spec.seed, cached)
    sample = few_shot_sample(splits.train, spec.data.shots, spec.seed)
    pictures = PictureSet(splits.folder, keep_classes(sample, labels))
    transform = TrainTransform(clip.image_size, spec.data.crop_scale, spec.data.flip)
    meter = Meter(torch.device("cpu"))
    images = TrainingImages(clip, pictures, transform, method.image_start, spec.train, spec.seed, meter)
    return Trainer(method, images, spec, meter)


def train(spec: RunSpec) -> tuple[dict[str, torch.Tensor], list[EpochRecord]]:
    trainer, records = make_trainer(spec), []
    # Costs are not measured, which takes as long as an epoch; `test_measuring_leaves_no_trace` is about that.
    trainer.flops = {"train": 0.0, "cache": 0.0}
    trainer.train(0, records.append)
    return {name: value.detach().clone() for name, value in trained_state(trainer.method).items()}, records


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert first.keys() == second.keys()
    for name in first:
        if tolerance:
            torch.testing.assert_close(first[name], second[name], **tolerance)
        else:
            assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("method", ["skip", "finetune"])
def test_cache_none_and_fresh_train_to_the_same_weights(method: str, make_spec: Make) -> None:
    depth = [f"{method}.depth=3"]
    states, losses = [], []
    for cache in ("none", "fresh"):
        state, records = train(make_spec(method, *SMALLER, *depth, f"train.cache={cache}", shots=4))
        states.append(state)
        losses.append([record.loss for record in records])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    # Batches of another size may round differently in the last bit, hence not bit for bit.
    assert_same(*states, rtol=1e-4, atol=1e-5)
    assert losses[0][0] != losses[0][-1]


def test_cache_once_uses_the_first_epochs_pictures_again(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALL, "train.cache=once", shots=4)
    trainer = make_trainer(spec)
    trainer.images.prepare(0)
    assert trainer.images.features is not None
    first = trainer.images.features.clone()
    trainer.images.prepare(1)
    assert torch.equal(trainer.images.features, first)
    assert trainer.meter.phases["cache"].images == len(first)
    fresh = make_trainer(make_spec("skip", *SMALL, shots=4))
    fresh.images.prepare(0)
    assert torch.equal(fresh.images.features, first)  # type: ignore[arg-type]
    fresh.images.prepare(1)
    assert not torch.equal(fresh.images.features, first)  # type: ignore[arg-type]


def test_a_training_repeats_bit_for_bit(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALLER, shots=4)
    (first, records), (second, again) = train(spec), train(spec)
    assert_same(first, second)
    assert [record.loss for record in records] == [record.loss for record in again]
    other, _ = train(make_spec("skip", *SMALLER, shots=4, seed=2))
    assert not torch.equal(other["clip.image.proj"], first["clip.image.proj"])


def test_an_interrupted_training_ends_with_the_same_weights(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALLER, shots=4)
    whole, _ = train(spec)

    saved: dict[str, Any] = {}
    interrupted = make_trainer(spec)

    def save_and_stop(record: EpochRecord) -> None:
        saved.update({name: value.detach().clone() for name, value in interrupted.state().items()})
        if record.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.train(0, save_and_stop)
    resumed = make_trainer(spec)
    resumed.load_state(saved)
    resumed.train(2, lambda record: None)
    assert_same(whole, trained_state(resumed.method))


def test_momentum_is_part_of_the_state(make_spec: Make) -> None:
    trainer = make_trainer(make_spec("skip", *SMALL, shots=4))
    assert not [name for name in trainer.state() if name.startswith("momentum.")]
    trainer.train(2, lambda record: None)
    assert "momentum.clip.image.proj" in trainer.state()


def test_measuring_leaves_no_trace(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALL, shots=4)
    trainer = make_trainer(spec)
    before = {name: value.detach().clone() for name, value in trainer.state().items()}
    trainer.images.prepare(0)
    trainer.probe(0, trainer.draw_batches(0)[0])
    assert_same(before, trainer.state())
    assert trainer.meter.phases["train"].peak_tensor_bytes
    assert trainer.meter.phases["cache"].peak_tensor_bytes
    assert trainer.flops["train"] > trainer.flops["cache"] > 0


def test_measured_peaks_repeat_exactly_and_grow_with_the_batch(make_spec: Make) -> None:
    def peak(*overrides: str) -> int:
        trainer = make_trainer(make_spec("finetune", *SMALL, *overrides, shots=4))
        trainer.probe(0, trainer.draw_batches(0)[0])
        value = trainer.meter.phases["train"].peak_tensor_bytes
        assert value is not None
        return value

    small = peak()
    assert peak() == small
    assert peak("train.batch_size=8") > small
    # At least weights, gradients and momentum are alive at once.
    trainer = make_trainer(make_spec("finetune", *SMALL, shots=4))
    trainable = sum(p.numel() for p in trainer.method.parameters() if p.requires_grad)
    total = sum(p.numel() for p in trainer.method.parameters())
    assert small > 4 * (total + 2 * trainable)


def test_two_learning_rates(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALL)
    trainer = make_trainer(spec)
    optimizer = build_optimizer(trainer.method, TrainSpec(lr=0.1, lr_image=0.02))
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"image": 0.02, "other": 0.1}
    sizes = {group["name"]: sum(p.numel() for p in group["params"]) for group in optimizer.param_groups}
    image = sum(p.numel() for p in trainer.method.clip.image.parameters() if p.requires_grad)
    assert sizes["image"] == image > 0
    assert sizes["other"] > 0


def test_one_learning_rate_for_all_in_the_warm_up(make_spec: Make) -> None:
    spec = make_spec("skip", "train.epochs=4", "train.lr=0.2", "train.lr_image=0.1", "data.classes=base.base", shots=1)
    trainer = make_trainer(spec)
    seen = []
    trainer.train(0, lambda record: seen.append((record.lr, record.lr_image)))
    assert seen[0] == (spec.train.warmup_lr, spec.train.warmup_lr)
    assert seen[1] == (0.2, 0.1)
    assert seen[2][0] == pytest.approx(2 * seen[2][1])


def test_batches_hold_one_class_from_four_shots_on(make_spec: Make) -> None:
    def labels(shots: int) -> list[set[int]]:
        trainer = make_trainer(make_spec("skip", *SMALL, shots=shots))
        of = trainer.images.pictures.labels.tolist()
        return [{of[position] for position in batch} for batch in trainer.draw_batches(0)]

    assert all(len(classes) == 1 for classes in labels(4))
    assert any(len(classes) > 1 for classes in labels(2))


def test_batches_differ_by_epoch_and_seed_only(make_spec: Make) -> None:
    trainer = make_trainer(make_spec("finetune", *SMALL))
    assert trainer.draw_batches(0) == trainer.draw_batches(0)
    assert trainer.draw_batches(0) != trainer.draw_batches(1)


def test_bf16_trains(make_spec: Make) -> None:
    exact, _ = train(make_spec("skip", *SMALLER, shots=4))
    rounded, records = train(make_spec("skip", *SMALLER, "train.precision=bf16", shots=4))
    assert records[-1].loss > 0
    difference = (exact["clip.image.proj"] - rounded["clip.image.proj"]).abs().max()
    assert 0 < difference < 0.05


def test_a_loss_that_is_no_number_is_one_clear_line(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALL, "train.lr=1e30", "train.lr_image=1e30", shots=4)
    with pytest.raises(UserError, match=r"the loss became nan in epoch \d of 3 .* lower train\.lr"):
        train(spec)


def test_weights_that_are_no_numbers_after_the_last_step_are_told(make_spec: Make) -> None:
    one_step = (
        "train.epochs=1",
        "train.warmup_epochs=0",
        "train.lr=1e300",
        "train.lr_image=1e300",
        "data.classes=base.base",
    )
    spec = make_spec("finetune", *one_step, "train.batch_size=12", shots=1)
    with pytest.raises(UserError, match=r"is no longer finite after epoch 0 of 1 .*lower train\.lr"):
        train(spec)


@pytest.mark.parametrize("method", ["skip", "finetune", "maple"])
def test_steps_in_the_backward_pass_end_with_the_same_weights(
    method: str, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = ["maple.depth=3"] if method == "maple" else []
    spec = make_spec(method, *SMALLER, *depth, shots=4)
    whole, _ = train(spec)
    steps: list[int] = []
    monkeypatch.setattr("harness.training.step.PART_BYTES", 20_000)
    monkeypatch.setattr("harness.training.step.take_step", count_calls(take_step, steps))
    in_parts, _ = train(spec)
    assert len(steps) > 3 * 6
    assert_same(whole, in_parts)


def count_calls(step: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return step(*arguments, **options)

    return counting


def test_a_sample_smaller_than_a_batch_is_one_batch(make_spec: Make) -> None:
    # In another order than a batch of all, as in Dassl, which shuffles it.
    trainer = make_trainer(make_spec("coop", *SMALL, "train.batch_size=100", shots=1))
    (batch,) = trainer.draw_batches(0)
    assert sorted(batch) == list(range(12))
    assert trainer.draw_batches(1) != [batch]
    train(make_spec("finetune", *SMALL, "train.batch_size=100", shots=1))


def test_checkpoints_of_other_runs_are_refused(make_spec: Make) -> None:
    trainer = make_trainer(make_spec("skip", *SMALL, shots=4))
    state = dict(trained_state(trainer.method))
    state.pop("clip.image.proj")
    with pytest.raises(UserError, match="does not fit this method"):
        load_trained_state(trainer.method, state)


@pytest.mark.parametrize(
    ("wide", "words", "expected"), [(256, (), 2), (128, (), 4), (256, ("runtime.step_threads=3",), 3)]
)
def test_steps_take_as_many_threads_as_the_towers_can_use(
    wide: int, words: tuple[str, ...], expected: int, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.clip.stages.WIDE", wide)
    trainer, seen = make_trainer(make_spec("clip_adapter", *SMALL, *words, shots=1)), []
    monkeypatch.setattr(trainer, "take_step", lambda *_: seen.append(torch.get_num_threads()) or torch.zeros(()))
    trainer.flops = {"train": 0.0, "cache": 0.0}
    with threads(4):
        trainer.run_epoch(0)
        assert torch.get_num_threads() == 4
    assert set(seen) == {expected}
