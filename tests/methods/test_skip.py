"""Skip Tuning's parts against their definitions."""

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.clip.towers import CLIP, RAW
from methods.finetune import FineTune
from methods.skip import SkipTuning, keep_probabilities, num_top

NAMES = ["cat", "dog", "clock", "fruit", "arrow", "heart", "tool", "plant", "bird", "insect"]
Config = SkipTuning.Config


def make(clip: CLIP, seed: int = 0, **options: float) -> SkipTuning:
    torch.manual_seed(seed)
    prompts = clip.tokenize([f"a drawing of a {name}." for name in NAMES])
    return SkipTuning(clip, Config(**{"depth": 3, **options}), prompts)


def images(clip: CLIP, method: SkipTuning, count: int = 4) -> torch.Tensor:
    pixels = torch.randn(count, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return clip.image.run(pixels, RAW, method.image_start)


# The reference implementation's own keep probabilities.
@pytest.mark.parametrize(
    ("classes", "options", "tail"),
    [
        (12, {}, [1.000000, 0.035674, 0.001273, 0.000045, 0.000002, 0.000000]),
        (
            20,
            {"class_ratio": 0.3, "lambda_": 0.5},
            [1.000000, 0.463345, 0.214676, 0.099450, 0.046058, 0.021317, 0.009853, 0.004541, 0.002080, 0.000939,
             0.000411, 0.000166, 0.000053, 0.000000],
        ),
    ],
)  # fmt: skip
def test_keep_probabilities_are_the_references(classes: int, options: dict[str, float], tail: list[float]) -> None:
    keep = keep_probabilities(classes, Config(**options))
    assert keep[:6].tolist() == [1.0] * 6
    torch.testing.assert_close(keep[6:], torch.tensor(tail), rtol=0, atol=6e-7)


def test_a_tail_of_one_rank_is_dropped() -> None:
    keep = keep_probabilities(10, Config(class_ratio=0.9))
    assert not (torch.rand(10) < keep)[-1]
    assert (torch.rand(10) < keep)[:-1].all()


@given(
    classes=st.integers(1, 120),
    ratio=st.floats(0.01, 1.0),
    cap=st.integers(1, 60),
    lambda_=st.floats(0.01, 2.0),
)
@settings(deadline=None)
def test_as_many_top_ranks_as_ratio_and_cap_say(classes: int, ratio: float, cap: int, lambda_: float) -> None:
    config = Config(class_ratio=ratio, max_classes=cap, lambda_=lambda_)
    top = num_top(classes, config)
    assert top == (classes if ratio == 1 else min(-int(-ratio * classes // 1), cap))
    keep = keep_probabilities(classes, config)
    assert len(keep) == classes
    assert (keep[:top] == 1).all()
    finite = keep[top:].nan_to_num(0)
    assert ((finite >= 0) & (finite <= 1)).all()


def test_ratio_above_one_is_a_number_of_classes_and_one_is_all() -> None:
    assert num_top(100, Config(class_ratio=7)) == 7
    assert num_top(5, Config(class_ratio=7)) == 5
    assert num_top(100, Config(class_ratio=1, max_classes=50)) == 100


def test_kept_classes_are_the_nearest_of_the_batch_and_its_own(clip: CLIP) -> None:
    method = make(clip, class_ratio=0.5, lambda_=0.01)
    x, labels = images(clip, method), torch.tensor([7, 7, 2, 7])
    with torch.no_grad():
        image = method.image_features(x)
        kept, takes_part = method.select_classes(image, labels)
        similarity = F.normalize(image, dim=-1) @ method.prototypes.T
    nearest = similarity.max(dim=0).values
    nearest[labels] = 10
    # lambda 0.01: of the tail only its first rank has a chance, and always.
    expected = sorted(nearest.argsort(descending=True)[:6].tolist())
    assert kept.tolist() == expected
    assert takes_part is None


def test_labels_are_positions_among_the_kept_classes(clip: CLIP) -> None:
    method = make(clip)
    labels = torch.tensor([9, 4, 4, 9])
    logits, targets = method.training_logits(images(clip, method), labels)
    with torch.no_grad():
        kept, _ = method.select_classes(method.image_features(images(clip, method)), labels)
    assert logits.shape == (4, len(kept))
    assert kept[targets].tolist() == labels.tolist()


def test_a_label_that_would_fall_out_is_kept_and_counted(clip: CLIP) -> None:
    method = make(clip, class_ratio=0.1, lambda_=0.01)
    labels = torch.tensor([0, 3, 6, 9])
    logits, targets = method.training_logits(images(clip, method), labels)
    assert logits.shape == (4, 4)
    assert targets.tolist() == [0, 1, 2, 3]
    # One top rank, and the first of the tail: two of the four labels had fallen out.
    assert method.facts() == {"kept_classes": 2, "rescued_labels": 2}


def test_of_the_ranks_that_labels_might_have_only_those_of_labels_count(clip: CLIP) -> None:
    """Two of four ranks are dropped, and three labels are the first ones: the fourth rank is there for nothing."""
    method = make(clip, class_ratio=0.1, lambda_=0.01)
    x, labels = images(clip, method), torch.tensor([9, 3, 6, 9])
    logits, targets = method.training_logits(x, labels)
    assert logits.shape == (4, 4)
    assert method.facts() == {"kept_classes": 2, "rescued_labels": 1}
    everything = method.logits(x, method.text_features())[:, [3, 6, 9]]
    expected = F.cross_entropy(everything, torch.tensor([2, 0, 1, 2]))
    torch.testing.assert_close(F.cross_entropy(logits, targets), expected)


def test_texts_take_the_places_of_the_longest_ones(clip: CLIP) -> None:
    """Whichever classes a batch chooses, as many tokens are computed, and the texts are those of the classes alone."""
    torch.manual_seed(0)
    names = ["cat", "sports equipment", "thing that is rather long to say", "bird", "sun", "blue square"]
    prompts = clip.tokenize([f"a drawing of a {name}." for name in names])
    method = SkipTuning(clip, Config(depth=3, class_ratio=0.5, lambda_=0.01), prompts)
    seen: list[int] = []
    clip.text.blocks[3].mlp.c_fc.register_forward_hook(lambda _, x, y: seen.append(len(x[0])))
    for classes in ([0, 3, 4], [1, 2, 5], [0, 2, 3]):
        with torch.no_grad():
            text = method.text_features(torch.tensor(classes))
            whole = clip.text.run(prompts.ids[classes], RAW)
        torch.testing.assert_close(text, whole, rtol=1e-4, atol=1e-5)
    longest = sorted(prompts.eot.tolist(), reverse=True)[:3]
    expected = prompts.shared + sum(end + 1 - prompts.shared for end in longest)
    assert seen[::2] == [expected] * 3


def test_without_class_skipping_it_is_fine_tuning(clip: CLIP) -> None:
    method = make(clip, class_ratio=1)
    x, labels = images(clip, method), torch.tensor([0, 3, 6, 9])
    fine = FineTune(clip, FineTune.Config(depth=3), method.prompts)
    assert torch.equal(method.loss(x, labels), fine.loss(x, labels))


@pytest.mark.parametrize("depth", range(7))
def test_blocks_from_depth_on_train_and_no_others(clip: CLIP, depth: int) -> None:
    method = make(clip, depth=depth)
    method.loss(images(clip, method), torch.tensor([1, 1, 1, 1])).backward()
    with_gradient = {name for name, p in method.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in method.named_parameters() if p.requires_grad}
    blocks = {int(name.split(".")[4]) for name in with_gradient if "resblocks" in name}
    assert blocks == set(range(depth, 6))
    for frozen in ("conv1", "embedding", "ln_pre", "logit_scale"):
        assert not [name for name in with_gradient if frozen in name]
    assert {"clip.image.proj", "clip.text.text_projection", "clip.text.ln_final.weight"} <= with_gradient


def test_mask_and_prototypes_stay_fixed_and_are_in_the_checkpoint(clip: CLIP) -> None:
    method = make(clip)
    mask, prototypes = method.rank_mask.clone(), method.prototypes.clone()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        method.loss(images(clip, method), torch.tensor([1, 1, 1, 1])).backward()
        optimizer.step()
    assert torch.equal(method.rank_mask, mask)
    assert torch.equal(method.prototypes, prototypes)
    assert not torch.equal(F.normalize(method.text_features(), dim=-1), prototypes)
    assert {"rank_mask", "prototypes"} <= method.state_dict().keys()


def test_the_mask_depends_on_the_seed() -> None:
    keep = keep_probabilities(100, Config(max_classes=10, lambda_=1.0))
    masks = []
    for seed in range(3):
        torch.manual_seed(seed)
        masks.append(torch.rand(100) < keep)
    assert not torch.equal(masks[0], masks[1])


def test_new_classes_need_no_rebuild(clip: CLIP) -> None:
    method = make(clip)
    names = random.Random(0).sample(NAMES, 4)
    method.set_classes(clip.tokenize([f"a drawing of a {name}." for name in names]))
    with torch.no_grad():
        logits = method.logits(images(clip, method), method.text_features())
    assert logits.shape == (4, 4)


@pytest.mark.parametrize("options", [{"depth": -1}, {"class_ratio": 0}, {"lambda": 0}, {"max_classes": 0}, {"x": 1}])
def test_options_outside_their_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Config(**options)


def test_depth_beyond_the_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="choose 0 to 6"):
        SkipTuning.check(Config(depth=7), 6)
