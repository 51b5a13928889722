"""LayerNorm tuning, BitFit and image tail: which parameters of CLIP train, and that their loss is the plain one."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.towers import CLIP, END, RAW
from harness.experiment.registry import method_class
from harness.experiment.training_spec import TrainSpec
from harness.training.optimizer import build_optimizer
from methods.base import Method
from methods.bitfit import BitFit
from methods.finetune import FineTune
from methods.image_tail import ImageTail
from methods.layernorm import LayerNormTuning

NAMES = ["cat", "dog", "clock", "fruit"]
LABELS = torch.tensor([0, 3, 1, 1])


def make(cls: type[Any], clip: CLIP, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(clip, cls.Config(**options), clip.tokenize([f"a drawing of a {name}." for name in NAMES]))


def pixels() -> Tensor:
    return torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def images(clip: CLIP, method: Method) -> Tensor:
    with torch.no_grad():
        return clip.image.run(pixels(), RAW, method.image_start)


def trained(method: Method) -> set[str]:
    return {name for name, p in method.named_parameters() if p.requires_grad}


def another(clip: CLIP) -> CLIP:
    """The same CLIP with weights of its own, and the same tokenizer."""
    return copy.deepcopy(clip, {id(clip.tokenizer): clip.tokenizer})


def test_layernorm_trains_all_layernorms_and_nothing_else(clip: CLIP) -> None:
    found = trained(make(LayerNormTuning, clip))
    norms = {"clip.image.ln_pre", "clip.image.ln_post", "clip.text.ln_final"} | {
        f"clip.{tower}.transformer.resblocks.{block}.{norm}"
        for tower in ("image", "text")
        for block in range(6)
        for norm in ("ln_1", "ln_2")
    }
    assert found == {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}


def test_bitfit_trains_all_biases_and_nothing_else(clip: CLIP) -> None:
    found = trained(make(BitFit, clip))
    in_blocks = (
        "attn.in_proj_bias",
        "attn.out_proj.bias",
        "ln_1.bias",
        "ln_2.bias",
        "mlp.c_fc.bias",
        "mlp.c_proj.bias",
    )
    assert found == {"clip.image.ln_pre.bias", "clip.image.ln_post.bias", "clip.text.ln_final.bias"} | {
        f"clip.{tower}.transformer.resblocks.{block}.{name}"
        for tower in ("image", "text")
        for block in range(6)
        for name in in_blocks
    }


@pytest.mark.parametrize("cls", [LayerNormTuning, BitFit])
def test_their_gradients_are_those_of_the_whole_model(cls: type[Method], clip: CLIP) -> None:
    whole = another(clip).requires_grad_(True)
    method = make(cls, clip)
    image, text = whole.image.run(pixels()), whole.text.run(method.prompts.ids)
    logits = whole.logit_scale.detach().exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    F.cross_entropy(logits, LABELS).backward()
    loss = method.loss(images(clip, method), LABELS)
    loss.backward()
    torch.testing.assert_close(loss, F.cross_entropy(logits, LABELS), rtol=1e-5, atol=1e-5)
    theirs = {f"clip.{name}": p.grad for name, p in whole.named_parameters()}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-3, atol=1e-5)
        else:
            assert parameter.grad is None


@pytest.mark.parametrize("depth", [0, 2, 6])
def test_image_tail_is_fine_tuning_with_a_frozen_text_tower(clip: CLIP, depth: int) -> None:
    fine = make(FineTune, another(clip), depth=depth)
    fine.clip.text.requires_grad_(False)
    tail = make(ImageTail, clip, depth=depth)
    assert (tail.image_start, tail.text_start) == (depth, END)
    assert trained(tail) == trained(fine)
    for method in (fine, tail):
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            method.loss(images(method.clip, method), LABELS).backward()
            optimizer.step()
    weights = dict(fine.named_parameters())
    for name, parameter in tail.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=1e-4, atol=1e-6)


def test_image_tail_in_a_few_lines_of_torch(clip: CLIP) -> None:
    tail, plain = make(ImageTail, clip, depth=4), another(clip).image
    x = images(clip, tail)
    head = nn.Sequential(*list(plain.blocks)[4:]).requires_grad_(True)
    plain.proj.requires_grad_(True)
    image = F.normalize(plain.ln_post(head(x)[:, 0]) @ plain.proj, dim=-1)
    text = F.normalize(clip.text.run(tail.prompts.ids), dim=-1)
    expected = -(clip.logit_scale.exp() * image @ text.T).log_softmax(dim=-1)[torch.arange(4), LABELS].mean()
    expected.backward()
    loss = tail.loss(x, LABELS)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(clip.image.proj.grad, plain.proj.grad, rtol=1e-3, atol=1e-5)
    first = clip.image.blocks[4].mlp.c_fc.weight.grad
    torch.testing.assert_close(first, head[0].mlp.c_fc.weight.grad, rtol=1e-3, atol=1e-5)


def test_depth_beyond_the_image_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="choose 0 to 6"):
        ImageTail.check(ImageTail.Config(depth=7), 6)


@pytest.mark.parametrize("name", ["vpt", "ivlp", "layernorm", "bitfit", "image_tail"])
def test_weight_decay_reaches_every_parameter_that_trains(name: str, clip: CLIP) -> None:
    method = make(method_class(name), clip)
    parameters = {key: p for key, p in method.named_parameters() if p.requires_grad}
    before = {key: p.detach().clone() for key, p in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(method, TrainSpec(lr=0.5, weight_decay=0.1)).step()
    for key, parameter in parameters.items():
        torch.testing.assert_close(parameter.detach(), before[key] * (1 - 0.05), rtol=1e-6, atol=1e-9, msg=key)
