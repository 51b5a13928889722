"""Optimizers and schedules of a recipe, against their formulas; and an interruption that changes nothing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.results.epochs import EpochRecord
from harness.training.optimizer import build_optimizer, is_optimizer_state, optimizer_state
from harness.training.state import trained_parameters, trained_state
from tests.harness.training.test_trainer import assert_same, make_trainer, train

Make = Callable[..., RunSpec]
SMALL = ("data.classes=base.base", "train.epochs=3", "train.lr=0.01", "train.warmup_epochs=0", "train.batch_size=8")


def by_formula(kind: str, recipe: TrainSpec, value: Tensor, gradients: list[Tensor]) -> Tensor:
    """The weight after steps along given gradients, as Kingma and Ba (2015) and Loshchilov and Hutter (2019) define."""
    value = value.double()
    first, second, momentum = torch.zeros_like(value), torch.zeros_like(value), torch.zeros_like(value)
    for step, gradient in enumerate((gradient.double() for gradient in gradients), start=1):
        if kind == "adamw":
            value = value - recipe.lr * recipe.weight_decay * value
        else:
            gradient = gradient + recipe.weight_decay * value
        if kind == "sgd":
            momentum = recipe.momentum * momentum + gradient
            value = value - recipe.lr * momentum
            continue
        first = recipe.betas[0] * first + (1 - recipe.betas[0]) * gradient
        second = recipe.betas[1] * second + (1 - recipe.betas[1]) * gradient**2
        corrected = (second / (1 - recipe.betas[1] ** step)).sqrt() + recipe.eps
        value = value - recipe.lr * first / (1 - recipe.betas[0] ** step) / corrected
    return value


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_every_optimizer_follows_its_formula(kind: str, precision: str, make_spec: Make) -> None:
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, shots=1))
    recipe = TrainSpec(
        optimizer=kind,  # type: ignore[arg-type]
        lr=0.01,
        weight_decay=0.1,
        momentum=0.8,
        betas=(0.8, 0.95),
        eps=1e-3,
    )
    optimizer = build_optimizer(trainer.method, recipe, precision)
    name, parameter = next(iter(trained_parameters(trainer.method).items()))
    before, gradients = parameter.detach().clone(), [torch.randn_like(parameter) for _ in range(4)]
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(parameter.double(), by_formula(kind, recipe, before, gradients), rtol=1e-5, atol=1e-6)
    saved = optimizer_state(optimizer, trainer.method)
    prefixes = ["momentum"] if kind == "sgd" else ["step", "first_moment", "second_moment"]
    assert {key for key in saved if key.endswith(name)} == {f"{prefix}.{name}" for prefix in prefixes}
    assert all(map(is_optimizer_state, saved))
    assert not any(map(is_optimizer_state, trained_state(trainer.method)))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_an_interruption_keeps_what_the_optimizer_knows(kind: str, make_spec: Make) -> None:
    spec = make_spec("clip_adapter", *SMALL, f"train.optimizer={kind}", "train.schedule=step", shots=2)
    whole, _ = train(spec)
    saved: dict[str, Any] = {}
    interrupted = make_trainer(spec)

    def save_and_stop(record: EpochRecord) -> None:
        saved.update({name: value.detach().clone() for name, value in interrupted.state().items()})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.train(0, save_and_stop)
    resumed = make_trainer(spec)
    resumed.load_state(saved)
    resumed.train(1, lambda record: None)
    assert_same(whole, trained_state(resumed.method))
    forgetful = make_trainer(spec)
    forgetful.load_state({name: value for name, value in saved.items() if not is_optimizer_state(name)})
    forgetful.train(1, lambda record: None)
    with pytest.raises(AssertionError):
        assert_same(whole, trained_state(forgetful.method))


def test_a_schedule_by_steps_is_the_cosine_over_all_steps(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("train.schedule=step", "train.lr=0.2", "train.lr_min=0.02")
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, *words, shots=2))
    seen: list[float] = []

    def step(method: object, optimizer: torch.optim.Optimizer, *others: object) -> Tensor:
        seen.append(optimizer.param_groups[0]["lr"])
        return torch.zeros(())

    monkeypatch.setattr("harness.training.trainer.training_step", step)
    trainer.flops = {"train": 1.0}
    trainer.train(0, lambda record: None)
    total = 3 * len(trainer.draw_batches(0))
    assert seen == pytest.approx([0.02 + 0.18 * (1 + math.cos(math.pi * i / total)) / 2 for i in range(total)])


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    recipe = TrainSpec(schedule="constant", lr=0.1, warmup_epochs=1, warmup_lr=0.01, epochs=4)
    assert [recipe.lr_at(epoch, 0.1) for epoch in range(4)] == [0.01, 0.1, 0.1, 0.1]


def test_the_defaults_are_those_of_the_first_results(make_spec: Make) -> None:
    spec = make_spec("skip")
    settings = spec.identity()["train"]
    assert not {"optimizer", "betas", "eps", "schedule", "lr_min", "keep_remainder"} & settings.keys()
    ids = {make_spec("skip", word).id for word in ("train.optimizer=adam", "train.schedule=step", "train.eps=1e-4")}
    assert len({spec.id, *ids}) == 4


@pytest.mark.parametrize("method", ["clip_adapter", "skip"])
def test_a_remainder_is_trained_on_if_it_is_kept(method: str, make_spec: Make) -> None:
    words = (*SMALL, "train.batch_size=5")
    dropped, kept = (
        make_trainer(make_spec(method, *words, f"train.keep_remainder={value}", shots=8)).draw_batches(0)
        for value in ("false", "true")
    )
    assert {len(batch) for batch in dropped} == {5}
    images = sorted(position for batch in kept for position in batch)
    assert images == list(range(len(images)))
    assert len(images) > 5 * len(dropped)


@pytest.mark.parametrize("method", ["clip_adapter", "clap"])
def test_a_remainder_is_dropped_unless_there_is_nothing_else(method: str, make_spec: Make) -> None:
    views = ("train.batches=all_views", "train.views=2") if method == "clap" else ()

    def sizes(batch_size: int, keep: str) -> list[int]:
        words = (*SMALL, *views, f"train.batch_size={batch_size}", f"train.keep_remainder={keep}")
        trainer = make_trainer(make_spec(method, *words, shots=2))
        return [len(batch) for batch in trainer.draw_batches(0)]

    images = sum(sizes(5, "true"))
    assert images % 5
    assert sizes(5, "alone") == sizes(5, "false") == [5] * (images // 5)
    assert sizes(images, "alone") == sizes(images, "false") == [images]
    assert sizes(images + 1, "alone") == sizes(images + 1, "false") == sizes(images + 1, "true") == [images]


def test_one_batch_of_all_images(make_spec: Make) -> None:
    words = (*SMALL, "train.batch_size=1000", "train.keep_remainder=true")
    (batch,) = make_trainer(make_spec("clip_adapter", *words, shots=2)).draw_batches(0)
    assert len(batch) == len(set(batch)) > 10
