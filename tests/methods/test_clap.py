"""ZS-LP and CLAP: prototypes that start at the texts, and what holds CLAP's near them."""

import pytest
import torch
import torch.nn.functional as F

from harness.clip.towers import CLIP
from methods.base import OtherClassesError, Shots
from methods.clap import CLAP
from methods.zs_lp import ZSLP

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]
LABELS = torch.tensor([0, 2, 2, 1])


def shots(clip: CLIP) -> Shots:
    torch.manual_seed(5)
    return Shots(torch.randn(3, len(LABELS), clip.embed_dim), LABELS, per_class=2)


@pytest.mark.parametrize("kind", [ZSLP, CLAP])
def test_prototypes_start_as_the_texts_and_give_zero_shot_logits(clip: CLIP, kind: type[ZSLP]) -> None:
    prompts = clip.tokenize(TEXTS)
    method = kind(clip, kind.Config(), prompts)
    text = clip.text.run(prompts.ids)
    torch.testing.assert_close(method.prototypes, text)
    assert not torch.allclose(text.norm(dim=-1), torch.ones(3))
    x = torch.randn(2, clip.embed_dim)
    expected = clip.logit_scale.exp() * F.normalize(x, dim=-1) @ F.normalize(text, dim=-1).T
    torch.testing.assert_close(method.logits(x, method.text_features()), expected)
    assert [name for name, value in method.named_parameters() if value.requires_grad] == ["prototypes"]
    assert torch.equal(method.text_features(torch.tensor([2, 0])), method.prototypes[[2, 0]])
    with pytest.raises(OtherClassesError, match="training classes"):
        method.set_classes(clip.tokenize(TEXTS[:2]))
    assert kind.keeps_underscores
    assert not kind.averages_normalised


def test_multipliers_are_mean_probabilities_of_the_right_class(clip: CLIP) -> None:
    method = CLAP(clip, CLAP.Config(), clip.tokenize(TEXTS))
    bank = shots(clip)
    method.fit(bank)
    found: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for view in bank.x:
        for feature, label in zip(view, LABELS.tolist(), strict=True):
            logits = method.similarity_logits(feature[None], clip.text.run(method.prompts.ids))[0]
            found[label].append(logits.softmax(dim=0)[label].item())
    assert [len(values) for values in found.values()] == [3, 3, 6]
    expected = torch.tensor([sum(values) / len(values) for values in found.values()])
    torch.testing.assert_close(method.multipliers, expected)


def test_the_distance_to_the_texts_is_a_mean_over_classes_of_squares(clip: CLIP) -> None:
    method = CLAP(clip, CLAP.Config(), clip.tokenize(TEXTS))
    method.multipliers.copy_(torch.tensor([0.5, 1.0, 2.0]))
    x, labels = torch.randn(4, clip.embed_dim), LABELS
    plain = F.cross_entropy(method.logits(x, method.text_features()), labels)
    torch.testing.assert_close(method.loss(x, labels), plain)
    with torch.no_grad():
        method.prototypes[2, :3] += torch.tensor([1.0, 2.0, 2.0])
        method.prototypes[0, 0] += 3.0
    moved = F.cross_entropy(method.logits(x, method.text_features()), labels)
    torch.testing.assert_close(method.loss(x, labels) - moved, torch.tensor((0.5 * 9 + 2.0 * 9) / 3))


def test_zs_lp_follows_cross_entropy_alone(clip: CLIP) -> None:
    method = ZSLP(clip, ZSLP.Config(), clip.tokenize(TEXTS))
    with torch.no_grad():
        method.prototypes += 1.0
    x = torch.randn(4, clip.embed_dim)
    expected = F.cross_entropy(method.logits(x, method.text_features()), LABELS)
    assert torch.equal(method.loss(x, LABELS), expected)
    assert not ZSLP.is_fitted()
    assert CLAP.is_fitted()
