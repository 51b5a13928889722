"""What a method does to its gradients before a step, and to its weights after an epoch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord
from harness.training import step as step_module
from harness.training.state import trained_parameters, trained_state
from harness.training.trainer import Trainer
from methods.base import Method
from methods.clip_adapter import CLIPAdapter
from methods.finetune import FineTune
from tests.harness.training.test_trainer import assert_same, make_trainer

Make = Callable[..., RunSpec]
SMALL = ("train.warmup_epochs=0", "data.classes=base.base", "train.batch_size=4", "train.schedule=constant")
PLAIN_SGD = (*SMALL, "train.optimizer=sgd", "train.momentum=0", "train.weight_decay=0", "train.epochs=1")
AVERAGED = '''"""Text shift whose last weights are the mean of those after each epoch."""

import torch
from torch import Tensor, nn

from methods.base import Method


class Averaged(Method):
    """t' = t + shift."""

    def build(self) -> None:
        self.shift = nn.Parameter(torch.zeros(self.clip.embed_dim))
        self.register_buffer("total", torch.zeros(self.clip.embed_dim))
        self.calls = []

    def after_epoch(self, epoch: int, epochs: int) -> None:
        self.calls.append((epoch, epochs, torch.is_grad_enabled(), self.shift.detach().clone()))
        self.total += self.shift / epochs
        if epoch == epochs - 1:
            self.shift.copy_(self.total)

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        return super().text_features(classes) + self.shift
'''


def halve(method: Method) -> None:
    for parameter in trained_parameters(method).values():
        assert parameter.grad is not None
        parameter.grad *= 0.5


def one_step(spec: RunSpec) -> Trainer:
    """A trainer after one step on its first batch."""
    trainer = make_trainer(spec)
    trainer.images.prepare(0)
    trainer.run_steps(0, trainer.draw_batches(0)[:1])
    return trainer


@pytest.mark.parametrize("changes", [False, True])
def test_a_step_whose_gradients_are_changed_is_never_taken_in_parts(
    changes: bool, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "PART_BYTES", 1)
    trainer = make_trainer(make_spec("finetune", *PLAIN_SGD, "finetune.depth=5", "train.lr=0.01", shots=1))
    before = {name: value.detach().clone() for name, value in trained_parameters(trainer.method).items()}
    seen: list[int] = []
    steps: list[int] = []

    def look(method: Method) -> None:
        assert not torch.is_grad_enabled()
        for name, parameter in trained_parameters(method).items():
            assert parameter.grad is not None, name
            assert torch.equal(parameter, before[name]), "a weight changed before all gradients were there"
        seen.append(len(before))

    if changes:
        monkeypatch.setattr(FineTune, "change_gradients", look)
    whole = step_module.take_step
    monkeypatch.setattr(step_module, "take_step", lambda optimizer: steps.append(1) or whole(optimizer))
    trainer.images.prepare(0)
    trainer.run_steps(0, trainer.draw_batches(0)[:1])
    assert any(not torch.equal(before[name], value) for name, value in trained_parameters(trainer.method).items())
    assert seen == ([len(before)] if changes else [])
    # One gradient after the other, unless all are to be seen at once.
    assert (len(steps) > 1) == (not changes)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_half_the_gradient_is_half_the_step_also_with_a_loss_scale(
    precision: str, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are products with a power of two, so that the weights are the same to the bit."""
    words = (*PLAIN_SGD, f"train.precision={precision}")
    start = trained_state(make_trainer(make_spec("clip_adapter", *words, shots=1)).method)
    slow = one_step(make_spec("clip_adapter", *words, "train.lr=0.0625", shots=1))
    monkeypatch.setattr(CLIPAdapter, "change_gradients", halve)
    changed = one_step(make_spec("clip_adapter", *words, "train.lr=0.125", shots=1))
    assert changed.scaler.is_enabled() == (precision == "fp16")
    assert_same(trained_state(slow.method), trained_state(changed.method))
    assert any(not torch.equal(start[name], value) for name, value in trained_state(changed.method).items())


def test_iterations_of_lbfgs_see_changed_gradients(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    losses: list[int] = []

    def keep_the_first_layer(method: CLIPAdapter) -> None:
        assert method.down.weight.grad is not None
        method.down.weight.grad.zero_()
        calls.append(1)

    whole = CLIPAdapter.loss

    def count(method: CLIPAdapter, x: Tensor, labels: Tensor) -> Tensor:
        losses.append(1)
        return whole(method, x, labels)

    monkeypatch.setattr(CLIPAdapter, "change_gradients", keep_the_first_layer)
    monkeypatch.setattr(CLIPAdapter, "loss", count)
    words = ("train.optimizer=lbfgs", "train.batch_size=null", "train.lr=1", "train.lbfgs_iterations=5")
    spec = make_spec("clip_adapter", *SMALL, *words, "train.epochs=2", "train.cache=once", shots=1)
    trainer = make_trainer(spec)
    before = {name: value.detach().clone() for name, value in trained_parameters(trainer.method).items()}
    trainer.train(0, lambda record: None)
    after = trained_parameters(trainer.method)
    assert torch.equal(after["down.weight"], before["down.weight"])
    assert not torch.equal(after["up.weight"], before["up.weight"])
    assert len(calls) == len(losses) > 2


@pytest.fixture
def averaged(add_method: Callable[[str, str], None], make_spec: Make) -> Callable[..., RunSpec]:
    """The spec of a run of a method that averages its weights over epochs."""
    add_method("averaged", AVERAGED)
    return lambda *words: make_spec("averaged", *SMALL, "train.epochs=3", "train.lr=0.1", *words, shots=1)


def test_what_follows_an_epoch_is_done_before_it_is_reported(averaged: Callable[..., RunSpec]) -> None:
    trainer = make_trainer(averaged())
    reported: list[Tensor] = []
    trainer.train(0, lambda record: reported.append(trainer.method.get_parameter("shift").detach().clone()))
    calls: list[tuple[int, int, bool, Tensor]] = trainer.method.calls  # type: ignore[assignment]
    # Measuring the steps of the first epoch ends no epoch.
    assert [call[:3] for call in calls] == [(0, 3, False), (1, 3, False), (2, 3, False)]
    ends = [call[3] for call in calls]
    torch.testing.assert_close(reported[-1], torch.stack(ends).mean(dim=0))
    for end, shown in zip(ends[:-1], reported[:-1], strict=True):
        assert torch.equal(end, shown)
    assert not torch.equal(ends[-1], reported[-1])


def test_a_training_whose_length_is_given_in_steps_tells_its_number_of_epochs(
    averaged: Callable[..., RunSpec],
) -> None:
    steps = make_trainer(averaged()).steps_per_epoch
    assert steps > 1
    trainer = make_trainer(averaged(f"train.iterations_per_shot={2 * steps - 1}"))
    records: list[EpochRecord] = []
    trainer.train(0, records.append)
    calls: list[Any] = trainer.method.calls  # type: ignore[assignment]
    assert [call[:2] for call in calls] == [(0, 2), (1, 2)]
    assert [record.steps for record in records] == [steps, steps - 1]


@pytest.mark.parametrize("done", [1, 2])
def test_an_interrupted_average_over_epochs_ends_the_same(done: int, averaged: Callable[..., RunSpec]) -> None:
    whole, states = make_trainer(averaged()), list[dict[str, Tensor]]()
    whole.train(0, lambda record: states.append({name: x.detach().clone() for name, x in whole.state().items()}))
    resumed = make_trainer(averaged())
    resumed.load_state(states[done - 1])
    resumed.train(done, lambda record: None)
    calls: list[Any] = resumed.method.calls  # type: ignore[assignment]
    assert [call[0] for call in calls] == list(range(done, 3))
    assert_same(trained_state(whole.method), trained_state(resumed.method))
