"""ProLIP: what trains, and what it is kept near to."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.towers import CLIP, END, POOLED
from harness.training.precision import store_clip
from methods.base import Shots
from methods.prolip import ProLIP

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]
LABELS = torch.tensor([0, 2])


def vectors(count: int = 2) -> Tensor:
    return torch.randn(count, 128, generator=torch.Generator().manual_seed(0))


def fitted(clip: CLIP, per_class: int = 4, **options: float) -> ProLIP:
    method = ProLIP(clip, ProLIP.Config(**options), clip.tokenize(TEXTS))
    method.fit(Shots(vectors()[None], LABELS, per_class))
    return method


def test_only_the_image_projection_trains(clip: CLIP) -> None:
    method = fitted(clip)
    assert [name for name, p in method.named_parameters() if p.requires_grad] == ["clip.image.proj"]
    assert (method.image_start, method.text_start) == (POOLED, END)
    pixels = torch.randn(2, 3, 48, 48)
    image = method.image_features(clip.image.run(pixels, stop=POOLED))
    assert torch.equal(image, clip.image.run(pixels))


@pytest.mark.parametrize(
    ("options", "per_class", "strength"),
    [({}, 4, 0.25), ({}, 1, 1.0), ({"lambda": 0.5}, 4, 0.5), ({"lambda": 0}, 4, 0)],
)
def test_lambda_is_one_over_shots_unless_given(
    clip: CLIP, options: dict[str, float], per_class: int, strength: float
) -> None:
    method = fitted(clip, per_class, **options)
    assert method.strength.item() == strength
    moved = method.clip.image.proj
    with torch.no_grad():
        moved.add_(0.01)
    cross_entropy = F.cross_entropy(method.logits(vectors(), method.text_features()), LABELS)
    # The sum of the squares, not their mean.
    expected = cross_entropy + strength * 0.01**2 * moved.numel()
    torch.testing.assert_close(method.loss(vectors(), LABELS), expected)


def test_the_penalty_begins_at_zero_and_pulls_back(clip: CLIP) -> None:
    method = fitted(clip, **{"lambda": 1000.0})
    projection = method.clip.image.proj
    start = projection.detach().clone()
    cross_entropy = F.cross_entropy(method.logits(vectors(), method.text_features()), LABELS)
    assert torch.equal(method.loss(vectors(), LABELS), cross_entropy)
    with torch.no_grad():
        projection.add_(0.1)
    method.loss(vectors(), LABELS).backward()
    assert projection.grad is not None
    assert projection.grad.gt(0).all(), "the penalty outweighs everything here"
    assert torch.equal(method.initial, start)


def test_new_classes_are_served(clip: CLIP) -> None:
    method = fitted(clip)
    method.set_classes(clip.tokenize(["a drawing of a tree."]))
    assert method.logits(vectors(), method.text_features()).shape == (2, 1)


def test_the_projection_trains_in_float32_in_half_precision(clip: CLIP) -> None:
    method = fitted(store_clip(clip, "half"))
    assert method.clip.image.proj.dtype == torch.float32
    loss = method.loss(vectors().half(), LABELS)
    loss.backward()
    assert loss.isfinite()
    assert method.clip.image.proj.grad is not None
    assert method.clip.image.proj.grad.dtype == torch.float32
    pixels = torch.randn(2, 3, 48, 48)
    assert method.image_features(clip.image.run(pixels, stop=POOLED)).isfinite().all()
