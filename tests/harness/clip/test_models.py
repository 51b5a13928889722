"""Every model name of open_clip either works here or is refused in one line, before a tokenizer is asked."""

from typing import NoReturn

import open_clip
import pytest
import torch

from harness.clip.backbones import (
    DEFAULT_TAG,
    blocks_of,
    config_files,
    model_config,
    model_names,
    nearest_supported,
    parse_backbone,
    supported_models,
)
from harness.clip.configuration import PreprocessConfiguration
from harness.clip.load import build, load_backbone, load_open_clip
from harness.clip.preprocessing import OPENAI_MEAN, OPENAI_STD
from harness.clip.pretrained import fetch_weights, preprocessing_of_tag, verify_tag
from harness.errors import UserError


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be downloaded, built or tokenised."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("must not be called")

    for name in ("download_pretrained", "create_model", "get_tokenizer", "CLIP"):
        monkeypatch.setattr(open_clip, name, refuse)


def test_every_name_of_open_clip_is_supported_or_refused_in_one_line(offline: None) -> None:
    assert model_names() == sorted(open_clip.list_models())
    refused = set()
    for name in model_names():
        if model_config(name).unsupported is None:
            assert blocks_of(parse_backbone(name)) == model_config(name).blocks
            continue
        for ask in (parse_backbone, load_backbone, fetch_weights):
            for text in (name, f"{name}:random", f"{name}:any_tag", f"{name}:/nowhere/x.pt"):
                with pytest.raises(UserError) as caught:
                    ask(text)
                message = str(caught.value)
                assert message.startswith(f"backbone '{name}' is not supported: it")
                assert message.endswith(f"the nearest is '{nearest_supported(name)}'")
                assert "\n" not in message
        refused.add(name)
    assert len(refused) > 70
    assert {name for name in model_names() if "siglip" in name or "CLIPA" in name or "coca" in name} <= refused
    assert not {name for name in refused if "SigLIP" in name or name.startswith("RN")}


@pytest.mark.parametrize(
    ("name", "reason", "nearest"),
    [
        ("nllb-clip-base-siglip", "its logits have a bias, as SigLIP's do", "ViT-B-16-quickgelu"),
        ("ViT-L-14-CLIPA-336", "its tokenizer is 'bert-base-uncased' of transformers", "ViT-L-14"),
        ("coca_base", "it is a CoCa, with a decoder of captions", "ViT-B-16-quickgelu"),
        ("coca_ViT-L-14", "it is a CoCa, with a decoder of captions", "ViT-L-14"),
        ("EVA02-B-16", "its image tower is timm's 'eva02_base_patch16_clip_224'", "ViT-B-16-quickgelu"),
        ("roberta-ViT-B-32", "its text tower is 'roberta-base' of transformers", "ViT-B-32"),
        ("ViT-H-14-worldwide", "its tokenizer is 'facebook/xlm-v-base' of transformers", "ViT-H-14"),
    ],
)
def test_what_is_unusual_is_named(name: str, reason: str, nearest: str) -> None:
    if name not in config_files():
        pytest.skip("this version of open_clip has no such model")
    with pytest.raises(UserError, match=f"not supported: {reason}") as caught:
        parse_backbone(name)
    assert str(caught.value).endswith(f"the nearest is '{nearest}'")


# The narrow ones; the others differ in numbers alone.
@pytest.mark.parametrize("name", ["ViT-S-32", "ViT-M-16-alt", "ViT-B-32-quickgelu"])
def test_what_is_called_supported_has_all_parts_of_the_towers(name: str) -> None:
    with torch.device("meta"):
        network = build(model_config(name))
    parts = {name.split(".")[0] for name, _ in network.visual.named_parameters()}
    assert parts == {"class_embedding", "positional_embedding", "proj", "conv1", "ln_pre", "transformer", "ln_post"}
    assert network.logit_bias is None
    assert network.attn_mask is not None
    assert isinstance(network.text_projection, torch.nn.Parameter)


def test_every_tag_of_supported_models_is_accepted_or_leads_to_one_that_is() -> None:
    for name in supported_models():
        for tag in open_clip.list_pretrained_tags_by_model(name):
            try:
                verify_tag(parse_backbone(f"{name}:{tag}"))
            except UserError as error:
                message = str(error)
            else:
                continue
            assert "wrong activation" in message
            right = message.split("'")[-2]
            verify_tag(parse_backbone(f"{right}:{tag}"))


def test_a_model_without_any_weights_does_not_ask_for_a_tag() -> None:
    bare = next(name for name in supported_models() if not open_clip.list_pretrained_tags_by_model(name))
    with pytest.raises(UserError, match=f"no weights for '{bare}': give a checkpoint, {bare}:/path/to/file"):
        verify_tag(parse_backbone(bare))


def test_preprocessing_of_every_tag_is_open_clips() -> None:
    defaults = open_clip.transform.PreprocessCfg()
    assert (defaults.mean, defaults.std) == (OPENAI_MEAN, OPENAI_STD)
    modes = set()
    for name in supported_models():
        for tag in open_clip.list_pretrained_tags_by_model(name):
            expected = open_clip.transform.merge_preprocess_dict(defaults, open_clip.get_pretrained_cfg(name, tag))
            found = preprocessing_of_tag(parse_backbone(f"{name}:{tag}"))
            assert found.model_dump(exclude={"size"}) == {key: expected[key] for key in expected if key != "size"}
            modes.add((found.resize_mode, found.interpolation))
    assert {mode for mode, _ in modes} == {"shortest", "squash"}
    assert preprocessing_of_tag(parse_backbone("ViT-B-32:random")) == PreprocessConfiguration()
    assert DEFAULT_TAG == "openai"


def test_preprocessing_of_a_tag_reaches_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ViT-H-14-378-quickgelu"
    if "dfn5b" not in open_clip.list_pretrained_tags_by_model(name):
        pytest.skip("this version of open_clip has no such tag")

    def without_weights(model: str, pretrained: str) -> open_clip.CLIP:
        with torch.device("meta"):
            return build(model_config(model))

    monkeypatch.setattr("harness.clip.pretrained.ask_hub", lambda repository: None)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: None)
    monkeypatch.setattr(open_clip, "create_model", without_weights)
    clip = load_open_clip(parse_backbone(f"{name}:dfn5b"), name)
    assert (clip.preprocessing.size, clip.preprocessing.resize_mode) == (378, "squash")
