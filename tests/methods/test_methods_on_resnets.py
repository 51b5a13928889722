"""Methods on a CLIP with a ResNet: which need tokens of images, and that the others train what they should."""

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clip.load import load_backbone
from harness.clip.resnet import ResNetTower
from harness.clip.towers import CLIP, END, POOLED, RAW
from harness.errors import UserError
from harness.experiment.one_run import check_options
from harness.experiment.registry import method_class, method_names
from harness.training.build import build_method
from harness.training.precision import store_clip
from harness.training.step import loss_of
from methods.base import Method, Shots
from tests.method_texts import texts_for

NAMES = ["cat", "sports equipment", "bird", "thing that is rather long to say"]
NEED_TOKENS = {"bitfit", "clip_lora", "coprompt", "ivlp", "layernorm", "maple", "mma", "mmrl", "promptsrc", "vpt"}
# With which methods leave the tokens of images alone, and fit two text blocks and a short context.
OPTIONS: dict[str, dict[str, Any]] = {
    "coop": {"n_ctx": 4},
    "prograd": {"n_ctx": 4},
    "clip_lora": {"encoder": "text"},
    "ivlp": {"n_ctx_image": 0},
    "promptsrc": {"depth_image": 0, "depth_text": 2},
    "skip": {"depth": 1},
    "tcp": {"layer": 1},
    "image_tail": {"depth": 4},
}
LABELS = torch.tensor([0, 1, 2, 3])


@pytest.fixture(scope="module")
def loaded(tiny_resnet: Path) -> CLIP:
    return load_backbone(str(tiny_resnet))


@pytest.fixture
def clip(tiny_resnet: Path) -> CLIP:
    return load_backbone(str(tiny_resnet))


def build(clip: CLIP, name: str, **options: Any) -> Method:
    cls = method_class(name)
    return build_method(clip, name, options, texts_for(cls, cls.Config(**options), NAMES), "fp32", seed=0)


def pixels() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(NEED_TOKENS))
def test_methods_that_need_tokens_are_refused_in_one_line(name: str, loaded: CLIP, tiny_resnet: Path) -> None:
    part = "class token" if name == "mmrl" else "transformer for images"
    line = f"^{name} needs the {part} of a CLIP, and backbone '.*' has none: use that of a ViT.*$"
    options = {"depth": 2} if name in ("maple", "coprompt") else {}
    options |= {"start": 1} if name == "mma" else {}
    options |= {"depth_text": 2, "depth_image": 2} if name == "promptsrc" else {}
    with pytest.raises(UserError, match=line):
        build(loaded, name, **options)
    # The same before anything is loaded.
    for backbone in (str(tiny_resnet), "RN50:random", "RN101-quickgelu"):
        with pytest.raises(UserError, match=line):
            check_options(name, method_class(name).Config(**options).model_dump_json(), backbone)


@pytest.mark.parametrize("name", sorted({*method_names()} - NEED_TOKENS | OPTIONS.keys()))
def test_all_others_train_and_classify(name: str, clip: CLIP, tiny_resnet: Path) -> None:
    options = OPTIONS.get(name, {})
    check_options(name, method_class(name).Config(**options).model_dump_json(), str(tiny_resnet))
    method = build(clip, name, **options)
    with torch.no_grad():
        x = clip.image.run(pixels(), RAW, method.image_start)
        frozen = clip.image.run(pixels()) if method.frozen_view else None
    if method.is_fitted():
        method.fit(Shots(x[None], LABELS, 1))
    trained = {key: parameter for key, parameter in method.named_parameters() if parameter.requires_grad}
    if method.trains:
        loss_of(method, x, LABELS, frozen).backward()
        assert trained
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in trained.values())
    norms = [module for module in clip.image.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    logits = method.logits(x, method.text_features())
    assert logits.shape == (4, 4)
    assert bool(logits.isfinite().all())


def test_depth_counts_bottlenecks_of_images_and_blocks_of_texts(clip: CLIP) -> None:
    method = build(clip, "skip", depth=1)
    assert (method.image_start, method.text_start) == (1, 1)
    trained = {key.removeprefix("clip.") for key, p in method.named_parameters() if p.requires_grad}
    assert {key.split(".")[1] for key in trained if key.startswith("image.")} == {
        "layer2", "layer3", "layer4", "attnpool"
    }  # fmt: skip
    assert "text.transformer.resblocks.1.mlp.c_fc.weight" in trained
    assert "text.transformer.resblocks.0.mlp.c_fc.weight" not in trained


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("skip", 3, "skip.depth=3 is beyond a backbone of 2 blocks in each tower: choose 0 to 2"),
        ("finetune", 3, "finetune.depth=3 is beyond a backbone of 2 blocks in each tower: choose 0 to 2"),
        ("image_tail", 6, "image_tail.depth=6 is beyond a backbone of 5 blocks in its image tower: choose 0 to 5"),
    ],
)
def test_a_depth_beyond_the_towers_is_refused(
    name: str, depth: int, message: str, loaded: CLIP, tiny_resnet: Path
) -> None:
    with pytest.raises(UserError, match=message):
        build(loaded, name, depth=depth)
    with pytest.raises(UserError, match=message):
        check_options(name, method_class(name).Config(depth=depth).model_dump_json(), str(tiny_resnet))


def test_recipes_of_twelve_blocks_fit_rn50() -> None:
    for name, depth in (("skip", 6), ("skip", 12), ("image_tail", 13), ("image_tail", 16)):
        check_options(name, method_class(name).Config(depth=depth).model_dump_json(), "RN50-quickgelu")
    with pytest.raises(UserError, match="beyond a backbone of 16 blocks in its image tower"):
        check_options("image_tail", method_class("image_tail").Config(depth=17).model_dump_json(), "RN50-quickgelu")


@pytest.mark.parametrize("precision", ["fp32", "half"])
def test_prolip_trains_the_output_projection_of_the_attention_pool(precision: str, clip: CLIP) -> None:
    store_clip(clip, precision)
    cls = method_class("prolip")
    method = build_method(clip, "prolip", {}, texts_for(cls, cls.Config(), NAMES), precision, seed=0)
    assert [key for key, p in method.named_parameters() if p.requires_grad] == ["clip.image.attnpool.c_proj.weight"]
    assert (method.image_start, method.text_start) == (POOLED, END)
    x = clip.image.run(pixels(), RAW, POOLED)
    method.fit(Shots(x[None], LABELS, 1))
    loss = method.loss(x, LABELS)
    loss.backward()
    assert isinstance(clip.image, ResNetTower)
    assert clip.image.projection.dtype == torch.float32
    assert clip.image.projection.grad is not None
    with torch.no_grad():
        features = x.float() @ clip.image.projection.T + clip.image.attnpool.c_proj.bias
    torch.testing.assert_close(method.image_features(x), features)
