"""The towers of SigLIP equal open_clip's, with and without speed-ups, and their gradients too."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.clip.backbones import blocks_of, config_files, model_config, parse_backbone
from harness.clip.configuration import ModelConfiguration
from harness.clip.hub_tokenizer import stand_in_tokenizer
from harness.clip.load import build, named_architecture, wrap
from harness.clip.towers import CLIP, END, POOLED, RAW
from harness.machine.meter import count_flops
from tests.small_siglip import CONFIGURATION, small_siglip

TEXTS = ["a photo of a cat.", "a photo of something that is longer.", "dog"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SIGLIPS = [name for name in config_files() if "SigLIP" in name]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIP, Any]:
    return small_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 160, 160, generator=torch.Generator().manual_seed(0))


def with_and_without_speedups(clip: CLIP) -> Any:
    switches = vars(clip.speedups).copy()
    yield "on"
    clip.speedups.switch_off()
    yield "off"
    vars(clip.speedups).update(switches)


def test_towers_and_logits_equal_open_clip(pair: tuple[CLIP, Any], pixels: torch.Tensor) -> None:
    clip, network = pair
    expected_images = network.encode_image(pixels)
    for _ in with_and_without_speedups(clip):
        prompts = clip.tokenize(TEXTS)
        assert prompts.ids.shape == (3, 12)
        assert prompts.shared == 0
        image, text = clip.image.run(pixels), clip.text.run(prompts.ids, RAW, END, prompts.eot)
        torch.testing.assert_close(image, expected_images, **CLOSE)
        torch.testing.assert_close(text, network.encode_text(prompts.ids), **CLOSE)
        torch.testing.assert_close(text, clip.text.run(prompts.ids), rtol=0, atol=0)
        expected_logits, _ = network.get_logits(pixels, prompts.ids)
        cosine = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        torch.testing.assert_close(clip.scale(cosine), expected_logits, **CLOSE)


def test_padding_matters(pair: tuple[CLIP, Any]) -> None:
    clip, _ = pair
    prompts = clip.tokenize(TEXTS)
    cut = clip.text.run(prompts.ids[:, : int(prompts.eot.max()) + 1])
    assert not torch.allclose(cut, clip.text.run(prompts.ids), atol=1e-3)


@pytest.mark.parametrize("middle", [RAW, 0, 2, 6, POOLED, END])
def test_stages_of_siglip_compose(pair: tuple[CLIP, Any], pixels: torch.Tensor, middle: int) -> None:
    clip, _ = pair
    in_two = clip.image.run(clip.image.run(pixels, RAW, middle), middle, END)
    torch.testing.assert_close(in_two, clip.image.run(pixels), **CLOSE)
    prompts = clip.tokenize(TEXTS)
    texts = clip.text.run(clip.text.run(prompts.ids, RAW, middle), middle, END, prompts.eot)
    torch.testing.assert_close(texts, clip.text.run(prompts.ids), **CLOSE)


def test_gradients_equal_open_clips(tmp_path: Path, pixels: torch.Tensor) -> None:
    clip, network = small_siglip(tmp_path)
    ids = clip.tokenize(TEXTS).ids
    labels = torch.arange(3)

    def gradients(logits: torch.Tensor) -> dict[str, torch.Tensor]:
        weights = {
            "q, k, v": clip.image.blocks[1].attn.in_proj_weight,
            "image mlp": clip.image.blocks[5].mlp.c_fc.weight,
            "pooling": clip.image.get_parameter("attn_pool.latent"),
            "text norm": clip.text.blocks[2].ln_1.weight,
            "text projection": clip.text.get_parameter("text_projection.bias"),
            "words": clip.text.token_embedding.weight,
        }
        values = torch.autograd.grad(F.cross_entropy(logits, labels), list(weights.values()))
        return dict(zip(weights, values, strict=True))

    # Both have the same parameters.
    clip.requires_grad_(True)
    expected = gradients(network.get_logits(pixels, ids)[0])
    for _ in with_and_without_speedups(clip):
        image, text = F.normalize(clip.image.run(pixels), dim=-1), F.normalize(clip.text.run(ids), dim=-1)
        found = gradients(clip.scale(image @ text.T))
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_operations_are_counted_where_the_pooling_trains(tmp_path: Path, pixels: torch.Tensor) -> None:
    clip, _ = small_siglip(tmp_path)
    frozen = count_flops(lambda: clip.image.run(pixels))
    clip.requires_grad_(True)
    with torch.no_grad():
        assert count_flops(lambda: clip.image.run(pixels)) == frozen > 0


def test_single_tokens_of_a_pooled_image_are_not_read(pair: tuple[CLIP, Any], pixels: torch.Tensor) -> None:
    clip, _ = pair
    with pytest.raises(ValueError, match="tokens of this image tower are pooled: 3 of them cannot be read"):
        clip.image.run(pixels, num_read=3)


def test_every_siglip_of_open_clip_is_supported() -> None:
    assert len(SIGLIPS) >= 26
    for name in SIGLIPS:
        config = model_config(name)
        assert config.is_siglip
        assert config.unsupported is None
        assert config.parts == {"transformer for images"}
        assert blocks_of(parse_backbone(name)) == config.blocks


def test_parts_are_those_of_the_configuration(pair: tuple[CLIP, Any]) -> None:
    clip, _ = pair
    assert clip.image.parts | clip.text.parts == ModelConfiguration(**CONFIGURATION).parts  # type: ignore[arg-type]


# One of each size of timm's image towers.
@pytest.mark.parametrize("name", ["ViT-B-32-SigLIP2-256", "ViT-L-16-SigLIP-256", "ViT-SO400M-14-SigLIP-384"])
def test_numbers_of_blocks_are_timms(name: str) -> None:
    config = model_config(name)
    with torch.device("meta"):
        network = build(config)
    image, text = len(network.visual.trunk.blocks), len(network.text.transformer.resblocks)
    assert config.blocks == min(image, text)
    assert network.visual.trunk.num_prefix_tokens == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vision_cfg": {"timm_pool": "avg"}}, "image tower is timm's 'test_vit'"),
        ({"vision_cfg": {"image_size": 224}}, "image tower is timm's 'test_vit'"),
        ({"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_gap_224"}}, "image tower is timm's 'vit_base_p"),
        ({"text_cfg": {"no_causal_mask": False}}, "its logits have a bias"),
        ({"text_cfg": {"pool_type": "argmax"}}, "its logits have a bias"),
        ({"text_cfg": {"hf_model_name": "xlm-roberta-base"}}, "its logits have a bias"),
    ],
)
def test_what_only_looks_like_siglip_is_refused(changes: dict[str, Any], reason: str) -> None:
    parts = {key: CONFIGURATION[key] | change for key, change in changes.items()}  # type: ignore[operator]
    config = ModelConfiguration(**{**CONFIGURATION, **parts})
    if "vision_cfg" in changes:
        config = config.model_copy(update={"init_logit_bias": None})
    assert config.unsupported is not None
    assert reason in config.unsupported


def test_random_weights_need_no_tokenizer() -> None:
    config, tokenizer = named_architecture(parse_backbone("ViT-B-32-SigLIP2-256:random"), stand_in=True)
    ids = tokenizer(TEXTS)
    assert ids.shape == (3, 64)
    assert int(ids.max()) < config.text_cfg.vocab_size


@pytest.mark.long
@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-B-32-SigLIP2-256"])
def test_real_siglips_equal_open_clip(name: str) -> None:
    config = model_config(name)
    torch.manual_seed(0)
    network = build(config).eval().requires_grad_(False)
    clip = wrap(network, stand_in_tokenizer(config.text_cfg), name).eval().requires_grad_(False)
    pixels, ids = torch.randn(2, 3, clip.image_size, clip.image_size), clip.tokenize(TEXTS).ids
    for _ in with_and_without_speedups(clip):
        torch.testing.assert_close(clip.image.run(pixels), network.encode_image(pixels), **CLOSE)
        torch.testing.assert_close(clip.text.run(ids), network.encode_text(ids), **CLOSE)
