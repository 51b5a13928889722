"""Checkpoints of CLIPs with a ResNet, in the forms that OpenAI's and others' come in."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.clip.activation import doubt_about_activation
from harness.clip.backbones import blocks_of, model_config, parse_backbone
from harness.clip.load import build, build_without_weights, load_backbone
from harness.clip.openai_shapes import fitting_models, openai_config
from harness.clip.pretrained import verify_tag
from harness.errors import UserError

State = dict[str, Tensor]
ENTRIES = {"input_resolution": 64, "context_length": 77, "vocab_size": 49408}


@pytest.fixture(scope="module")
def network() -> open_clip.CLIP:
    """A small CLIP of OpenAI's conventions: QuickGELU, heads of width 64."""
    torch.manual_seed(0)
    vision = {"layers": (1, 2, 1, 1), "width": 8, "image_size": 64, "patch_size": None}
    text = {"width": 64, "heads": 1, "layers": 2}
    return open_clip.CLIP(32, vision, text, quick_gelu=True).eval().requires_grad_(False)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write(state: State, **entries: int) -> str:
        torch.save(state | {name: torch.tensor(value) for name, value in entries.items()}, tmp_path / "rn50.pt")
        return str(tmp_path / "rn50.pt")

    return write


def same(text: str, network: open_clip.CLIP) -> bool:
    pixels, clip = torch.ones(1, 3, 64, 64), load_backbone(text)
    ids = clip.tokenizer(["a photo of a cat."])
    image = torch.allclose(clip.image.run(pixels), network.encode_image(pixels), rtol=1e-4, atol=1e-5)
    return image and torch.allclose(clip.text.run(ids), network.encode_text(ids), rtol=1e-4, atol=1e-5)


def told(text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_backbone(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_openais_own_entries_say_the_architecture(network: open_clip.CLIP, save: Callable[..., str]) -> None:
    path = save(network.state_dict(), **ENTRIES)
    assert same(path, network)
    assert build_without_weights(path).image.num_blocks == 5
    assert blocks_of(parse_backbone(path)) is None


def test_half_precision_and_missing_counters(network: open_clip.CLIP, save: Callable[..., str]) -> None:
    state = {name: value.half() for name, value in network.state_dict().items() if "num_batches_tracked" not in name}
    clip = load_backbone(save(state, **ENTRIES))
    assert {value.dtype for value in clip.parameters()} == {torch.float32}
    assert torch.equal(clip.image.projection, state["visual.attnpool.c_proj.weight"].float())


@pytest.mark.filterwarnings("ignore")
def test_archives_of_torchscript(network: open_clip.CLIP, tmp_path: Path) -> None:
    path = tmp_path / "RN50.pt"

    class Archive(torch.nn.Module):
        """Two towers as OpenAI's archives have them, with their entries."""

        def __init__(self) -> None:
            super().__init__()
            for name, child in network.named_children():
                self.add_module(name, child)
            for name, parameter in network.named_parameters(recurse=False):
                self.register_parameter(name, parameter)
            for name, value in ENTRIES.items():
                self.register_buffer(name, torch.tensor(value))

        def forward(self, pixels: Tensor) -> Tensor:
            embedded: Tensor = self.visual(pixels)
            return embedded * self.logit_scale.exp() + sum(self.get_buffer(name) for name in ENTRIES)

    torch.jit.trace(Archive(), torch.ones(1, 3, 64, 64)).save(str(path))
    assert same(str(path), network)


def test_a_configuration_beside_the_weights(tiny_resnet: Path) -> None:
    clip = load_backbone(str(tiny_resnet))
    assert (clip.image_size, clip.num_blocks, clip.image.num_blocks) == (64, 2, 5)
    assert blocks_of(parse_backbone(str(tiny_resnet))) == 2
    assert build_without_weights(str(tiny_resnet)).state_dict().keys() == clip.state_dict().keys()


def test_plain_weights_are_advised_the_resnets_that_they_fit(save: Callable[..., str]) -> None:
    with torch.device("meta"):
        state = build(model_config("RN50-quickgelu")).state_dict()
    assert fitting_models(state) == ["RN50", "RN50-quickgelu"]
    # The shapes alone, without the memory of their values.
    empty = {name: torch.zeros(()).expand(value.shape) for name, value in state.items()}
    message = told(save(empty))
    assert "does not say which activation" in message
    assert "name the model (BACKBONE=RN50:" in message
    assert "BACKBONE=RN50-quickgelu:" in message
    assert "ViT" not in message


def test_shapes_of_openais_resnets_say_their_configuration() -> None:
    for name in ("RN50", "RN101", "RN50x16"):
        with torch.device("meta"):
            expected = build(model_config(f"{name}-quickgelu"))
            found = build(openai_config(expected.state_dict()))
        assert found.visual.attnpool.num_heads == expected.visual.attnpool.num_heads
        assert found.visual.image_size == expected.visual.image_size
        shapes = [{key: value.shape for key, value in one.state_dict().items()} for one in (expected, found)]
        assert shapes[0] == shapes[1]


def test_means_of_the_norms_need_not_be_exact_in_fp16(network: open_clip.CLIP) -> None:
    state = {name: value.half().float() for name, value in network.state_dict().items()}
    state["logit_scale"] = torch.tensor(100.0).log().half().float()
    state["visual.bn1.running_mean"] = torch.full_like(state["visual.bn1.running_mean"], 1 / 3)
    assert doubt_about_activation("RN50-quickgelu", state) is None
    state["visual.conv1.weight"] = torch.full_like(state["visual.conv1.weight"], 1 / 3)
    assert doubt_about_activation("RN50-quickgelu", state) is not None


def test_infinite_statistics_are_named(tiny_resnet: Path, save: Callable[..., str]) -> None:
    state = load_file(tiny_resnet)
    state["visual.layer2.1.bn2.running_var"][0] = float("inf")
    path = Path(save(state))
    path.with_suffix(".json").write_text(tiny_resnet.with_suffix(".json").read_text())
    (path.parent / "bpe_4k.txt.gz").write_bytes((tiny_resnet.parent / "bpe_4k.txt.gz").read_bytes())
    assert "1 tensors hold NaN or infinity ('image.layer2.1.bn2.running_var')" in told(str(path))


def test_names_without_weights_lead_to_names_with_weights() -> None:
    with pytest.raises(UserError, match="Use 'RN50-quickgelu' instead"):
        verify_tag(parse_backbone("RN50"))
    for name in ("RN50-quickgelu", "RN101-quickgelu", "RN50:random"):
        verify_tag(parse_backbone(name))
