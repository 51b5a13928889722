"""OpenAI's weights are known by what their text tower computes, whatever activation it is given."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch

from harness.clip import openai_texts
from harness.clip.configuration import ModelConfiguration, read_configuration
from harness.clip.load import load_backbone
from harness.clip.openai_texts import KNOWN, KnownText, texts_of_openai
from harness.errors import UserError

SIZES = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 1, "width": 64, "patch_size": 8, "image_size": 16},
    "text_cfg": {"width": 64, "heads": 1, "layers": 2},
}
IDS = (49406, 320, 2368, 49407)


def network(quick_gelu: bool) -> open_clip.CLIP:
    torch.manual_seed(0)
    made = open_clip.CLIP(**json.loads(json.dumps(SIZES)), quick_gelu=quick_gelu).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.normal_(std=0.5)
    return made


def known(made: open_clip.CLIP, projected: bool) -> KnownText:
    """What a text tower makes of 'a cat', as open_clip computes it, to four digits."""
    ids = open_clip.tokenize(["a cat"])
    assert tuple(ids[0, :4].tolist()) == IDS
    output = made.encode_text(ids)[0]
    if not projected:
        seen: list[torch.Tensor] = []
        made.ln_final.register_forward_hook(lambda module, inputs, result: seen.append(result))
        made.encode_text(ids)
        output = seen[0][0, 3]
    return KnownText(IDS, 3, projected, (0, 1, -1), tuple(round(float(output[i]), 4) for i in (0, 1, -1)))


@pytest.mark.parametrize("projected", [True, False])
def test_a_text_tower_is_recognised_under_either_activation(projected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, plain = network(True), network(False)
    monkeypatch.setattr(openai_texts, "KNOWN", (known(quick, projected),))
    assert texts_of_openai(quick)
    assert texts_of_openai(plain), "the activation is exchanged"
    assert type(plain.transformer.resblocks[0].mlp.gelu).__name__ == "GELU", "and put back"
    before = plain.encode_text(open_clip.tokenize(["a cat"]))
    texts_of_openai(plain)
    assert torch.equal(plain.encode_text(open_clip.tokenize(["a cat"])), before)
    plain.transformer.resblocks[1].mlp.c_fc.bias += 0.1
    assert not texts_of_openai(plain)
    monkeypatch.setattr(openai_texts, "KNOWN", (known(network(False), projected),))
    assert not texts_of_openai(quick), "what a GELU computes is another output"


def test_no_other_model_is_taken_for_openais(tiny: Path) -> None:
    assert not texts_of_openai(network(True))
    for text in KNOWN:
        assert len(text.channels) == len(text.values) >= 3
        assert text.ids[0] == 49406
        assert text.token == len(text.ids) - 1
    assert load_backbone(str(tiny)).notices == ()


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Path]:
    """Weights whose text tower is OpenAI's as far as is known, with a configuration beside them."""

    def write(quick_gelu: bool) -> Path:
        made = network(True)
        monkeypatch.setattr(openai_texts, "KNOWN", (known(made, True),))
        path = tmp_path / "plain.pt"
        torch.save(made.state_dict(), path)
        path.with_suffix(".json").write_text(json.dumps(SIZES | {"quick_gelu": quick_gelu}))
        return path

    return write


def test_openais_weights_under_a_configuration_with_gelu_are_refused(save: Callable[[bool], Path]) -> None:
    path = save(False)
    with pytest.raises(UserError, match=r"says quick_gelu false, and the weights beside it are OpenAI's.*: true"):
        load_backbone(str(path))
    assert load_backbone(str(save(True))).notices == ()


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-16-quickgelu"])
def test_openais_weights_under_a_name_are_recognised(
    save: Callable[[bool], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(True)
    model = load_config(path, name.endswith("quickgelu"))
    monkeypatch.setattr("harness.clip.load.model_config", lambda _: model)
    if name == "ViT-B-16":
        with pytest.raises(UserError, match=r"would run OpenAI's weights with the wrong activation.*'ViT-B-16-quickg"):
            load_backbone(f"{name}:{path}")
    else:
        assert load_backbone(f"{name}:{path}").notices == (), "nothing is in doubt"


def load_config(path: Path, quick_gelu: bool) -> ModelConfiguration:
    return read_configuration(path.with_suffix(".json")).model_copy(update={"quick_gelu": quick_gelu})
