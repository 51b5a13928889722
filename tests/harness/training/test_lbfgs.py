"""L-BFGS as an optimizer of a recipe: it finds the minimum, and an interruption changes nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.errors import UserError
from harness.experiment.no_effect import reason_in
from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord
from harness.training import step as step_module
from harness.training.optimizer import build_optimizer, optimizer_state
from harness.training.resuming import misfit
from harness.training.state import trained_parameters, trained_state
from methods.clip_adapter import CLIPAdapter
from tests.harness.training.test_trainer import assert_same, make_trainer

Make = Callable[..., RunSpec]
LBFGS = ("train.optimizer=lbfgs", "train.batch_size=null", "train.lr=1", "train.warmup_epochs=0")
SMALL = (*LBFGS, "data.classes=base.base", "train.cache=once", "train.schedule=constant")


def test_it_finds_the_minimum_of_a_convex_loss(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # Logistic regression with a penalty: at the minimum the gradient is zero.
    def loss(method: CLIPAdapter, x: Tensor, labels: Tensor) -> Tensor:
        logits = torch.nn.functional.normalize(x, dim=-1) @ method.down.weight.T
        return torch.nn.functional.cross_entropy(logits, labels) + 0.01 * method.down.weight.square().sum()

    monkeypatch.setattr(CLIPAdapter, "loss", loss)
    words = ("train.epochs=4", "train.lbfgs_iterations=100", "clip_adapter.reduction=1")
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, *words, shots=4))
    losses: list[float] = []
    trainer.train(0, lambda record: losses.append(record.loss))
    assert losses == sorted(losses, reverse=True)
    ((x, labels),) = trainer.images.batches(0, trainer.draw_batches(0))
    method = trainer.method
    assert isinstance(method, CLIPAdapter)
    (gradient,) = torch.autograd.grad(method.loss(x, labels), method.down.weight)
    assert gradient.abs().max() < 1e-5


def test_an_epoch_is_one_step_of_the_iterations_that_are_allowed(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = step_module.loss_and_gradients

    def count(*arguments: object) -> Tensor:
        calls.append(1)
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(step_module, "loss_and_gradients", count)
    for iterations in (1, 5):
        calls.clear()
        words = ("train.epochs=2", f"train.lbfgs_iterations={iterations}")
        trainer = make_trainer(make_spec("clip_adapter", *SMALL, *words, shots=1))
        records: list[EpochRecord] = []
        trainer.train(0, records.append)
        assert [record.steps for record in records] == [1, 1]
        # An iteration of the line search may need more than one evaluation.
        assert 2 * iterations <= len(calls) <= 2 * 25 * iterations
        assert all(value.grad is None for value in trained_parameters(trainer.method).values())


def test_an_interruption_changes_nothing(make_spec: Make) -> None:
    spec = make_spec("clip_adapter", *SMALL, "train.epochs=4", "train.lbfgs_iterations=4", shots=2)
    whole = make_trainer(spec)
    states: list[dict[str, Tensor]] = []
    whole.train(
        0, lambda record: states.append({name: value.detach().clone() for name, value in whole.state().items()})
    )
    resumed = make_trainer(spec)
    assert misfit(resumed.method, states[1], spec.train) is None
    resumed.load_state(states[1])
    resumed.train(2, lambda record: None)
    assert_same(trained_state(whole.method), trained_state(resumed.method))
    assert optimizer_state(whole.optimizer, whole.method) == {}


def test_measuring_takes_no_step_and_leaves_no_trace(make_spec: Make) -> None:
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, shots=2))
    before = {name: value.detach().clone() for name, value in trainer.state().items()}
    trainer.images.prepare(0)
    trainer.probe(0, trainer.draw_batches(0)[0])
    assert_same(before, trainer.state())
    peak = trainer.meter.phases["train"].peak_tensor_bytes
    numbers = sum(value.numel() for value in trained_parameters(trainer.method).values())
    assert peak is not None
    assert peak > 4 * numbers * 20
    assert trainer.flops["train"] > 0


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("train.batch_size=32", "train.optimizer=lbfgs needs all pictures at once: set train.batch_size=null"),
        ("train.precision=fp16", "train.optimizer=lbfgs needs more digits than fp16 has: set train.precision=fp32"),
        ("train.precision=half", "train.optimizer=lbfgs needs more digits than half has: set train.precision=fp32"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(word: str, problem: str, make_spec: Make) -> None:
    with pytest.raises(UserError) as raised:
        make_spec("clip_adapter", *SMALL, word)
    assert str(raised.value) == problem


def test_groups_of_a_methods_own_are_refused(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec("clip_adapter", *SMALL, shots=1)
    method = make_trainer(spec).method
    monkeypatch.setattr(CLIPAdapter, "parameter_groups", lambda self: [{"params": [self.up.weight], "lr": 0.1}])
    with pytest.raises(ValueError, match=r"lbfgs trains all parameters alike: use sgd, adam or adamw"):
        build_optimizer(method, spec.train)


def test_settings_of_other_optimizers_have_no_effect(make_spec: Make) -> None:
    spec = make_spec("clip_adapter", *SMALL)
    for key in ("train.momentum", "train.betas", "train.eps", "train.weight_decay", "train.lr_image"):
        assert reason_in(spec, key), key
    assert reason_in(spec, "train.lbfgs_iterations") is None
    assert reason_in(make_spec("clip_adapter"), "train.lbfgs_iterations") == "it is of lbfgs"
