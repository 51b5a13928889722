"""Tip-Adapter and Tip-Adapter-F against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from harness.clip.towers import CLIP
from harness.experiment.training_spec import TrainSpec
from harness.training.optimizer import build_optimizer
from harness.training.selection import choose
from methods.base import OtherClassesError, Shots
from methods.tip_adapter import TipAdapter, grid
from methods.tip_adapter_f import TipAdapterF

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]
LABELS = torch.tensor([2, 0, 1, 0, 2])


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 128, generator=torch.Generator().manual_seed(seed))


def fitted(clip: CLIP, kind: type[TipAdapter] = TipAdapter, **options: object) -> TipAdapter:
    method = kind(clip, kind.Config(**options), clip.tokenize(TEXTS))
    method.fit(Shots(features(4, len(LABELS)), LABELS, per_class=2))
    return method


def trained(clip: CLIP) -> TipAdapterF:
    method = fitted(clip, TipAdapterF)
    assert isinstance(method, TipAdapterF)
    return method


def test_keys_are_means_of_views_that_are_not_normalised(clip: CLIP) -> None:
    keys = fitted(clip).keys
    for i, views in enumerate(features(4, len(LABELS)).unbind(1)):
        mean = sum(views) / 4
        torch.testing.assert_close(keys[i], mean / mean.norm())
        unlike = F.normalize(F.normalize(views, dim=-1).mean(0), dim=-1)
        assert not torch.allclose(keys[i], unlike, atol=1e-4)


@pytest.mark.parametrize("kind", [TipAdapter, TipAdapterF])
def test_logits_are_those_of_a_plain_loop(clip: CLIP, kind: type[TipAdapter]) -> None:
    method, x = fitted(clip, kind, init_beta=2.5, init_alpha=1.5), features(6, seed=1)
    text = method.text_features()
    expected = method.similarity_logits(x, text).clone()
    for b in range(6):
        for key, label in zip(method.keys.detach(), LABELS.tolist(), strict=True):
            affinity = float(x[b] @ key / x[b].norm())
            expected[b, label] += 1.5 * math.exp(-2.5 * (1 - affinity))
    torch.testing.assert_close(method.logits(x, text), expected)


def test_grids_begin_at_a_tenth_and_leave_out_their_end() -> None:
    assert grid(12.1, 3) == [0.1, pytest.approx(4.1), pytest.approx(8.1)]
    assert grid(5, 1) == [0.1]


def test_candidates_are_all_pairs_with_beta_outside(clip: CLIP) -> None:
    method = fitted(clip, search_scale=(4.1, 2.1), search_step=(2, 2))
    choice = choose(method, lambda _: 0.0)
    pairs = [(candidate["beta"], candidate["alpha"]) for candidate in choice.candidates]
    assert pairs == [(0.1, 0.1), (0.1, pytest.approx(1.1)), (pytest.approx(2.1), 0.1), (pytest.approx(2.1), 1.1)]


def test_of_equally_good_pairs_the_first_is_chosen(clip: CLIP) -> None:
    method = fitted(clip, search_scale=(4.1, 2.1), search_step=(2, 2))
    accuracies = iter([50.0, 75.0, 60.0, 75.0])
    choice = choose(method, lambda _: next(accuracies))
    assert choice.chosen == {"beta": 0.1, "alpha": pytest.approx(1.1)}
    assert choice.accuracy == 75.0
    assert method.beta.item() == pytest.approx(0.1)
    assert method.alpha.item() == pytest.approx(1.1)


@pytest.mark.parametrize("kind", [TipAdapter, TipAdapterF])
def test_logits_of_candidates_are_the_methods_own(clip: CLIP, kind: type[TipAdapter]) -> None:
    method, x = fitted(clip, kind), features(6, seed=1)
    again = method.candidate_logits(x)
    # In an order in which a result that is kept for too long would be noticed.
    for beta, alpha in [(0.5, 1.0), (0.5, 2.0), (3.0, 2.0), (0.5, 1.0)]:
        candidate = {"beta": beta, "alpha": alpha}
        method.use(candidate)
        assert torch.equal(again(candidate), method.logits(x, method.text_features()))


def test_the_first_values_train_nothing_in_tip_adapter(clip: CLIP) -> None:
    method = fitted(clip)
    assert not any(p.requires_grad for p in method.parameters())
    assert set(TipAdapter.unused(method.config)) == {"init_beta", "init_alpha"}
    assert TipAdapterF.unused(TipAdapterF.Config()) == {}


def test_only_the_keys_train(clip: CLIP) -> None:
    method = trained(clip)
    assert [name for name, p in method.named_parameters() if p.requires_grad] == ["keys"]
    method.loss(features(2), torch.tensor([0, 1])).backward()
    assert method.keys.grad is not None
    assert method.keys.grad.abs().amax(dim=1).gt(0).all()


def test_keys_have_weight_decay_and_are_not_normalised_again(clip: CLIP) -> None:
    method = trained(clip)
    recipe = TrainSpec(optimizer="adamw", lr=0.1, weight_decay=0.5, eps=1e-4)
    optimizer = build_optimizer(method, recipe)
    before = method.keys.detach().clone()
    method.keys.grad = torch.zeros_like(method.keys)
    optimizer.step()
    torch.testing.assert_close(method.keys.detach(), before * (1 - 0.1 * 0.5))
    x = features(3)
    expected = F.normalize(x, dim=-1) @ (before * 0.95).T
    torch.testing.assert_close(method.affinity(x), expected)


@pytest.mark.parametrize("kind", [TipAdapter, TipAdapterF])
def test_other_classes_are_refused(clip: CLIP, kind: type[TipAdapter]) -> None:
    method = fitted(clip, kind)
    with pytest.raises(OtherClassesError, match="none of new classes"):
        method.set_classes(clip.tokenize([*TEXTS, "a drawing of a tree."]))
    method.set_classes(clip.tokenize(TEXTS))


def test_the_cache_is_computed_in_float32_under_autocast(clip: CLIP) -> None:
    method, x = fitted(clip, init_beta=50.0), features(6, seed=1)
    expected = method.cache_logits(method.affinity(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.cache_logits(method.affinity(x)), expected)


def test_features_in_float16_give_finite_logits(clip: CLIP) -> None:
    method = TipAdapterF(clip, TipAdapterF.Config(), clip.tokenize(TEXTS))
    method.fit(Shots(features(4, len(LABELS)).half(), LABELS, per_class=2))
    method.keys.data = method.keys.data.half()
    assert method.cache_logits(method.affinity(features(3).half())).isfinite().all()


@pytest.mark.parametrize("options", [{"search_step": (0, 5)}, {"search_scale": (0, 5)}, {"init_beta": 0}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TipAdapter.Config(**options)
