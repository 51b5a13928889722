"""What all methods share, and what the simple ones do."""

import torch
import torch.nn.functional as F

from harness.clip.towers import CLIP, END, RAW
from methods.finetune import FineTune
from methods.zeroshot import ZeroShot

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]


def test_zeroshot_is_the_cosine_classifier(clip: CLIP) -> None:
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    pixels = torch.randn(2, 3, 48, 48)
    logits = method.logits(clip.image.run(pixels), method.text_features())
    image = F.normalize(clip.image.run(pixels), dim=-1)
    text = F.normalize(clip.text.run(clip.tokenize(TEXTS).ids), dim=-1)
    torch.testing.assert_close(logits, clip.logit_scale.exp() * image @ text.T)
    assert not any(p.requires_grad for p in method.parameters())


def test_frozen_texts_are_kept_or_run_again_with_the_same_result(clip: CLIP) -> None:
    prompts = clip.tokenize(TEXTS)
    kept = FineTune(clip, FineTune.Config(depth=4), prompts)
    again = FineTune(clip, FineTune.Config(depth=4), prompts, cache_text=False)
    assert again.frozen_text is None
    assert torch.equal(kept.text_features(), again.text_features())
    some = torch.tensor([0, 2])
    torch.testing.assert_close(kept.text_features(some), kept.text_features()[some])
    torch.testing.assert_close(again.text_features(some), kept.text_features(some))


def test_frozen_texts_take_no_gradient(clip: CLIP) -> None:
    method = FineTune(clip, FineTune.Config(depth=2), clip.tokenize(TEXTS))
    tokens, _ = method.text_tokens()
    assert not tokens.requires_grad
    assert method.text_features().requires_grad


def test_stages_of_the_simple_methods(clip: CLIP) -> None:
    prompts = clip.tokenize(TEXTS)
    zeroshot = ZeroShot(clip, ZeroShot.Config(), prompts)
    assert (zeroshot.image_start, zeroshot.text_start) == (END, END)
    finetune = FineTune(clip, FineTune.Config(depth=2), prompts)
    assert (finetune.image_start, finetune.text_start) == (2, 2)


def test_finetune_at_the_last_stage_trains_only_the_heads(clip: CLIP) -> None:
    method = FineTune(clip, FineTune.Config(depth=6), clip.tokenize(TEXTS))
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    assert trained == {
        "clip.image.ln_post.weight", "clip.image.ln_post.bias", "clip.image.proj",
        "clip.text.ln_final.weight", "clip.text.ln_final.bias", "clip.text.text_projection",
    }  # fmt: skip
    x = clip.image.run(torch.randn(2, 3, 48, 48), RAW, 6)
    method.loss(x, torch.tensor([0, 1])).backward()
