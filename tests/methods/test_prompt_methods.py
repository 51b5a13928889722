"""CoOp, CoCoOp, MaPLe and CLIP-Adapter: what their definitions say, beside the reference vectors."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clip.towers import CLIP, END, RAW
from harness.experiment.registry import method_class, method_names
from methods.base import Method, OtherClassesError, Shots
from methods.clip_adapter import CLIPAdapter
from methods.cocoop import CoCoOp
from methods.coop import CoOp
from methods.maple import MaPLe
from tests.method_texts import texts_for

NAMES = ["cat", "sports equipment", "asian dish", "bird"]
# What they learn belongs to the classes that they were trained on.
TRAINING_CLASSES_ONLY = {
    "clap", "linear_probe", "lp_plus_plus", "taskres", "tip_adapter", "tip_adapter_f", "zs_lp",
}  # fmt: skip


def make(cls: type[Method], clip: CLIP, names: list[str] = NAMES, **options: Any) -> Any:
    torch.manual_seed(0)
    config = cls.Config(**options)
    return cls(clip, config, clip.tokenize(texts_for(cls, config, names)))


def images(clip: CLIP, method: Method, count: int = 3) -> torch.Tensor:
    pixels = torch.randn(count, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return clip.image.run(pixels, RAW, method.image_start)


@given(
    n_ctx=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    position=st.sampled_from(["end", "middle", "front"]),
)
@settings(deadline=None, max_examples=60)
def test_word_order_puts_the_name_where_it_belongs(n_ctx: int, lengths: list[int], position: str) -> None:
    method = object.__new__(CoOp)
    torch.nn.Module.__init__(method)
    method.config, method.n_ctx = CoOp.Config(n_ctx=n_ctx, class_token_position=position), n_ctx
    eot = torch.tensor(lengths) + n_ctx + 2
    order = method.word_order(int(eot.max()) + 1, eot)
    half = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
    for row, length in zip(order.tolist(), lengths, strict=True):
        context = list(range(1, n_ctx + 1))
        name = list(range(n_ctx + 1, n_ctx + 1 + length))
        expected = [0, *context[:half], *name, *context[half:]]
        assert row == [*expected, *range(len(expected), len(row))]


def test_context_from_words_starts_as_the_hand_written_prompt(clip: CLIP) -> None:
    method = make(CoOp, clip, ctx_init="a drawing of a")
    plain = clip.text.run(clip.tokenize([f"a drawing of a {name}." for name in NAMES]).ids)
    torch.testing.assert_close(method.text_features(), plain)
    assert method.ctx.shape == (4, 96)


def test_class_specific_context_refuses_other_classes(clip: CLIP) -> None:
    method = make(CoOp, clip, class_specific=True, n_ctx=3)
    assert method.ctx.shape == (4, 3, 96)
    with pytest.raises(OtherClassesError, match="each of its 4 classes, which the 2 classes"):
        method.set_classes(clip.tokenize(["X X X a.", "X X X b."]))
    with pytest.raises(OtherClassesError, match="each of its 4 classes, which the 4 classes"):
        method.set_classes(clip.tokenize([f"X X X {name}." for name in "abcd"]))


def test_cocoop_of_a_batch_is_cocoop_of_each_image(clip: CLIP) -> None:
    method = make(CoCoOp, clip)
    x = images(clip, method, 5)
    whole = method.logits(x, method.text_features())
    one_by_one = torch.cat([method.logits(image[None], method.text_features()) for image in x])
    torch.testing.assert_close(whole, one_by_one, rtol=1e-4, atol=1e-4)
    clip.speedups.prompts_at_once = 8
    torch.testing.assert_close(method.logits(x, method.text_features()), whole, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole[0], whole[1])


def test_maple_with_depth_one_only_puts_prompts_before_the_first_block(clip: CLIP) -> None:
    method = make(MaPLe, clip, depth=1)
    x = images(clip, method)
    tokens = torch.cat([x, clip.image.ln_pre(method.proj(method.ctx)).expand(3, -1, -1)], dim=1)
    torch.testing.assert_close(method.image_features(x), clip.image.run(tokens, 0, END))
    assert len(method.compound_prompts_text) == 0


def test_adapter_is_a_mix_of_embedding_and_bottleneck(clip: CLIP) -> None:
    method = make(CLIPAdapter, clip, residual_ratio=0.5, reduction=8)
    image = images(clip, method)
    adapted = torch.relu(torch.relu(image @ method.down.weight.T) @ method.up.weight.T)
    torch.testing.assert_close(method.image_features(image), 0.5 * adapted + 0.5 * image)
    assert method.down.weight.shape == (16, 128)
    same = make(CLIPAdapter, clip, residual_ratio=0.0)
    assert torch.equal(same.image_features(image), image)


@pytest.mark.parametrize("name", method_names())
def test_every_method_learns_from_its_loss_and_takes_new_classes(name: str, clip: CLIP) -> None:
    cls = method_class(name)
    small = {"depth": 3, "depth_text": 3, "depth_image": 3, "layer": 3, "n_ctx": 4}
    method = make(cls, clip, **{key: value for key, value in small.items() if key in cls.Config.model_fields})
    x, labels = images(clip, method, len(NAMES)), torch.tensor([0, 3, 1, 2])
    if cls.is_fitted():
        with torch.no_grad():
            method.fit(Shots(torch.stack([x, x.flip(0) + x]), labels, per_class=1))
    trained = [p for p in method.parameters() if p.requires_grad]
    assert bool(trained) == cls.trains
    if trained:
        before = method.loss(x, labels)
        before.backward()
        assert all(p.grad is not None for p in trained)
        with torch.no_grad():
            for p in trained:
                p -= 1e-3 * F.normalize(p.grad.flatten(), dim=0).view_as(p)
        assert method.loss(x, labels) < before
    new = clip.tokenize(texts_for(cls, method.config, ("fruit", "arrow")))
    if name in TRAINING_CLASSES_ONLY:
        with pytest.raises(OtherClassesError):
            method.set_classes(new)
        return
    method.set_classes(new)
    with torch.no_grad():
        assert method.logits(x, method.text_features()).shape == (len(x), 2)


@pytest.mark.parametrize("name", method_names())
def test_a_method_is_one_short_file(name: str) -> None:
    import inspect

    assert len(inspect.getsource(inspect.getmodule(method_class(name))).splitlines()) <= 120  # type: ignore[arg-type]
