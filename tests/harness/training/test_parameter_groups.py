"""Groups of parameters of a method's own: their settings arrive, the schedule moves them, mistakes are named."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.results.epochs import EpochRecord
from harness.training import trainer as trainer_module
from harness.training.optimizer import build_optimizer, is_optimizer_state
from harness.training.resuming import misfit
from harness.training.state import trained_parameters, trained_state
from methods.base import Method
from methods.clip_adapter import CLIPAdapter
from tests.harness.training.test_trainer import assert_same, make_trainer

Make = Callable[..., RunSpec]
Groups = Callable[[Any], list[dict[str, Any]]]
SMALL = ("train.epochs=4", "train.lr=0.2", "data.classes=base.base", "train.batch_size=8")


@pytest.fixture
def own_groups(monkeypatch: pytest.MonkeyPatch) -> Callable[[Groups], None]:
    """Give CLIP-Adapter groups of its own, for the time of a test."""

    def give(groups: Groups) -> None:
        monkeypatch.setattr(CLIPAdapter, "parameter_groups", groups)

    return give


def no_step(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Take no step, but note the learning rate of every group."""
    seen: list[dict[str, float]] = []

    def step(method: object, optimizer: torch.optim.Optimizer, *others: object) -> Tensor:
        seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        return torch.zeros(())

    monkeypatch.setattr(trainer_module, "training_step", step)
    return seen


def test_the_schedule_moves_an_own_rate_as_it_moves_the_recipes(
    make_spec: Make, own_groups: Callable[[Groups], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_groups(lambda method: [{"params": [method.down.weight], "lr": 7.0}])
    seen = no_step(monkeypatch)
    words = ("train.warmup_epochs=1", "train.warmup_lr=0.03", "train.lr_min=0.01")
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, *words, shots=2))
    trainer.flops = {"train": 1.0}
    records: list[EpochRecord] = []
    trainer.train(0, records.append)
    steps = len(trainer.draw_batches(0))
    for epoch in range(4):
        share = (1 + math.cos(math.pi * (epoch - 1) / 4)) / 2
        expected = [0.03, 0.03] if epoch == 0 else [0.01 + (full - 0.01) * share for full in (0.2, 7.0)]
        for rates in seen[epoch * steps : (epoch + 1) * steps]:
            assert [rates["other"], rates["own0"]] == pytest.approx(expected)
        # Records and W&B show the recipe's.
        assert records[epoch].lr == records[epoch].lr_image == pytest.approx(expected[0])


def test_a_rate_of_0_stays_0_and_its_parameters_stay_as_they_are(
    make_spec: Make, own_groups: Callable[[Groups], None]
) -> None:
    own_groups(lambda method: [{"params": method.down.parameters(), "lr": 0, "weight_decay": 0.5}])
    words = ("train.warmup_epochs=1", "train.warmup_lr=0.03", "train.lr_min=0.01", "train.schedule=step")
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, *words, shots=2))
    before = {name: value.detach().clone() for name, value in trained_parameters(trainer.method).items()}
    trainer.train(0, lambda record: None)
    after = trained_parameters(trainer.method)
    assert torch.equal(after["down.weight"], before["down.weight"])
    assert not torch.equal(after["up.weight"], before["up.weight"])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("sgd", {"lr": 0.05, "momentum": 0.5, "weight_decay": 0.3}),
        ("adam", {"lr": 0.05, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.3}),
        ("adamw", {"lr": 0.05, "betas": (0.5, 0.7), "amsgrad": True, "weight_decay": 0.3}),
    ],
)
def test_settings_of_a_group_are_those_of_torchs_optimizer_and_others_follow_the_recipe(
    kind: Any, settings: dict[str, Any], make_spec: Make, own_groups: Callable[[Groups], None]
) -> None:
    method = make_trainer(make_spec("clip_adapter", *SMALL, shots=1)).method
    own_groups(lambda method: [{"params": [method.down.weight], **settings}])
    recipe = TrainSpec(optimizer=kind, lr=0.01, weight_decay=0.1, momentum=0.8)
    optimizer = build_optimizer(method, recipe)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {key: groups["own0"][key] for key in settings} == settings
    assert (groups["other"]["lr"], groups["other"]["weight_decay"]) == (0.01, 0.1)

    alone = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    weights = {name: value.detach().clone() for name, value in trained_parameters(method).items()}
    own = alone([weights["down.weight"]], **settings)
    usual = {"momentum": 0.8} if kind == "sgd" else {}
    other = alone([weights["up.weight"]], lr=0.01, weight_decay=0.1, **usual)
    for seed in range(3):
        for name, value in trained_parameters(method).items():
            gradient = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
            value.grad, weights[name].grad = gradient.clone(), gradient.clone()
        for each in (optimizer, own, other):
            each.step()
    for name, value in trained_parameters(method).items():
        torch.testing.assert_close(value.detach(), weights[name], rtol=1e-5, atol=1e-6)


def test_the_image_towers_own_weights_stay_in_their_group(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec("finetune", "finetune.depth=5", *SMALL, "train.lr_image=0.1", shots=1)
    method = make_trainer(spec).method
    text = [method.clip.text.text_projection]
    image = [method.clip.image.proj]
    monkeypatch.setattr(
        type(method), "parameter_groups", lambda self: [{"params": text, "lr": 3.0}, {"params": image, "momentum": 0.1}]
    )
    optimizer = build_optimizer(method, spec.train)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "image": 0.1,
        "other": 0.2,
        "own0": 3.0,
        "own1": 0.1,
    }
    counted = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(counted) == sorted(id(parameter) for parameter in trained_parameters(method).values())
    in_image_tower = {id(parameter) for parameter in method.clip.image.parameters()}
    assert {id(parameter) for parameter in groups["image"]["params"]} <= in_image_tower


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        (lambda method: [{"parameters": []}], "group 0 has no 'params'"),
        (lambda method: [{"params": [method.down.weight], "rate": 1}], "'rate' is no setting of train.optimizer=sgd."),
        (lambda method: [{"params": [method.down.weight], "momentun": 1}], "Did you mean 'momentum'?"),
        (
            lambda method: [{"params": [method.down.weight], "betas": (0, 0)}],
            "'betas' is no setting of train.optimizer",
        ),
        (lambda method: [{"params": [method.down.weight], "fused": True}], "'fused' is no setting of train.optimizer"),
        (lambda method: [{"params": [method.clip.image.proj]}], "group 0 has a tensor that does not train: shape"),
        (lambda method: [{"params": [torch.zeros(3)]}], "that does not train: shape [3], and it is no parameter of it"),
        (lambda method: [{"params": [method.up.weight]}] * 2, "'up.weight' is in two groups"),
        (lambda method: [{"params": [method.up.weight, method.up.weight]}], "'up.weight' is in two groups"),
        (lambda method: [{"params": [method.up.weight], "lr": -1}], "group 0 has lr=-1: give a number of at least 0"),
        (lambda method: [{"params": [method.up.weight], "lr": "x"}], "group 0 has lr='x': give a number of at least 0"),
        (lambda method: [{"params": [method.up.weight], "lr": math.inf}], "lr=inf: give a number"),
    ],
)
def test_mistakes_of_a_method_are_named(
    groups: Groups, problem: str, make_spec: Make, own_groups: Callable[[Groups], None]
) -> None:
    own_groups(groups)
    with pytest.raises(ValueError, match=r"^CLIPAdapter\.parameter_groups: ") as raised:
        make_trainer(make_spec("clip_adapter", *SMALL, shots=1))
    assert problem in str(raised.value)
    # In a run it is one line, not a traceback.
    assert isinstance(raised.value, UserError)


def test_an_interruption_keeps_what_groups_with_settings_of_their_own_know(
    make_spec: Make, own_groups: Callable[[Groups], None]
) -> None:
    own_groups(lambda method: [{"params": [method.down.weight], "lr": 0.1, "momentum": 0.9}])
    spec = make_spec("clip_adapter", *SMALL, "train.momentum=0", shots=2)
    whole = make_trainer(spec)
    states: list[dict[str, Tensor]] = []
    whole.train(
        0, lambda record: states.append({name: value.detach().clone() for name, value in whole.state().items()})
    )
    assert {name for name in states[1] if is_optimizer_state(name)} == {"momentum.down.weight"}
    resumed = make_trainer(spec)
    assert misfit(resumed.method, states[1], spec.train) is None
    resumed.load_state(states[1])
    resumed.train(2, lambda record: None)
    assert_same(trained_state(whole.method), trained_state(resumed.method))
    forgotten = {name: value for name, value in states[1].items() if not is_optimizer_state(name)}
    assert misfit(resumed.method, forgotten, spec.train) == "what its optimizer knew is not that of the recipe"
    more = {**states[1], "momentum.up.weight": states[1]["up.weight"]}
    assert misfit(resumed.method, more, spec.train) == "what its optimizer knew is not that of the recipe"


def test_methods_without_groups_train_as_before(make_spec: Make) -> None:
    method = make_trainer(make_spec("clip_adapter", *SMALL, shots=1)).method
    assert method.parameter_groups() == Method.parameter_groups(method) == []
    (group,) = build_optimizer(method, TrainSpec()).param_groups
    assert group["name"] == "other"


def test_after_an_epoch_a_method_may_change_its_weights_without_gradients_and_measuring_does_not_call_it(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool, float]] = []

    def after_epoch(method: Any, epoch: int, epochs: int) -> None:
        method.up.weight.add_(1.0)
        seen.append((epoch, torch.is_grad_enabled(), method.up.weight.mean().item()))

    monkeypatch.setattr(CLIPAdapter, "after_epoch", after_epoch)
    trainer = make_trainer(make_spec("clip_adapter", *SMALL, shots=1))
    states: list[float] = []
    trainer.train(0, lambda record: states.append(trainer.state()["up.weight"].mean().item()))
    assert trainer.flops
    assert [(epoch, grad) for epoch, grad, _ in seen] == [(epoch, False) for epoch in range(4)]
    assert states == [mean for *_, mean in seen]
