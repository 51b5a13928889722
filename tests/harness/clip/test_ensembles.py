"""Several prompts a class: their tokens, and the one embedding that they become."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.clip import ensembles
from harness.clip.ensembles import encode_classes, groups_of, pool
from harness.clip.prompts import Prompts
from harness.clip.texts import MOST_OF_A_CLASS
from harness.clip.towers import CLIP, RAW
from harness.errors import UserError
from harness.machine.meter import peak_tensor_bytes
from methods.base import OtherClassesError
from methods.finetune import FineTune
from methods.zeroshot import ZeroShot

CAT = ("a drawing of a cat.", "cat", "an icon of a cat, which sits.")
TEXTS = (CAT, "a drawing of a dog.", ("dog", "dog", "a bird"))
ALL = [*CAT, "a drawing of a dog.", "dog", "dog", "a bird"]


class PlainMean(ZeroShot):
    """Zero-shot CLIP with the mean of embeddings as they are."""

    averages_normalised = False


def embeddings_of(clip: CLIP, texts: list[str]) -> list[Tensor]:
    """The embedding of each text, encoded alone."""
    with torch.no_grad():
        found = []
        for text in texts:
            prompts = clip.tokenize([text])
            found.append(clip.text.run(prompts.ids, RAW, eot=prompts.eot)[0])
        return found


def normalised_mean(embeddings: list[Tensor]) -> Tensor:
    total = torch.zeros_like(embeddings[0])
    for embedding in embeddings:
        total = total + embedding / embedding.norm()
    mean = total / len(embeddings)
    return mean / mean.norm()


def plain_mean(embeddings: list[Tensor]) -> Tensor:
    total = torch.zeros_like(embeddings[0])
    for embedding in embeddings:
        total = total + embedding
    return total / len(embeddings)


def test_prompts_of_a_class_follow_each_other(clip: CLIP) -> None:
    prompts = clip.tokenize([list(CAT), *TEXTS[1:]])
    flat = clip.tokenize(ALL)
    assert len(prompts) == 3
    assert prompts.texts == TEXTS
    assert prompts.counts == (3, 1, 3)
    assert prompts.first_of_each() == [0, 3, 4]
    assert torch.equal(prompts.ids, flat.ids)
    assert torch.equal(prompts.eot, flat.eot)
    assert prompts.shared == flat.shared == 1
    assert flat.counts is None
    assert flat.first_of_each() == list(range(7))


def test_a_list_of_one_prompt_is_one_prompt(clip: CLIP) -> None:
    several, single = clip.tokenize([["a cat"], ("a dog",)]), clip.tokenize(["a cat", "a dog"])
    assert several.texts == single.texts == ("a cat", "a dog")
    assert several.counts is None
    assert torch.equal(several.ids, single.ids)


@pytest.mark.parametrize(("number", "wrong"), [(0, True), (MOST_OF_A_CLASS, False), (MOST_OF_A_CLASS + 1, True)])
def test_a_class_has_some_prompts_but_not_too_many(clip: CLIP, number: int, wrong: bool) -> None:
    texts = ["a cat", ["a dog"] * number]
    if not wrong:
        assert clip.tokenize(texts).counts == (1, number)
        return
    with pytest.raises(UserError, match=f"class 1 has {number} prompts: give each class between 1 and 512"):
        clip.tokenize(texts)


def test_one_of_several_prompts_that_does_not_fit_is_refused(clip: CLIP) -> None:
    with pytest.raises(UserError, match=r"the text tower takes 20: .* description"):
        clip.tokenize([["a cat", " ".join(["X"] * 30)], "a dog"])


@pytest.mark.parametrize(("normalised", "expected"), [(True, normalised_mean), (False, plain_mean)])
def test_pooling_is_the_mean_of_a_plain_loop(normalised: bool, expected: object) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(7, 5, dtype=torch.float64) * 10
    assert callable(expected)
    parts = embeddings.split([3, 1, 3])
    loop = torch.stack([expected(list(part)) for part in parts])
    torch.testing.assert_close(pool(embeddings, (3, 1, 3), normalised), loop, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings = (torch.randn(300, 8) * 300).to(dtype)  # whose sum is beyond float16
    found = pool(embeddings, (300,), normalised=False)
    assert found.dtype == dtype
    assert torch.equal(found, embeddings.float().mean(dim=0, keepdim=True).to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pool(embeddings, (300,), normalised=False), found)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12))
def test_groups_hold_whole_classes_and_as_many_as_fit(counts: list[int], most: int) -> None:
    groups = list(groups_of(counts, most))
    assert [count for group in groups for count in group] == counts
    assert all(sum(group) <= most or len(group) == 1 for group in groups)
    assert all(sum(one) + other[0] > most for one, other in pairwise(groups))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("method", "expected"), [(ZeroShot, normalised_mean), (PlainMean, plain_mean)])
@pytest.mark.parametrize("speedups", [True, False])
def test_text_features_are_those_of_a_plain_loop(
    clip: CLIP, method: type[ZeroShot], expected: object, cached: bool, speedups: bool
) -> None:
    assert callable(expected)
    loop = torch.stack(
        [expected(embeddings_of(clip, part)) for part in (list(CAT), ["a drawing of a dog."], ["dog", "dog", "a bird"])]
    )
    if not speedups:
        clip.speedups.switch_off()
    built = method(clip, method.Config(), clip.tokenize(TEXTS), cache_text=cached)
    features = built.text_features()
    torch.testing.assert_close(features, loop, rtol=1e-4, atol=2e-6 * float(loop.abs().max()))
    some = built.text_features(torch.tensor([2, 0]))
    torch.testing.assert_close(some, features[[2, 0]], rtol=0, atol=0)
    tokens, ends = built.text_tokens(torch.tensor([2, 0]))
    assert torch.equal(tokens, some)
    assert torch.equal(ends.positions, built.prompts.eot[[4, 0]])


def test_classes_in_groups_are_the_same_classes(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = clip.tokenize(TEXTS)
    whole = encode_classes(clip.text, prompts, normalised=True)
    for most in (1, 3, 4, 6):
        monkeypatch.setattr(ensembles, "AT_ONCE", most)
        torch.testing.assert_close(encode_classes(clip.text, prompts, normalised=True), whole, rtol=1e-5, atol=1e-6)


def test_memory_is_bounded_however_many_prompts_there_are(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensembles, "AT_ONCE", 32)
    peaks = []
    for classes in (8, 80):
        prompts = clip.tokenize([[f"a {word}" for word in "abcdefgh"]] * classes)
        resident = [*clip.parameters(), prompts.ids, prompts.eot]

        def encode(prompts: Prompts = prompts) -> Tensor:
            return encode_classes(clip.text, prompts, normalised=True)

        peaks.append(peak_tensor_bytes(encode, resident) - sum(value.nbytes for value in resident))
    # Of earlier groups, a few copies of one embedding a class are left, and no tokens.
    assert peaks[1] - peaks[0] <= 3 * 72 * clip.embed_dim * 4


def test_texts_of_frozen_towers_are_pooled_once(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    assert method.frozen_text is not None
    assert method.frozen_text.shape == (3, clip.embed_dim)
    monkeypatch.setattr(clip.text, "embed", lambda x: pytest.fail("encoded again"))
    assert torch.equal(method.text_features(), method.frozen_text)
    assert method.has_training_classes


def test_one_prompt_a_class_is_computed_as_ever(clip: CLIP) -> None:
    prompts = clip.tokenize(["a cat", "a drawing of a dog."])
    method = ZeroShot(clip, ZeroShot.Config(), prompts)
    with torch.no_grad():
        direct = clip.text.run(prompts.ids, RAW, eot=prompts.eot, shared=prompts.shared)
    assert torch.equal(method.text_features(), direct)
    assert not torch.allclose(direct.norm(dim=-1), torch.ones(2), atol=0.1)


def test_other_wordings_are_other_classes(clip: CLIP) -> None:
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    method.set_classes(clip.tokenize([CAT[:2], *TEXTS[1:]]))
    assert not method.has_training_classes
    method.set_classes(clip.tokenize([list(text) if isinstance(text, tuple) else text for text in TEXTS]))
    assert method.has_training_classes


def test_logits_are_cosines_with_the_mean(clip: CLIP) -> None:
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    image = torch.randn(2, clip.embed_dim)
    expected = clip.logit_scale.exp() * F.normalize(image, dim=-1) @ method.text_features().T
    torch.testing.assert_close(method.logits(image, method.text_features()), expected)


def test_a_method_that_trains_texts_takes_one_prompt_a_class(clip: CLIP) -> None:
    method = FineTune(clip, FineTune.Config(depth=5), clip.tokenize(["a cat", "a dog"]))
    with pytest.raises(OtherClassesError, match=r"each class has one prompt: use one template \(data.templates\)"):
        method.set_classes(clip.tokenize(TEXTS))
    assert len(method.prompts) == 2
