"""MMA: adapters beside whole blocks, and the gradients that they get."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.towers import CLIP, END, RAW
from methods.mma import MMA
from tests.methods.uneven_towers import uneven_clip

TEXTS = ["a photo of a cat.", "a photo of a large dog.", "a photo of a building that is old."]
LABELS = torch.tensor([2, 0, 1])


def make(clip: CLIP, **options: Any) -> MMA:
    torch.manual_seed(0)
    method = MMA(clip, MMA.Config(**options), clip.tokenize(TEXTS))
    for name, value in method.named_parameters():
        if name.endswith("bias") and value.requires_grad:
            torch.nn.init.normal_(value, std=0.1)
    return method


def pixels_of(clip: CLIP) -> Tensor:
    return torch.randn(3, 3, clip.image_size, clip.image_size, generator=torch.Generator().manual_seed(1))


def plain_logits(method: MMA, clip: CLIP, scale: float) -> Tensor:
    """Logits (3, 3) from blocks written out, with the gradients of their formula."""

    def run(tower: Any, x: Tensor, adapters: Any, eot: Tensor | None) -> Tensor:
        mask = tower.attention_mask(x.shape[1])
        for number, block in enumerate(tower.blocks, start=1):
            plain = block(x, attn_mask=mask)
            if str(number) in adapters:
                own, shared = adapters[str(number)], method.shared_adapter[str(number)][0]  # type: ignore[index]
                hidden = torch.relu(own.down[0](block.ln_1(x)))
                hidden = torch.relu(hidden @ shared.weight.T + shared.bias)
                plain = plain + scale * (hidden @ own.up.weight.T + own.up.bias)
            x = plain
        return tower.run(x, tower.num_blocks, END, eot)

    prompts = clip.tokenize(TEXTS)
    image = run(clip.image, clip.image.run(pixels_of(clip), RAW, 0), method.visual_adapter, None)
    text = run(clip.text, clip.text.run(prompts.ids, RAW, 0), method.text_adapter, prompts.eot)
    return clip.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T


@pytest.mark.parametrize("options", [{"start": 1, "dim": 7}, {"start": 2, "end": 2, "dim": 96}])
def test_gradients_of_adapters_are_the_true_ones_over_the_scale(options: dict[str, Any]) -> None:
    clip, scale = uneven_clip(), 0.05
    method = make(clip, scale=scale, **options)
    x = clip.image.run(pixels_of(clip), RAW, method.image_start)
    logits = method.logits(x, method.text_features())
    expected = plain_logits(method, clip, scale)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    true = torch.autograd.grad(F.cross_entropy(expected, LABELS), list(trained.values()))
    ours = torch.autograd.grad(method.loss(x, LABELS), list(trained.values()))
    for name, mine, theirs in zip(trained, ours, true, strict=True):
        theirs = theirs / scale
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()), msg=name)


def test_adapters_sit_beside_the_blocks_from_start_to_end() -> None:
    clip = uneven_clip()  # 5 blocks for images, 3 for texts
    method = make(clip, start=2)
    assert (method.image_start, method.text_start) == (1, 1)
    names = {name.rpartition(".")[0] for name, p in method.named_parameters() if p.requires_grad}
    own = {f"{tower}_adapter.{k}.{layer}" for tower in ("text", "visual") for k in (2, 3) for layer in ("down.0", "up")}
    assert names == own | {"shared_adapter.2.0", "shared_adapter.3.0"}


def test_adapters_start_small_but_not_at_zero(clip: CLIP) -> None:
    torch.manual_seed(0)
    method = MMA(clip, MMA.Config(dim=64), clip.tokenize(TEXTS))
    up = method.get_parameter("visual_adapter.5.up.weight")
    # Kaiming's normal distribution with the number of outputs: sqrt(2 / 128).
    assert up.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert not any(p.any() for name, p in method.named_parameters() if p.requires_grad and name.endswith("bias"))
    plain = clip.text.run(clip.tokenize(TEXTS).ids)
    moved = (method.text_features() - plain).norm() / plain.norm()
    assert 1e-6 < moved < 0.05


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"start": 7}, "start=7 is beyond"),
        ({"end": 7}, "end=7 is beyond"),
        ({"start": 4, "end": 3}, "start=4"),
    ],
)
def test_blocks_that_do_not_exist_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MMA.check(MMA.Config(**options), 6)
    MMA.check(MMA.Config(start=6), 6)


def test_prompts_begin_with_the_words_of_the_option() -> None:
    assert MMA.prompt_template(MMA.Config(), "{} texture.") == "a photo of a {}."
    assert MMA.prompt_template(MMA.Config(ctx_init="itap of a"), "{} texture.") == "itap of a {}."
