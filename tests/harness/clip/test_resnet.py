"""The image tower of CLIPs with a ResNet: equal to open_clip's, in stages, with frozen batch normalisation."""

import copy
import itertools
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor, nn

from harness.clip.backbones import model_config
from harness.clip.blocks import Beside
from harness.clip.configuration import read_configuration
from harness.clip.context import prompted_images
from harness.clip.load import build, load_backbone, local_tokenizer, wrap
from harness.clip.resnet import ResNetTower, pool_by_attention
from harness.clip.speedups import NO_SPEEDUPS
from harness.clip.towers import CLIP, END, POOLED, RAW
from harness.errors import UserError
from harness.machine.meter import peak_tensor_bytes, storage_bytes
from harness.training.feature_identity import tower_digest
from harness.training.precision import autocast, store_clip
from tests.resnets import draw_norms

STAGES = [RAW, 0, 1, 2, 3, 4, 5, POOLED, END]


@pytest.fixture
def clip(tiny_resnet: Path) -> CLIP:
    """A CLIP with a narrow ResNet, in float64, where rounding hides nothing."""
    return load_backbone(str(tiny_resnet)).double()


@pytest.fixture
def reference(tiny_resnet: Path) -> open_clip.CLIP:
    """open_clip's own model of the same weights."""
    network = draw_norms(build(read_configuration(tiny_resnet.with_suffix(".json"))))
    weights = {
        name.replace("image.", "visual."): value for name, value in load_backbone(str(tiny_resnet)).state_dict().items()
    }
    network.load_state_dict({name.removeprefix("text."): value for name, value in weights.items()})
    return network.double().eval().requires_grad_(False)


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def switched(clip: CLIP, speedups: bool) -> ResNetTower:
    if not speedups:
        clip.speedups.switch_off()
    assert isinstance(clip.image, ResNetTower)
    return clip.image


@pytest.mark.parametrize("speedups", [True, False])
def test_the_tower_and_each_of_its_stages_equal_open_clip(
    speedups: bool, clip: CLIP, reference: open_clip.CLIP, pixels: Tensor
) -> None:
    tower, expected = switched(clip, speedups), reference.encode_image(pixels)
    torch.testing.assert_close(tower.run(pixels), expected, rtol=1e-10, atol=1e-10)
    x, maps = pixels, {0: reference.visual.stem(pixels)}
    for end, layer in zip(tower.layer_ends, ("layer1", "layer2", "layer3", "layer4"), strict=True):
        maps[end] = getattr(reference.visual, layer)(list(maps.values())[-1])
    assert list(maps) == [0, 1, 3, 4, 5]
    for start, stop in itertools.pairwise(STAGES):
        x = tower.run(x, start, stop)
        torch.testing.assert_close(tower.run(x, stop), expected, rtol=1e-10, atol=1e-10)
        if stop in maps:
            torch.testing.assert_close(x, maps[stop], rtol=1e-10, atol=1e-10)
    assert tower.run(pixels, RAW, POOLED).shape == (3, tower.width) == (3, 256)


@pytest.mark.parametrize("speedups", [True, False])
@pytest.mark.parametrize("start", [0, 2, 5])
def test_gradients_equal_open_clips(
    speedups: bool, start: int, clip: CLIP, reference: open_clip.CLIP, pixels: Tensor
) -> None:
    tower = switched(clip, speedups)
    trained = {id(parameter) for parameter in tower.parameters_from(start)}
    names = {name for name, parameter in tower.named_parameters() if id(parameter) in trained}
    theirs = dict(reference.visual.named_parameters())
    for name in names:
        theirs[name].requires_grad_(True)
        tower.get_parameter(name).requires_grad_(True)
    with torch.no_grad():
        x = tower.run(pixels, RAW, start)
    tower.run(x, start).square().sum().backward()
    reference.encode_image(pixels).square().sum().backward()
    for name in names:
        torch.testing.assert_close(tower.get_parameter(name).grad, theirs[name].grad, rtol=1e-8, atol=1e-10, msg=name)


def test_what_trains_are_convolutions_and_projections_but_no_norm_and_no_position(clip: CLIP) -> None:
    tower = switched(clip, True)
    trained = {id(parameter) for parameter in tower.parameters_from(3)}
    pool = {f"attnpool.{part}_proj.{name}" for part in "qkvc" for name in ("weight", "bias")}
    convolutions = {
        f"{layer}.0.{conv}.weight" for layer in ("layer3", "layer4") for conv in ("conv1", "conv2", "conv3")
    }
    shortcuts = {"layer3.0.downsample.0.weight", "layer4.0.downsample.0.weight"}
    assert {name for name, p in tower.named_parameters() if id(p) in trained} == pool | convolutions | shortcuts


@pytest.mark.parametrize("speedups", [True, False])
def test_statistics_are_those_of_the_weights_in_any_mode(speedups: bool, clip: CLIP, pixels: Tensor) -> None:
    tower = switched(clip, speedups)
    before, frozen = {name: value.clone() for name, value in tower.state_dict().items()}, tower.run(pixels)
    tower.train()
    assert torch.equal(tower.run(pixels), frozen)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_blocks_and_layers_of_openais_models() -> None:
    for name, ends in (("RN50", (3, 7, 13, 16)), ("RN101", (3, 7, 30, 33))):
        config = model_config(name)
        with torch.device("meta"):
            tower = wrap(build(config), local_tokenizer(config.text_cfg), name).image
        assert isinstance(tower, ResNetTower)
        assert (tower.layer_ends, tower.num_blocks, len(tower.blocks)) == (ends, ends[-1], ends[-1])
        assert (tower.num_blocks, tower.embed_dim) == (config.vision_cfg.blocks, config.embed_dim)
        assert config.blocks == 12


@pytest.mark.slow
def test_a_whole_rn50_equals_open_clip() -> None:
    torch.manual_seed(0)
    config = model_config("RN50")
    network = draw_norms(build(config)).eval().requires_grad_(False)
    pixels = torch.randn(1, 3, 224, 224)
    expected = network.encode_image(pixels)
    clip = wrap(network, local_tokenizer(config.text_cfg), "RN50")
    for _ in range(2):
        torch.testing.assert_close(clip.image.run(pixels), expected, rtol=1e-5, atol=1e-5)
        clip.speedups.switch_off()


def test_what_needs_tokens_is_refused_in_one_line(clip: CLIP, pixels: Tensor) -> None:
    tower = clip.image
    for asked in (
        {"before_block": lambda block, x: x},
        {"beside": {0: Beside(block=lambda x, tokens: x)}},
        {"num_read": 2},
    ):
        with pytest.raises(UserError, match="a ResNet, whose feature maps have no tokens"):
            tower.run(pixels, **asked)
    with pytest.raises(UserError, match="a ResNet, whose feature maps have no tokens"):
        prompted_images(tower, pixels, [torch.zeros(1, 8)])


def test_one_query_is_computed_unless_all_are_asked_for(clip: CLIP, pixels: Tensor) -> None:
    tower, seen = switched(clip, True), []
    tower.attnpool.q_proj.register_forward_hook(lambda _, x, y: seen.append(y.shape[1]))
    maps = tower.run(pixels, RAW, 5)
    one, all_places = (pool_by_attention(tower.attnpool, maps, read_one) for read_one in (True, False))
    torch.testing.assert_close(one, all_places, rtol=1e-12, atol=1e-12)
    assert seen == [1, 5]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_normalisation_reads_is_not_kept_for_the_backward_pass(precision: str, tiny_resnet: Path) -> None:
    peaks, losses = [], []
    for keep_less in (False, True):
        clip = load_backbone(str(tiny_resnet))
        clip.speedups.recompute_cheap = keep_less
        for parameter in clip.image.parameters_from(0):
            parameter.requires_grad_(True)
        pixels = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            x = clip.image.run(pixels, RAW, 0)

        def work(clip: CLIP = clip, x: Tensor = x) -> None:
            with autocast(precision, clip.device):
                loss = clip.image.run(x, 0).square().sum()
            loss.backward()
            losses.append(float(loss.detach()))

        peaks.append(peak_tensor_bytes(work, clip.parameters()) - storage_bytes(clip.parameters()))
    assert peaks[1] < 0.8 * peaks[0]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5 if precision == "fp32" else 0.05)


@pytest.mark.parametrize("speedups", [True, False])
def test_half_stores_convolutions_in_float16_and_normalises_in_float32(speedups: bool, tiny_resnet: Path) -> None:
    clip = load_backbone(str(tiny_resnet))
    tower = switched(clip, speedups)
    pixels = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = tower.run(pixels)
    store_clip(clip, "half")
    kept = {name for name, value in tower.state_dict().items() if value.dtype == torch.float32}
    norms = [name for name, module in tower.named_modules() if isinstance(module, nn.BatchNorm2d)]
    parts = ("weight", "bias", "running_mean", "running_var")
    assert kept == {"attnpool.positional_embedding", *(f"{norm}.{part}" for norm in norms for part in parts)}
    rounded = tower.run(pixels)
    assert rounded.dtype == torch.float16
    assert torch.nn.functional.cosine_similarity(rounded.float(), exact).min() > 0.999


def test_the_digest_of_pooled_features_leaves_out_the_projection(clip: CLIP) -> None:
    tower = clip.image
    pooled, whole = tower_digest(tower, POOLED), tower_digest(tower, END)
    tower.projection.data.add_(1)
    assert tower_digest(tower, POOLED) == pooled
    assert tower_digest(tower, END) != whole
    for name in ("bn1.running_var", "attnpool.k_proj.bias"):
        before = tower_digest(tower, POOLED)
        tower.state_dict()[name].add_(1)
        assert tower_digest(tower, POOLED) != before
    other = copy.deepcopy(tower)
    assert isinstance(other, ResNetTower)
    other.attnpool.num_heads = 2
    assert tower_digest(other, POOLED) != tower_digest(tower, POOLED)
    assert clip.speedups != NO_SPEEDUPS
