"""Every method on a SigLIP: it gives the same with the speed-ups and without, or says in one line what it lacks."""

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.context import initial_context
from harness.clip.speedups import NO_SPEEDUPS
from harness.clip.towers import CLIP, END, RAW
from harness.errors import UserError
from harness.experiment.one_run import check_options
from harness.experiment.registry import method_class, method_names
from harness.training.build import build_method
from harness.training.precision import autocast, store_clip
from harness.training.step import loss_of
from methods.base import OtherClassesError, Shots
from tests.method_texts import texts_for
from tests.small_siglip import small_siglip, write_configuration

NAMES = ["cat", "sports equipment", "dish"]
LABELS = torch.tensor([0, 2])
OPTIONS: dict[str, dict[str, Any]] = {
    "coop": {"n_ctx": 2, "class_token_position": "middle"},
    "cocoop": {"n_ctx": 2, "ctx_init": None},
    "clip_lora": {"dropout": 0.0},
    "coprompt": {"depth": 3},
    "maple": {"depth": 3},
    "tcp": {"layer": 3},
    "promptsrc": {"depth_text": 3, "depth_image": 3},
    "skip": {"depth": 3},
}
LACKING = {"mmrl": "the class token and the image projection", "prolip": "the image projection"}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> CLIP:
    return small_siglip(tmp_path_factory.mktemp("siglip"))[0]


def outcome(siglip: CLIP, name: str, speedups: bool) -> dict[str, Tensor]:
    """Loss, gradients and logits of a method."""
    clip = copy.deepcopy(siglip, {id(siglip.tokenizer): siglip.tokenizer})
    if not speedups:
        vars(clip.speedups).update(vars(NO_SPEEDUPS))
    cls, options = method_class(name), OPTIONS.get(name, {})
    texts = texts_for(cls, cls.Config(**options), NAMES)
    method = build_method(clip, name, options, texts, "fp32", 0, cache_text=speedups)
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x = clip.image.run(pixels, RAW, method.image_start)
        frozen = clip.image.run(pixels) if cls.frozen_view else None
    if method.is_fitted():
        method.fit(Shots(x[None], LABELS, 1))
    found: dict[str, Tensor] = {}
    trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
    if trained:
        loss = loss_of(method, x, LABELS, frozen)
        loss.backward()
        found = {"loss": loss.detach(), **{key: p.grad for key, p in trained.items() if p.grad is not None}}
        assert len(found) == 1 + len(trained)
    with torch.no_grad():
        found["logits"] = method.logits(x, method.text_features())
        with suppress(OtherClassesError):
            method.set_classes(clip.tokenize(texts_for(cls, cls.Config(**options), ["arrow", "square"])))
            found["new"] = method.logits(x, method.text_features())
    return found


@pytest.mark.parametrize("name", [name for name in method_names() if name not in LACKING])
def test_a_speedup_changes_no_result_on_siglip(siglip: CLIP, name: str) -> None:
    off, on = (outcome(siglip, name, speedups) for speedups in (False, True))
    assert on.keys() == off.keys()
    for key, value in off.items():
        assert value.isfinite().all()
        torch.testing.assert_close(on[key], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())), msg=key)


@pytest.mark.parametrize(("name", "parts"), LACKING.items())
def test_what_siglip_lacks_is_said(siglip: CLIP, name: str, parts: str) -> None:
    with pytest.raises(UserError) as caught:
        build_method(siglip, name, {}, ["cat", "dog"], "fp32", 0)
    assert str(caught.value) == (
        f"{name} needs {parts} of a CLIP, and backbone 'small-siglip' has none: "
        "use that of a ViT, such as ViT-B-16-quickgelu, or another method"
    )


def test_what_siglip_lacks_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    write_configuration(tmp_path)
    (tmp_path / "open_clip_model.safetensors").touch()
    check_options("zeroshot", "{}", str(tmp_path))
    with pytest.raises(UserError, match="mmrl needs the class token and the image projection of a CLIP, and backbone"):
        check_options("mmrl", "{}", str(tmp_path))


@torch.no_grad()
def test_zero_shot_logits_have_the_bias(siglip: CLIP) -> None:
    method = build_method(siglip, "zeroshot", {}, [f"a {name}" for name in NAMES], "fp32", 0)
    image = torch.randn(2, 64, generator=torch.Generator().manual_seed(2))
    text = method.text_features()
    cosine = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    torch.testing.assert_close(method.logits(image, text), siglip.logit_scale.exp() * cosine - 10)


@torch.no_grad()
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_context_takes_the_places_of_the_first_words(siglip: CLIP, position: str) -> None:
    clip = copy.deepcopy(siglip, {id(siglip.tokenizer): siglip.tokenizer})
    options = {"n_ctx": 2, "class_token_position": position}
    method = build_method(clip, "coop", options, ["X X cat.", "X X sports equipment."], "fp32", 0)
    first, second = method.get_parameter("ctx")
    for row, name in enumerate(["cat", "sports equipment"]):
        ids = clip.tokenize([name]).ids[0]
        eot = int(clip.tokenize([name]).eot[0])
        words = list(clip.text.token_embedding(ids))
        order = {
            "end": [first, second, *words[:eot]],
            "middle": [first, *words[:eot], second],
            "front": [*words[:eot], first, second],
        }
        whole = torch.stack([*order[position], *words[eot : len(ids) - 2]])
        expected = clip.text.run(clip.text.add_positions(whole[None]), 0, END)
        torch.testing.assert_close(method.text_features()[row], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "half"])
@pytest.mark.parametrize("name", ["coop", "skip", "vpt", "layernorm"])
def test_siglip_trains_in_every_precision(siglip: CLIP, name: str, precision: str) -> None:
    clip = store_clip(copy.deepcopy(siglip, {id(siglip.tokenizer): siglip.tokenizer}), precision)
    matrices = (clip.image.blocks[0].attn.in_proj_weight, clip.image.attn_pool.kv.weight, clip.image.attn_pool.latent)
    matrices += (clip.text.text_projection.weight,)
    assert {matrix.dtype for matrix in matrices} == {torch.float16 if precision == "half" else torch.float32}
    cls, options = method_class(name), OPTIONS.get(name, {})
    method = build_method(clip, name, options, texts_for(cls, cls.Config(**options), NAMES), precision, 0)
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with autocast(precision, clip.device):
        loss = loss_of(method, clip.image.run(pixels, RAW, method.image_start).detach(), LABELS, None)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_placeholders_of_several_tokens_are_refused(siglip: CLIP) -> None:
    clip = copy.deepcopy(siglip, {id(siglip.tokenizer): siglip.tokenizer})
    tokenizer = clip.tokenizer
    clip.tokenizer = lambda texts, *rest: tokenizer([text.replace("X", "word word") for text in texts], *rest)
    with pytest.raises(UserError, match="'small-siglip' makes 4 tokens of 'X X', the 2 placeholders"):
        initial_context(clip, 4, None)


def test_a_tuned_text_projection_needs_one_without_bias(siglip: CLIP, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(64, 32)}, tmp_path / "base.safetensors")
    with pytest.raises(UserError, match="taskres needs the text projection without bias of a CLIP"):
        build_method(siglip, "taskres", {"enhanced_base": str(tmp_path / "base.safetensors")}, ["cat"], "fp32", 0)
