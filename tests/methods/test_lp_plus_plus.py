"""LP++: what follows from the shots, and the gradient of alpha, which its authors never clear."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.towers import CLIP
from methods.base import OtherClassesError, Shots
from methods.lp_plus_plus import LPPlusPlus

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


def make(clip: CLIP, views: int = 1) -> tuple[LPPlusPlus, Tensor]:
    """Fitted to made-up shots, and their features (N, E)."""
    torch.manual_seed(7)
    method = LPPlusPlus(clip, LPPlusPlus.Config(), clip.tokenize(TEXTS))
    x = torch.randn(1, len(LABELS), clip.embed_dim)
    method.fit(Shots(x.repeat(views, 1, 1), LABELS, per_class=2))
    return method, x[0]


def test_what_follows_from_the_shots(clip: CLIP) -> None:
    method, x = make(clip)
    features, text = F.normalize(x, dim=-1), F.normalize(clip.text.run(method.prompts.ids), dim=-1)
    sums = torch.stack([features[label == LABELS].sum(dim=0) for label in range(3)])
    torch.testing.assert_close(method.classifier.weight, sums)
    bound = 1 / math.sqrt(clip.embed_dim)
    assert 0 < method.classifier.bias.abs().max() <= bound
    own = torch.stack([(features[label == LABELS] @ text[label]).mean() for label in range(3)])
    torch.testing.assert_close(method.alpha, (250 * own.mean()).expand(1, 3))
    largest = torch.linalg.eigvalsh(features.T @ features).max()
    torch.testing.assert_close(method.weight_step, 4 * 6 / largest)
    squares = (features @ text.T).square().sum(dim=0)
    torch.testing.assert_close(method.alpha_step, 6 / (4 * squares.max()))


def test_repeated_views_change_nothing(clip: CLIP) -> None:
    once, _ = make(clip)
    thrice, _ = make(clip, views=3)
    for name in ("classifier.weight", "alpha"):
        torch.testing.assert_close(thrice.get_parameter(name), once.get_parameter(name))
    for name in ("weight_step", "alpha_step"):
        torch.testing.assert_close(thrice.get_buffer(name), once.get_buffer(name))


def test_logits_have_no_temperature(clip: CLIP) -> None:
    method, x = make(clip)
    features, text = F.normalize(x, dim=-1), F.normalize(method.text_features(), dim=-1)
    with torch.no_grad():
        method.alpha.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    expected = features @ method.classifier.weight.T + method.classifier.bias
    expected = expected + torch.tensor([1.0, 2.0, 3.0]) * (features @ text.T)
    torch.testing.assert_close(method.logits(x, method.text_features()), expected)


def test_steps_follow_from_the_data_and_alpha_has_its_own(clip: CLIP) -> None:
    method, _ = make(clip)
    groups = method.parameter_groups()
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates[id(method.classifier.weight)] == rates[id(method.classifier.bias)] == method.weight_step.item()
    assert rates[id(method.alpha)] == 0
    assert len(rates) == sum(parameter.requires_grad for parameter in method.parameters())


def test_alpha_steps_along_the_sum_of_the_gradients_of_all_epochs(clip: CLIP) -> None:
    method, x = make(clip)
    optimizer = torch.optim.SGD(method.parameter_groups(), momentum=0.9)
    alpha, total, moved = method.alpha.detach().clone(), torch.zeros(1, 3), []
    for epoch in range(25):
        optimizer.zero_grad()
        method.loss(x, LABELS).backward()
        assert method.alpha.grad is not None
        total += method.alpha.grad
        optimizer.step()
        assert torch.equal(method.alpha, alpha)
        with torch.no_grad():
            method.after_epoch(epoch, 25)
        if not torch.equal(method.alpha, alpha):
            moved.append(epoch)
            # The second step counts the first ten epochs again.
            torch.testing.assert_close(method.alpha, alpha - method.alpha_step * total)
            alpha = method.alpha.detach().clone()
    assert moved == [9, 19]
    assert total.abs().max() > 1e-3


def test_other_classes_have_no_weights(clip: CLIP) -> None:
    method, _ = make(clip)
    with pytest.raises(OtherClassesError, match="training classes only"):
        method.set_classes(clip.tokenize(TEXTS[::-1]))
