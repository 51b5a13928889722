"""MMRL beside a computation that is written out: tokens inserted, replaced, read; two heads; the loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.texts import Taught
from harness.clip.towers import CLIP, RAW
from methods.mmrl import MMRL
from tests.methods.uneven_towers import uneven_clip

NAMES = ["cat", "large dog", "building that is old"]
TEXTS = [Taught((f"a photo of a {name}.",), (f"a photo of a {name}.",)) for name in NAMES]
OTHERS = [Taught((f"a photo of a {name}.",), (f"a photo of a {name}.",)) for name in ("boat", "red car")]
LABELS = torch.tensor([2, 0, 1])
OPTIONS = {"n_rep_tokens": 2, "rep_dim": 7, "alpha": 0.6, "reg_weight": 0.3}


def make(clip: CLIP, **options: object) -> MMRL:
    torch.manual_seed(0)
    method = MMRL(clip, MMRL.Config(**{**OPTIONS, **options}), clip.tokenize(TEXTS))
    for layer in (*method.compound_rep_tokens_r2vproj, *method.compound_rep_tokens_r2tproj):
        torch.nn.init.normal_(layer.weight)
    return method


def images(clip: CLIP) -> Tensor:
    return torch.randn(3, 3, clip.image_size, clip.image_size, generator=torch.Generator().manual_seed(1))


def with_tokens(method: MMRL, tower: object, x: Tensor, maps: object, mask: Tensor | None) -> Tensor:
    """All tokens after the last block, of all tokens before the first."""
    drawn, number = method.compound_rep_tokens, method.config.n_rep_tokens
    for block, layer in enumerate(tower.blocks, start=1):  # type: ignore[attr-defined]
        if block in method.layers:
            place = method.layers.index(block)
            own = (drawn @ maps[place].weight.T + maps[place].bias).expand(len(x), -1, -1)  # type: ignore[index]
            x = torch.cat([x[:, :1], own, x[:, 1:] if place == 0 else x[:, 1 + number :]], dim=1)
        causal = None if mask is None else torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
        x = layer(x, attn_mask=causal)
    return x


def plain(method: MMRL) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of the class token, of the representation tokens, and of the texts."""
    clip, number = method.clip, method.config.n_rep_tokens
    tokens = with_tokens(
        method, clip.image, clip.image.run(images(clip), RAW, 0), method.compound_rep_tokens_r2vproj, None
    )
    read = clip.image.ln_post(tokens)
    prompts = clip.tokenize(TEXTS)
    words = clip.text.run(prompts.ids, RAW, 0)
    text = with_tokens(method, clip.text, words, method.compound_rep_tokens_r2tproj, clip.text.attn_mask)
    ends = clip.text.ln_final(text)[torch.arange(3), prompts.eot + number] @ clip.text.text_projection
    return read[:, 0] @ clip.image.proj, read[:, 1 : 1 + number].mean(dim=1) @ method.proj_rep, ends


def cosines(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T


@pytest.mark.parametrize("layers", [(1, 2), (2,), (1,), None])
def test_logits_and_loss_are_those_that_are_written_out(layers: tuple[int, ...] | None) -> None:
    clip = uneven_clip()
    method = make(clip, rep_layers=layers)
    x = clip.image.run(images(clip), RAW, method.image_start)
    frozen = clip.image.run(images(clip))
    image, representation, text = plain(method)
    scale = clip.logit_scale.exp()
    one, other = scale * cosines(image, text), scale * cosines(representation, text)
    torch.testing.assert_close(method.logits(x, method.text_features()), 0.6 * one + 0.4 * other, rtol=1e-4, atol=1e-4)
    teacher = clip.text.run(clip.tokenize([text.teacher[0] for text in TEXTS]).ids)
    apart = 2 - cosines(image, frozen).diag().mean() - cosines(text, teacher).diag().mean()
    loss = 0.6 * F.cross_entropy(one, LABELS) + 0.4 * F.cross_entropy(other, LABELS) + 0.3 * apart
    torch.testing.assert_close(method.loss_beside_frozen(x, LABELS, frozen), loss, rtol=1e-4, atol=1e-4)


def test_on_other_classes_the_class_token_counts_alone() -> None:
    clip = uneven_clip()
    method = make(clip)
    x = clip.image.run(images(clip), RAW, method.image_start)
    method.set_classes(clip.tokenize(OTHERS))
    text = method.text_features()
    torch.testing.assert_close(method.logits(x, text), method.both_logits(x, text)[0])
    method.set_classes(clip.tokenize(TEXTS[1:]))
    text = method.text_features()
    torch.testing.assert_close(method.logits(x, text), method.mixed_logits(x, text))
    method = make(clip, mixes=False)
    text = method.text_features()
    torch.testing.assert_close(method.logits(x, text), method.both_logits(x, text)[0])


@pytest.mark.parametrize("layers", [(0, 1), (2, 1), (1, 1)])
def test_layers_must_ascend_from_the_first(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"rep_layers=.*must ascend, from 1 at least"):
        MMRL.check(MMRL.Config(rep_layers=layers), 6)


def test_layers_beyond_the_towers_are_refused() -> None:
    with pytest.raises(ValueError, match="rep_layers"):
        MMRL.check(MMRL.Config(rep_layers=(1, 7)), 6)
