"""The steps that evaluation, caching pass, estimate and benchmark share."""

import pytest
import torch

from harness.clip.towers import CLIP, RAW
from harness.training.inference import classify, encode_texts, run_frozen, set_classes
from harness.training.precision import store_clip
from methods.zeroshot import ZeroShot

TEXTS, OTHERS = ["a drawing of a cat.", "a drawing of a dog."], ["an arrow.", "a face.", "a flag."]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "half"])
def test_logits_are_float32_of_the_classes_that_are_set(clip: CLIP, precision: str) -> None:
    pixels = torch.randn(4, 3, 48, 48)
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    expected = method.logits(clip.image.run(pixels), clip.text.run(clip.tokenize(OTHERS).ids))
    store_clip(clip, precision)
    set_classes(method, clip.tokenize(OTHERS), precision)
    logits = classify(method, pixels, encode_texts(method, precision), precision)
    assert (logits.shape, logits.dtype, logits.requires_grad) == ((4, 3), torch.float32, False)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 if precision == "fp32" else 0.5)


def test_nothing_here_keeps_a_graph(clip: CLIP) -> None:
    clip.requires_grad_(True)
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    text = encode_texts(method, "fp32")
    pixels = torch.randn(2, 3, 48, 48)
    images = run_frozen(clip, pixels, 3, "fp32")
    assert not text.requires_grad
    assert not images.requires_grad
    assert torch.equal(images, clip.image.run(pixels, RAW, 3))
