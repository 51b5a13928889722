"""VPT and IVLP against what their papers say, written out block by block, beside the reference vectors."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from harness.clip.towers import CLIP, END, RAW
from methods.ivlp import IVLP
from methods.vpt import VPT

NAMES = ["cat", "sports equipment", "bird"]


def make(cls: type[Any], clip: CLIP, **options: Any) -> Any:
    torch.manual_seed(0)
    config = cls.Config(**options)
    template = cls.prompt_template(config, "a drawing of a {}.")
    return cls(clip, config, clip.tokenize([template.replace("{}", name) for name in NAMES]))


def pixels(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def stage_zero(clip: CLIP) -> Tensor:
    with torch.no_grad():
        return clip.image.run(pixels(), RAW, 0)


def written_out_images(clip: CLIP, prompts: list[Tensor]) -> Tensor:
    """Embeddings of the images, from the pixels on: prompts stand behind the patches before the first LayerNorm."""
    tower, n = clip.image, len(prompts[0])
    patches = tower.conv1(pixels()).flatten(2).transpose(1, 2)
    start = tower.class_embedding.expand(len(patches), 1, -1)
    x = torch.cat([start, patches], dim=1) + tower.positional_embedding
    x = tower.ln_pre(torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1))
    for block, layer in enumerate(tower.blocks):
        if 0 < block < len(prompts):
            x = torch.cat([x[:, : x.shape[1] - n], prompts[block].expand(len(x), -1, -1)], dim=1)
        x = layer(x)
    return tower.ln_post(x[:, 0]) @ tower.proj


def written_out_texts(method: Any, prompts: list[Tensor]) -> Tensor:
    """Embeddings of the classes: prompts take the places after the start of text."""
    tower, ids = method.clip.text, method.prompts.ids
    n, mask = len(prompts[0]), tower.attention_mask(ids.shape[1])
    words = tower.token_embedding(ids).clone()
    words[:, 1 : 1 + n] = prompts[0]
    x = words + tower.positional_embedding[: ids.shape[1]]
    for block, layer in enumerate(tower.blocks):
        if 0 < block < len(prompts):
            x = torch.cat([x[:, :1], prompts[block].expand(len(x), -1, -1), x[:, 1 + n :]], dim=1)
        x = layer(x, attn_mask=mask)
    return tower.ln_final(x[torch.arange(len(x)), method.prompts.eot]) @ tower.text_projection


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_vpt_puts_new_prompts_before_each_of_its_blocks(clip: CLIP, depth: int) -> None:
    method = make(VPT, clip, n_ctx=5, depth=depth)
    assert len(method.image_prompts) == depth
    expected = written_out_images(clip, list(method.image_prompts))
    torch.testing.assert_close(method.image_features(stage_zero(clip)), expected, rtol=1e-4, atol=1e-5)


def test_the_texts_of_vpt_are_clips_and_are_kept(clip: CLIP) -> None:
    method = make(VPT, clip)
    assert method.text_start == END
    assert not method.frozen_text.requires_grad
    torch.testing.assert_close(method.text_features(), clip.text.run(method.prompts.ids))


@pytest.mark.parametrize(("depth_text", "depth_image"), [(1, 1), (4, 2), (2, 6)])
def test_ivlp_prompts_each_tower_by_itself(clip: CLIP, depth_text: int, depth_image: int) -> None:
    method = make(IVLP, clip, n_ctx_text=3, n_ctx_image=2, depth_text=depth_text, depth_image=depth_image)
    texts = written_out_texts(method, [method.ctx, *method.deep_ctx])
    torch.testing.assert_close(method.text_features(), texts, rtol=1e-4, atol=1e-5)
    images = written_out_images(clip, list(method.image_prompts))
    torch.testing.assert_close(method.image_features(stage_zero(clip)), images, rtol=1e-4, atol=1e-5)
    assert (len(method.deep_ctx), len(method.image_prompts)) == (depth_text - 1, depth_image)


@pytest.mark.parametrize("options", [{"depth_image": 0}, {"n_ctx_image": 0}])
def test_without_image_prompts_the_image_tower_is_frozen(clip: CLIP, options: dict[str, int]) -> None:
    method = make(IVLP, clip, **options)
    assert (method.image_start, method.text_start) == (END, RAW)
    features = torch.randn(3, clip.embed_dim)
    assert torch.equal(method.image_features(features), features)
    assert {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad} == {"ctx", "deep_ctx"}
    method.loss(features, torch.tensor([0, 2, 1])).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_null_is_all_blocks(clip: CLIP) -> None:
    assert len(make(VPT, clip).image_prompts) == clip.image.num_blocks
    method = make(IVLP, clip)
    assert len(method.deep_ctx) == clip.text.num_blocks - 1
    assert len(method.image_prompts) == clip.image.num_blocks


def test_context_from_words_and_drawn_prompts(clip: CLIP) -> None:
    method = make(IVLP, clip, n_ctx_text=2, n_ctx_image=40, ctx_init="a drawing of a")
    words = clip.text.token_embedding(clip.tokenize(["a drawing"]).ids)[0, 1:3]
    assert torch.equal(method.ctx, words)
    assert method.prompt_template(method.config, "{}") == "a drawing of a {}."
    many = make(IVLP, clip, n_ctx_text=5)
    assert many.prompt_template(many.config, "{}") == "X X X X X {}."
    drawn = torch.cat([p.flatten() for p in [*method.image_prompts, *many.deep_ctx, many.ctx]])
    # Mean and deviation within five standard errors of those of N(0, 0.02^2).
    assert abs(drawn.mean()) < 5 * 0.02 / math.sqrt(len(drawn))
    assert abs(drawn.std() - 0.02) < 5 * 0.02 / math.sqrt(len(drawn))
    assert len({tuple(p[0].tolist()) for p in [*method.image_prompts, *many.deep_ctx]}) == 6 + 5


def test_prompts_of_a_batch_are_the_same_for_each_image(clip: CLIP) -> None:
    method = make(VPT, clip, n_ctx=2, depth=3)
    x = stage_zero(clip)
    alone = torch.cat([method.image_features(image[None]) for image in x])
    torch.testing.assert_close(method.image_features(x), alone, rtol=1e-4, atol=1e-5)


def test_depth_beyond_the_backbone_is_refused_by_the_name_of_its_option() -> None:
    with pytest.raises(ValueError, match=r"^depth=7 is beyond a backbone of 6 blocks"):
        VPT.check(VPT.Config(depth=7), 6)
    with pytest.raises(ValueError, match=r"^depth_text=7 is"):
        IVLP.check(IVLP.Config(depth_text=7), 6)
    with pytest.raises(ValueError, match=r"^depth_image=8 is"):
        IVLP.check(IVLP.Config(depth_image=8), 6)
    VPT.check(VPT.Config(), 6)
    IVLP.check(IVLP.Config(depth_image=0), 6)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (VPT, {"depth": 0}),
        (VPT, {"n_ctx": 0}),
        (IVLP, {"depth_text": 0}),
        (IVLP, {"n_ctx_text": 0}),
        (IVLP, {"n_ctx_image": -1}),
        (IVLP, {"n_ctx_text": 3, "ctx_init": "drawing"}),
    ],
)
def test_options_that_mean_nothing_are_refused(cls: type[Any], options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**options)


def test_options_without_effect_are_named() -> None:
    assert IVLP.unused(IVLP.Config()) == {}
    assert IVLP.unused(IVLP.Config(n_ctx_text=5)).keys() == {"ctx_init"}
    assert IVLP.unused(IVLP.Config(depth_image=0)).keys() == {"n_ctx_image"}
    assert IVLP.unused(IVLP.Config(n_ctx_image=0)).keys() == {"depth_image"}


def test_gradients_reach_all_prompts_of_both_towers(clip: CLIP) -> None:
    method = make(IVLP, clip)
    method.loss(stage_zero(clip), torch.tensor([0, 2, 1])).backward()
    prompts = [method.ctx, *method.deep_ctx, *method.image_prompts]
    assert len(prompts) == sum(p.requires_grad for p in method.parameters())
    assert all(F.normalize(p.grad.flatten(), dim=0).norm() > 0.99 for p in prompts)
