"""CLIP-LoRA: towers with changed weights give the same, dropout is for training alone, stages follow from options."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.load import load_backbone
from harness.clip.towers import CLIP, END, RAW
from methods.clip_lora import CLIPLoRA
from tests.methods.uneven_towers import uneven_clip

TEXTS = ["a photo of a cat.", "a photo of a large dog.", "a photo of a building that is old."]
LABELS = torch.tensor([2, 0, 1])
ROWS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def make(clip: CLIP, **options: Any) -> CLIPLoRA:
    torch.manual_seed(0)
    method = CLIPLoRA(clip, CLIPLoRA.Config(**options), clip.tokenize(TEXTS))
    for name, value in method.named_parameters():
        if name.endswith("w_lora_B"):
            torch.nn.init.normal_(value, std=0.2)
    return method


def images(clip: CLIP, method: CLIPLoRA) -> tuple[Tensor, Tensor]:
    """Pixels, and the same images at the method's stage."""
    pixels = torch.randn(3, 3, clip.image_size, clip.image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return pixels, clip.image.run(pixels, RAW, method.image_start)


@torch.no_grad()
def merge(method: CLIPLoRA, clip: CLIP, scale: float) -> None:
    """Add scale B A to the weights of another CLIP, written out."""
    for tower, changes in ((clip.image, method.image_blocks), (clip.text, method.text_blocks)):
        for block in changes:
            attention = tower.blocks[int(block)].attn
            for name, change in changes[block]["attn"].items():  # type: ignore[index, union-attr]
                dense = scale * change.w_lora_B @ change.w_lora_A
                if name == "proj":
                    attention.out_proj.weight += dense
                else:
                    rows = len(dense)
                    attention.in_proj_weight[ROWS[name] * rows : (ROWS[name] + 1) * rows] += dense


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({"r": 4, "alpha": 3}, 3 / 2),
        ({"r": 9, "params": ("v", "o"), "position": "up"}, 1 / 3),
        ({"r": 1, "encoder": "text", "params": ("o",)}, 1.0),
        ({"r": 4, "encoder": "vision", "layers": (1, 3)}, 0.5),
    ],
)
@pytest.mark.parametrize("uneven", [False, True])
def test_logits_are_those_of_towers_with_changed_weights(uneven: bool, options: dict[str, Any], scale: float) -> None:
    clip, plain = (uneven_clip() if uneven else load_backbone("clip-emoji") for _ in range(2))
    method = make(clip, **options)
    pixels, x = images(clip, method)
    merge(method, plain, scale)
    image, text = (F.normalize(v, dim=-1) for v in (plain.image.run(pixels), plain.text.run(plain.tokenize(TEXTS).ids)))
    expected = plain.logit_scale.exp() * image @ text.T
    with torch.no_grad():
        torch.testing.assert_close(method.logits(x, method.text_features()), expected, rtol=1e-4, atol=1e-4)


def test_towers_start_where_they_change() -> None:
    clip = uneven_clip()  # 5 blocks for images, 3 for texts
    assert (make(clip).image_start, make(clip).text_start) == (0, 0)
    half = make(clip, position="half-up")
    assert (half.image_start, half.text_start) == (2, 1)
    assert (make(clip, encoder="vision").image_start, make(clip, encoder="vision").text_start) == (0, END)
    only_text = make(clip, encoder="text", layers=(2,))
    assert (only_text.image_start, only_text.text_start) == (END, 2)
    # A block that one tower lacks changes in the other.
    late = make(clip, layers=(4,))
    assert (late.image_start, late.text_start, len(late.text_blocks)) == (4, END, 0)
    assert all(name.startswith("image_blocks.4.") for name, p in late.named_parameters() if p.requires_grad)


def test_each_matrix_sees_what_its_own_mask_keeps(clip: CLIP) -> None:
    method = make(clip, params=("q", "v"), layers=(5,), encoder="text", dropout=0.5)
    masks: dict[str, Tensor] = {}

    def draw(path: str, shape: tuple[int, ...]) -> Tensor:
        assert shape == (3, *clip.text.positional_embedding.shape)
        masks[path] = torch.rand(shape, generator=torch.Generator().manual_seed(len(masks))) < 0.5
        return masks[path]

    method.draw_mask = draw  # type: ignore[method-assign]
    _, x = images(clip, method)
    logits, _ = method.training_logits(x, LABELS)
    assert list(masks) == ["text_blocks.5.attn.q_proj", "text_blocks.5.attn.v_proj"]
    # The last block written out, for all tokens.
    prompts, block = clip.tokenize(TEXTS), clip.text.blocks[5]
    tokens = clip.text.run(prompts.ids, RAW, 5)
    normed, width, length = block.ln_1(tokens), tokens.shape[2], tokens.shape[1]
    parts = list(F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias).split(width, dim=2))
    for place, name in ((0, "q_proj"), (2, "v_proj")):
        change = method.get_submodule(f"text_blocks.5.attn.{name}")
        kept = normed * masks[f"text_blocks.5.attn.{name}"][:, :length] / 0.5
        parts[place] = parts[place] + 2**-0.5 * kept @ change.w_lora_A.T @ change.w_lora_B.T
    query, key, value = (p.view(3, length, block.attn.num_heads, -1).transpose(1, 2) for p in parts)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
    tokens = tokens + block.attn.out_proj(mixed)
    tokens = tokens + block.mlp(block.ln_2(tokens))
    text = clip.text.run(tokens, 6, END, prompts.eot)
    torch.testing.assert_close(logits, method.similarity_logits(x, text), rtol=1e-4, atol=1e-4)


def test_dropout_is_for_training_alone_and_drawn_anew_in_each_step(clip: CLIP) -> None:
    method = make(clip, dropout=0.5)
    _, x = images(clip, method)
    with torch.no_grad():
        first, second = method.training_logits(x, LABELS)[0], method.training_logits(x, LABELS)[0]
        tested = method.logits(x, method.text_features())
        method.config = CLIPLoRA.Config(dropout=0)
        undropped = method.training_logits(x, LABELS)[0]
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(tested, undropped, rtol=1e-5, atol=1e-4)


def test_evaluation_drops_nothing_after_a_step_that_failed(clip: CLIP) -> None:
    method = make(clip)
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        method.training_logits(torch.randn(3, 2), LABELS)
    assert not method.drops


@pytest.mark.parametrize(
    ("options", "blocks", "told"),
    [
        ({"layers": (0, 6)}, 6, "layers holds 6, and a backbone has blocks 0 to 5"),
        ({"layers": (-1, 2)}, 6, "layers holds -1"),
        ({"position": "up"}, 2, "position=up holds none of 2 blocks"),
    ],
)
def test_blocks_that_do_not_exist_are_refused(options: dict[str, Any], blocks: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CLIPLoRA.check(CLIPLoRA.Config(**options), blocks)


def test_prompts_are_the_authors_unless_the_option_is_null() -> None:
    assert CLIPLoRA.prompt_template(CLIPLoRA.Config(), "{} texture.") == "a photo of a {}."
    assert CLIPLoRA.prompt_template(CLIPLoRA.Config(template=None), "{} texture.") == "{} texture."
    assert CLIPLoRA.unused(CLIPLoRA.Config(layers=(1,))).keys() == {"position"}
