"""The linear probe: its objective, and how C is chosen."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from harness.clip.towers import CLIP
from methods.base import Candidate, OtherClassesError, Shots
from methods.linear_probe import LinearProbe

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


def make(clip: CLIP, views: int = 1, **options: object) -> LinearProbe:
    """Fitted to made-up shots."""
    method = LinearProbe(clip, LinearProbe.Config(**options), clip.tokenize(TEXTS))
    torch.manual_seed(3)
    method.fit(Shots(torch.randn(views, len(LABELS), clip.embed_dim), LABELS, per_class=2))
    return method


def search(method: LinearProbe, score: Callable[[float], float]) -> tuple[list[float], Candidate]:
    """All values of C that are tried, and what is chosen, with a made-up accuracy of each."""
    tried, running = [], method.search()
    try:
        candidate = next(running)
        while True:
            tried.append(candidate["C"])
            candidate = running.send(score(candidate["C"]))
    except StopIteration as end:
        chosen: Candidate = end.value
    return tried, chosen


def objective(method: LinearProbe, weight: Tensor, bias: Tensor, c: float) -> Tensor:
    """|w|^2 / 2 + C sum_i CE_i, as the paper writes it."""
    errors = F.cross_entropy(method.features @ weight.T + bias, method.labels, reduction="sum")
    return weight.square().sum() / 2 + c * errors


@pytest.mark.parametrize("c", [0.1, 10.0])
def test_the_objective_is_minimal_and_leaves_the_bias_without_penalty(clip: CLIP, c: float) -> None:
    method = make(clip, tolerance=1e-9)
    method.use({"C": c})
    weight, bias = method.weight.clone().requires_grad_(), method.bias.clone().requires_grad_()
    of_weight, of_bias = torch.autograd.grad(objective(method, weight, bias, c), (weight, bias))
    assert of_weight.abs().max() < 1e-5 * c * len(LABELS)
    assert of_bias.abs().max() < 1e-5 * c * len(LABELS)
    assert weight.abs().max() > 1e-3
    # It starts at zero, and gradients of the bias sum to zero over the classes.
    assert abs(bias.sum().item()) < 1e-8


def test_features_are_normalised_and_all_views_are_samples(clip: CLIP) -> None:
    method = make(clip, views=2)
    assert method.features.shape == (12, clip.embed_dim)
    torch.testing.assert_close(method.features.norm(dim=-1), torch.ones(12, dtype=torch.float64))
    assert method.labels.tolist() == LABELS.tolist() * 2
    method.use({"C": 1.0})
    x = torch.randn(4, clip.embed_dim)
    torch.testing.assert_close(method.logits(x, method.text_features()), method.logits(7 * x, method.text_features()))


def test_the_first_of_equal_values_is_kept_and_ties_go_to_the_left(clip: CLIP) -> None:
    tried, chosen = search(make(clip), lambda c: 50.0)
    assert tried[:7] == [1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6]
    # The interval around 1e6 shrinks towards its left end, which stays.
    assert tried[7::2] == [1e5] * 8
    logs = [math.log10(c) for c in tried[8::2]]
    assert logs == pytest.approx([5 + 2 / 2**step for step in range(8)])
    assert chosen == {"C": 1e5}


def test_a_better_right_end_moves_the_left_end_to_the_middle(clip: CLIP) -> None:
    tried, chosen = search(make(clip, num_step=4), lambda c: math.log10(c) if c <= 100 else -1.0)
    # Best of the list is 100; of 10 and 1000 the left end is better, then of 10 and 100 the right one.
    assert [math.log10(c) for c in tried[7:]] == pytest.approx([1, 3, 1, 2, 1.5, 2, 1.75, 2])
    assert chosen["C"] == pytest.approx(100)


def test_the_last_step_decides_and_not_the_best_of_all(clip: CLIP) -> None:
    scores = {1e2: 90.0, 1e1: 20.0, 1e3: 30.0}
    tried, chosen = search(make(clip, num_step=1), lambda c: scores.get(round(c, 6), 0.0))
    assert tried[-2:] == [10.0, 1000.0]
    assert chosen == {"C": 1000.0}
    assert search(make(clip, num_step=0), lambda c: scores.get(c, 0.0))[1] == {"C": 100.0}


def test_what_is_used_depends_on_c_alone(clip: CLIP) -> None:
    method = make(clip)
    method.use({"C": 1.0})
    first = method.weight.clone()
    method.use({"C": 100.0})
    assert not torch.allclose(method.weight, first)
    method.use({"C": 1.0})
    assert torch.equal(method.weight, first)


def test_other_classes_have_no_weights(clip: CLIP) -> None:
    method = make(clip)
    method.set_classes(clip.tokenize(TEXTS))
    with pytest.raises(OtherClassesError, match="training classes only"):
        method.set_classes(clip.tokenize(TEXTS[:2]))


@pytest.mark.parametrize("c", [0.0, -1.0])
def test_inverse_penalties_are_positive(c: float) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        LinearProbe.Config(c_list=(1.0, c))
