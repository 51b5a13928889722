"""GDA against plain loops and the textbook's formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import methods.gda as module
from harness.clip.towers import CLIP
from harness.training.selection import choose
from methods.base import Shots, TooFewShotsError
from methods.gda import GDA

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]
NEW = ["a drawing of a tree.", "a drawing of a car."]
SIZE = 128


def made_up(views: int, images: int, seed: int = 0) -> Tensor:
    """Features that have a common direction, as those of a CLIP do."""
    drawn = torch.randn(views, images, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn + 2).float()


def fitted(clip: CLIP, x: Tensor, labels: list[int], covariance: str = "pooled", per_class: int = 4) -> GDA:
    method = GDA(clip, GDA.Config(covariance=covariance), clip.tokenize(TEXTS))
    method.fit(Shots(x, torch.tensor(labels), per_class))
    return method


def samples(x: Tensor, labels: list[int]) -> list[tuple[Tensor, int]]:
    """All views as samples of their own, normalised, in float64."""
    return [(F.normalize(f.double(), dim=0), y) for view in x for f, y in zip(view, labels, strict=True)]


def class_means(rows: list[tuple[Tensor, int]]) -> list[Tensor]:
    return [torch.stack([f for f, label in rows if label == y]).mean(dim=0) for y in range(len(TEXTS))]


# Fewer and more samples than the 128 dimensions.
SIZES = pytest.mark.parametrize(("views", "labels"), [(2, [0, 1, 2, 2, 1, 0, 0]), (40, [2, 1, 0, 1, 2, 0, 0, 0])])


@SIZES
def test_pooled_precision_is_the_shrunk_estimator(clip: CLIP, views: int, labels: list[int]) -> None:
    x = made_up(views, len(labels))
    method, rows = fitted(clip, x, labels), samples(x, labels)
    means = class_means(rows)
    n = len(rows)
    covariance = sum(torch.outer(f - means[y], f - means[y]) for f, y in rows) / (n - 1)
    expected = SIZE * torch.linalg.inv((n - 1) * covariance + covariance.trace() * torch.eye(SIZE))
    torch.testing.assert_close(method.means.double(), torch.stack(means), rtol=0, atol=1e-6)
    atol = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(method.precision.double(), expected, rtol=0, atol=atol)


def test_class_mean_precision_is_the_inverse_of_the_mean_covariance(clip: CLIP) -> None:
    # Classes of different sizes, so that a mean over samples is another matrix.
    labels = [0, 1, 2, 2, 2, 0, 0]
    x = made_up(60, len(labels))
    method, rows = fitted(clip, x, labels, "class_mean"), samples(x, labels)
    covariances = [torch.cov(torch.stack([f for f, label in rows if label == y]).T) for y in range(3)]
    expected = torch.linalg.inv(sum(covariances) / 3)
    atol = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(method.precision.double(), expected, rtol=0, atol=atol)


def test_class_mean_precision_of_few_samples_ignores_directions_without_spread(clip: CLIP) -> None:
    labels = [0, 1, 2, 0, 1, 2]
    x = made_up(2, len(labels))
    method, rows = fitted(clip, x, labels, "class_mean"), samples(x, labels)
    covariances = [torch.cov(torch.stack([f for f, label in rows if label == y]).T) for y in range(3)]
    expected = torch.linalg.pinv(sum(covariances) / 3, rtol=1e-5, hermitian=True)
    atol = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(method.precision.double(), expected, rtol=0, atol=atol)
    assert torch.linalg.matrix_rank(method.precision.double(), rtol=1e-4) == 4 * 3 - 3


def test_chunks_change_nothing(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [0, 1, 2, 2, 1, 0, 0]
    x = made_up(5, len(labels))
    whole = fitted(clip, x, labels)
    whole_new = whole.new_classes(clip.text.run(clip.tokenize(NEW).ids).detach())
    monkeypatch.setattr(module, "CHUNK_SHOTS", 4)
    monkeypatch.setattr(module, "CHUNK_CLASSES", 1)
    parts = fitted(clip, x, labels)
    torch.testing.assert_close(parts.precision, whole.precision, rtol=1e-4, atol=1e-2)
    parts_new = parts.new_classes(clip.text.run(clip.tokenize(NEW).ids).detach())
    torch.testing.assert_close(parts_new, whole_new, rtol=1e-4, atol=1e-4)


def test_logits_are_clips_and_those_of_the_discriminant(clip: CLIP) -> None:
    labels = [0, 1, 2, 2, 1, 0, 0]
    method = fitted(clip, made_up(3, len(labels)), labels)
    method.use({"alpha": 0.5})
    x, text = made_up(1, 4, seed=1)[0], method.text_features()
    expected = method.similarity_logits(x, text).double()
    means, precision = method.means.double(), method.precision.double()
    for b, f in enumerate(F.normalize(x.double(), dim=-1)):
        for c in range(3):
            discriminant = f @ precision @ means[c] + math.log(1 / 3) - means[c] @ precision @ means[c] / 2
            expected[b, c] += 0.5 * discriminant
    torch.testing.assert_close(method.logits(x, text).double(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("images", [7, 100])
def test_new_classes_borrow_their_nearest_neighbours(clip: CLIP, images: int) -> None:
    """With 7 images there are fewer than 64 neighbours."""
    labels = [i % 3 for i in range(images)]
    method = fitted(clip, made_up(1, images), labels)
    bank = method.bank.double()
    method.set_classes(clip.tokenize(NEW))
    texts = F.normalize(method.text_features().double(), dim=-1)
    means, inverses = [], []
    for u in texts:
        near = bank[(bank @ u).argsort(descending=True)[:64]]
        k = len(near)
        means.append((near.sum(dim=0) + 16 * u) / (k + 16))
        scatter = sum(torch.outer(f - u, f - u) for f in near)
        inverses.append(torch.linalg.inv(scatter + scatter.trace() / (k - 1) * torch.eye(SIZE)))
    precision = SIZE * sum(inverses) / len(NEW)
    weight = precision @ torch.stack(means).T
    atol = 1e-4 * float(weight.abs().max())
    torch.testing.assert_close(method.weight.double(), weight, rtol=0, atol=atol)
    bias = torch.stack([-mean @ precision @ mean / 2 - math.log(2) for mean in means])
    torch.testing.assert_close(method.bias.double(), bias, rtol=1e-4, atol=1e-4)


def test_training_classes_come_back_after_new_ones(clip: CLIP) -> None:
    labels = [0, 1, 2, 2, 1, 0, 0]
    method = fitted(clip, made_up(3, len(labels)), labels)
    before = method.weight.clone(), method.bias.clone()
    method.set_classes(clip.tokenize(NEW))
    assert method.weight.shape == (SIZE, 2)
    method.set_classes(clip.tokenize(TEXTS))
    assert torch.equal(method.weight, before[0])
    assert torch.equal(method.bias, before[1])


def test_one_view_of_one_image_of_every_class(clip: CLIP) -> None:
    """The pooled estimator is 0, as in the authors' code, and CLIP is left; a mean of covariances does not exist."""
    x = made_up(1, 3)
    method = fitted(clip, x, [0, 1, 2], per_class=1)
    assert not method.precision.any()
    expected = method.similarity_logits(x[0], method.text_features())
    torch.testing.assert_close(method.logits(x[0], method.text_features()), expected - 1e-4 * math.log(3))
    with pytest.raises(TooFewShotsError, match="one image of a class has no covariance"):
        fitted(clip, x, [0, 1, 2], "class_mean", per_class=1)


@pytest.mark.parametrize("covariance", ["pooled", "class_mean"])
def test_one_shot_with_several_views(clip: CLIP, covariance: str) -> None:
    method = fitted(clip, made_up(10, 3), [0, 1, 2], covariance, per_class=1)
    assert method.precision.isfinite().all()
    assert method.precision.any()


def test_a_class_with_one_image_adds_no_covariance(clip: CLIP) -> None:
    method = fitted(clip, made_up(1, 5), [0, 1, 1, 2, 2], "class_mean", per_class=2)
    assert method.precision.isfinite().all()


@pytest.mark.parametrize("covariance", ["pooled", "class_mean"])
def test_features_in_half_precision(clip: CLIP, covariance: str) -> None:
    x, labels = made_up(3, 7), [0, 1, 2, 2, 1, 0, 0]
    method = fitted(clip, x.half(), labels, covariance)
    assert method.precision.dtype == torch.float32
    assert method.precision.isfinite().all()
    # From the same rounded features: nothing else happens in half precision.
    assert torch.equal(method.precision, fitted(clip, x.half().float(), labels, covariance).precision)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = fitted(clip, x, labels, covariance)
    assert torch.equal(under_autocast.weight, fitted(clip, x, labels, covariance).weight)


def test_of_equally_good_alphas_the_first_is_chosen(clip: CLIP) -> None:
    method = fitted(clip, made_up(3, 3), [0, 1, 2])
    accuracies = iter([10.0, 20.0, 40.0, 40.0, 30.0, 40.0, 0.0])
    choice = choose(method, lambda _: next(accuracies))
    assert [candidate["alpha"] for candidate in choice.candidates] == [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]
    assert choice.chosen == {"alpha": 1e-2}
    assert method.alpha.item() == pytest.approx(1e-2)
