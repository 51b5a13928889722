"""Backbones from names, tags and files."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from harness.clip.backbones import blocks_of, bundled, parse_backbone
from harness.clip.checkpoints import read_checkpoint
from harness.clip.load import load_backbone
from harness.clip.pretrained import fetch_weights, verify_tag
from harness.errors import UserError

TINY = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"layers": 2, "width": 64, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


@pytest.fixture
def tiny() -> open_clip.CLIP:
    """A small CLIP of OpenAI's conventions (QuickGELU, heads of width 64)."""
    torch.manual_seed(0)
    return open_clip.CLIP(**json.loads(json.dumps(TINY))).eval().requires_grad_(False)


def outputs(path: str) -> torch.Tensor:
    return load_backbone(path).image.run(torch.ones(1, 3, 16, 16))


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_local_checkpoint_with_its_configuration(tiny: open_clip.CLIP, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tiny{ending}"
    if ending == ".pt":
        # As training scripts save: wrapped, with the prefix of a parallel wrapper.
        torch.save({"state_dict": {f"module.{name}": value for name, value in tiny.state_dict().items()}}, path)
    else:
        save_file({name: value.contiguous() for name, value in tiny.state_dict().items()}, path)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    torch.testing.assert_close(outputs(str(path)), tiny.encode_image(torch.ones(1, 3, 16, 16)))
    assert blocks_of(parse_backbone(str(path))) == 2


def test_openai_checkpoint_tells_its_own_architecture(tiny: open_clip.CLIP, tmp_path: Path) -> None:
    path = tmp_path / "openai.pt"
    entries = {"input_resolution": torch.tensor(16), "context_length": torch.tensor(77)}
    torch.save({**tiny.state_dict(), **entries, "vocab_size": torch.tensor(49408)}, path)
    torch.testing.assert_close(outputs(str(path)), tiny.encode_image(torch.ones(1, 3, 16, 16)))


def test_an_openai_vit_b_16_in_half_precision_loads_by_path_with_its_name_and_without(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-16-quickgelu")
    network = open_clip.CLIP(**{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")})
    state = {name: value.half() for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    path = tmp_path / "ViT-B-16.pt"
    entries = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    torch.save(state | {name: torch.tensor(value) for name, value in entries.items()}, path)
    clip = load_backbone(str(path))
    named = load_backbone(f"ViT-B-16-quickgelu:{path}").state_dict()
    path.unlink()
    assert named.keys() == clip.state_dict().keys()
    assert all(torch.equal(value, named[name]) for name, value in clip.state_dict().items())
    pixels, texts = torch.randn(1, 3, 224, 224), ["a photo of a cat.", "dog"]
    assert clip.image.proj.dtype == torch.float32
    torch.testing.assert_close(clip.image.run(pixels), network.encode_image(pixels), rtol=1e-4, atol=1e-4)
    ids = clip.tokenizer(texts)
    torch.testing.assert_close(clip.text.run(ids), network.encode_text(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_archive(tiny: open_clip.CLIP, tmp_path: Path) -> None:
    path = tmp_path / "archive.pt"
    torch.jit.trace(tiny.visual, torch.ones(1, 3, 16, 16)).save(str(path))
    state = read_checkpoint(path)
    assert torch.equal(state["conv1.weight"], tiny.visual.conv1.weight)


def test_checkpoint_that_does_not_tell_its_activation_is_refused(tiny: open_clip.CLIP, tmp_path: Path) -> None:
    path = tmp_path / "bare.pt"
    torch.save(tiny.state_dict(), path)
    with pytest.raises(UserError, match="which activation"):
        load_backbone(str(path))


def test_openai_weights_in_a_gelu_model_are_refused(tiny: open_clip.CLIP, tmp_path: Path) -> None:
    path = tmp_path / "openai.pt"
    torch.save({**tiny.state_dict(), "input_resolution": torch.tensor(224)}, path)
    with pytest.raises(UserError, match="Use 'ViT-B-16-quickgelu'"):
        load_backbone(f"ViT-B-16:{path}")


def test_wrong_shapes_are_refused(tiny: open_clip.CLIP, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    torch.save(tiny.state_dict(), path)
    with pytest.raises(UserError, match="does not fit its model"):
        load_backbone(f"ViT-B-16-quickgelu:{path}")


class Payload:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must never be printed",))


def test_pickled_objects_are_never_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Payload()}, path)
    (tmp_path / "evil.json").write_text(json.dumps(TINY))
    with pytest.raises(UserError, match="contains more than tensors"):
        load_backbone(str(path))
    assert "never be printed" not in capsys.readouterr().out


def test_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(bundled()["clip-emoji"].read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("ViT-B-16", "Use 'ViT-B-16-quickgelu' instead"),
        ("ViT-B-16:openai", "Use 'ViT-B-16-quickgelu' instead"),
        ("ViT-B-16-quickgelu:laion400m_e31", "no pretrained tag 'laion400m_e31'"),
        ("ViT-B16", "Did you mean 'ViT-B-16-quickgelu'"),
        ("clip-emoj", "Did you mean 'clip-emoji'"),
        ("/nowhere/x.safetensors", "does not exist"),
        ("ViT-B-16-quickgelu:/nowhere/x.pt", "does not exist"),
    ],
)
def test_bad_names(backbone: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        verify_tag(parse_backbone(backbone))


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(config: object) -> None:
        raise OSError("name or service\nnot known")

    monkeypatch.setattr("harness.clip.pretrained.ask_hub", lambda repository: None)
    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    with pytest.raises(UserError, match="cannot be downloaded") as caught:
        fetch_weights("ViT-B-32-quickgelu")
    assert "\n" not in str(caught.value)
    assert "BACKBONE=ViT-B-32-quickgelu:/path" in str(caught.value)
    for local in ("clip-emoji", "ViT-B-32:random"):
        fetch_weights(local)


def test_blocks_without_weights() -> None:
    assert blocks_of(parse_backbone("clip-emoji")) == 6
    assert blocks_of(parse_backbone("ViT-B-16-quickgelu")) == 12
    assert blocks_of(parse_backbone("ViT-L-14:random")) == 12  # the text tower has 12, the image tower 24


def test_embedded_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    clip = load_backbone("clip-emoji")
    assert (clip.image_size, clip.num_blocks, clip.mean) == (48, 6, (0.75, 0.75, 0.75))
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    assert {parameter.dtype for parameter in clip.parameters()} == {torch.float32}
