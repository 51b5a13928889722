"""A recipe arrives at the optimizer, a seed at every draw: what parity with the official code does not see."""

import math
from collections.abc import Callable

import pytest
import torch

from harness.clip.context import initial_context
from harness.clip.prompts import Prompts
from harness.clip.towers import CLIP
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.training import trainer as trainer_module
from methods.skip import SkipTuning, num_top
from tests.harness.training.test_trainer import make_trainer

Make = Callable[..., RunSpec]
RECIPE = {"lr": 0.2, "lr_image": 0.1, "warmup_lr": 0.03, "momentum": 0.7, "weight_decay": 0.02}
SMALL = ("data.classes=base.base", "train.batch_size=8", "train.epochs=5", "train.warmup_epochs=2")


def expected_rate(epoch: int, rate: float) -> float:
    """The learning rate of an epoch by the formula of the field: warm-up, then a cosine over all epochs."""
    return 0.03 if epoch < 2 else rate * 0.5 * (1 + math.cos(math.pi * (epoch - 2) / 5))


@pytest.mark.parametrize("precision", ["fp32", "half"])
def test_the_optimizer_holds_the_recipe_in_every_step(
    make_spec: Make, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"train.{key}={value}" for key, value in RECIPE.items()]
    spec = make_spec("skip", *SMALL, *words, f"train.precision={precision}", shots=1)
    trainer = make_trainer(spec)
    seen: list[dict[str, tuple[float, ...]]] = []

    def step(method: object, optimizer: torch.optim.SGD, *others: object) -> torch.Tensor:
        keys = ("lr", "momentum", "weight_decay", "dampening", "nesterov")
        seen.append({group["name"]: tuple(group[key] for key in keys) for group in optimizer.param_groups})
        return torch.zeros(())

    monkeypatch.setattr(trainer_module, "training_step", step)
    trainer.flops = {"train": 1.0}  # nothing is measured: no steps but those of the training
    records: list[tuple[float, float | None]] = []
    trainer.train(0, lambda record: records.append((record.lr, record.lr_image)))
    steps = len(seen) // 5
    assert steps == len(trainer.draw_batches(0)) > 0
    for epoch in range(5):
        rates = {"image": expected_rate(epoch, 0.1), "other": expected_rate(epoch, 0.2)}
        for groups in seen[epoch * steps : (epoch + 1) * steps]:
            for name, rate in rates.items():
                assert groups[name] == pytest.approx((rate, 0.7, 0.02, 0.0, 0.0))
        assert records[epoch] == pytest.approx((rates["other"], rates["image"]))


def test_the_step_that_is_measured_uses_the_recipe_too(make_spec: Make) -> None:
    words = [f"train.{key}={value}" for key, value in RECIPE.items()]
    optimizer = make_trainer(make_spec("skip", *SMALL, *words, shots=1))._new_optimizer()
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {"image": 0.1, "other": 0.2}
    assert {(group["momentum"], group["weight_decay"]) for group in optimizer.param_groups} == {(0.7, 0.02)}


def test_without_a_rate_of_its_own_the_image_tower_trains_at_the_rate_of_all(make_spec: Make) -> None:
    spec = make_spec("skip", *SMALL, "train.lr=0.2", "train.lr_image=null", "train.warmup_lr=0.03", shots=1)
    trainer = make_trainer(spec)
    trainer.images.prepare(3)
    trainer.run_steps(3, trainer.draw_batches(3)[:1])
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([expected_rate(3, 0.2)] * 2)


def test_the_seed_decides_the_batches(make_spec: Make) -> None:
    trainers = [make_trainer(make_spec("finetune", *SMALL, shots=1, seed=seed)) for seed in (1, 2)]
    one, other = (trainer.draw_batches(0) for trainer in trainers)
    assert len(one) == len(other)
    assert one != other


def test_what_a_step_draws_depends_on_seed_and_epoch(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "training_step", lambda *words: torch.rand(()) + 1)

    def losses(seed: int) -> list[float]:
        trainer, found = make_trainer(make_spec("finetune", *SMALL, shots=1, seed=seed)), []
        trainer.flops = {"train": 1.0}
        trainer.train(0, lambda record: found.append(record.loss))
        return found

    assert losses(1) == losses(1)
    assert len({*losses(1), *losses(2)}) == 10


def prompts_of(clip: CLIP, count: int) -> Prompts:
    return clip.tokenize([f"a photo of a thing {number}." for number in range(count)])


def is_normal(values: torch.Tensor, std: float) -> bool:
    """Whether many values may be drawn from N(0, std^2): mean and deviation within five standard errors."""
    error = std / math.sqrt(values.numel())
    return bool(abs(values.mean()) < 5 * error and abs(values.std() - std) < 5 * error)


def test_a_random_context_is_drawn_from_the_papers_distribution(clip: CLIP) -> None:
    torch.manual_seed(0)
    assert is_normal(initial_context(clip, 40, None), 0.02)


def test_class_specific_contexts_are_drawn_one_by_one(clip: CLIP) -> None:
    cls = method_class("coop")
    torch.manual_seed(0)
    method = cls(clip, cls.Config(n_ctx=4, class_specific=True), prompts_of(clip, 5))
    contexts = [tuple(ctx.flatten().tolist()) for ctx in method.ctx]
    assert len(set(contexts)) == 5
    assert is_normal(method.ctx, 0.02)


def test_class_specific_contexts_from_words_start_alike(clip: CLIP) -> None:
    cls = method_class("coop")
    method = cls(clip, cls.Config(ctx_init="a photo of a", class_specific=True), prompts_of(clip, 3))
    assert torch.equal(method.ctx, initial_context(clip, 4, "a photo of a").expand(3, -1, -1))


def test_deep_prompts_of_maple_are_drawn_one_by_one_and_its_projections_start_alike(clip: CLIP) -> None:
    cls = method_class("maple")
    torch.manual_seed(0)
    method = cls(clip, cls.Config(n_ctx=4, depth=5), prompts_of(clip, 3))
    drawn = list(method.compound_prompts_text)
    assert len({tuple(prompt.flatten().tolist()) for prompt in drawn}) == 4
    assert is_normal(torch.stack(drawn), 0.02)
    weights = [projection.weight for projection in method.compound_prompt_projections]
    assert all(torch.equal(weight, weights[0]) for weight in weights)
    assert len({weight.data_ptr() for weight in weights}) == 4
    assert not torch.equal(method.proj.weight, weights[0])


@pytest.mark.parametrize(
    ("ratio", "cap", "kept"), [(30, 20, 20), (15, 20, 15), (200, 1000, 50), (0.5, 20, 20), (0.5, 1000, 25), (1, 20, 50)]
)
def test_the_cap_on_classes_holds_for_numbers_and_for_ratios(ratio: float, cap: int, kept: int) -> None:
    assert num_top(50, SkipTuning.Config(class_ratio=ratio, max_classes=cap)) == kept
