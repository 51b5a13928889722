"""Folders as transformers saves a CLIPModel: the same tensors, activation and preprocessing, or one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from harness.clip.backbones import files_of, model_config, parse_backbone
from harness.clip.configuration import ModelConfiguration, read_configuration
from harness.clip.load import build_of_open_clip, build_without_weights, load_backbone
from harness.clip.preprocessing import OPENAI_MEAN, OPENAI_STD, Preprocessing
from harness.clip.strict_json import check
from harness.clip.transformers_configuration import to_open_clip
from harness.clip.transformers_names import to_open_clip as names_to_open_clip
from harness.clip.transformers_vocabulary import refuse_other_vocabulary
from harness.errors import UserError
from tests.transformers_state import to_transformers

Folder = Path
HALF = [0.5, 0.5, 0.5]
# As transformers 5 saves a CLIPModel of this size, without what decides no output.
CONFIGURATION: dict[str, Any] = {
    "architectures": ["CLIPModel"],
    "dtype": "float32",
    "model_type": "clip",
    "projection_dim": 24,
    "text_config": {
        "attention_dropout": 0.0,
        "eos_token_id": 49407,
        "hidden_act": "gelu",
        "hidden_size": 32,
        "intermediate_size": 72,
        "layer_norm_eps": 1e-4,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "projection_dim": 512,
    },
    "vision_config": {
        "hidden_act": "gelu",
        "hidden_size": 48,
        "image_size": 32,
        "intermediate_size": 100,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "patch_size": 8,
    },
}
PROCESSOR: dict[str, Any] = {
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "image_mean": list(OPENAI_MEAN),
    "image_processor_type": "CLIPImageProcessor",
    "image_std": list(OPENAI_STD),
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 32},
}


def network_of(configuration: dict[str, Any]) -> "open_clip.model.CLIP":
    torch.manual_seed(0)
    return build_of_open_clip(check(ModelConfiguration, to_open_clip(configuration, None, "x"), "x"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of such a model."""
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    state = to_transformers(network_of(CONFIGURATION).state_dict())
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Folder:
    (tmp_path / "model.safetensors").hardlink_to(saved)
    (tmp_path / "config.json").write_text(json.dumps(CONFIGURATION))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return tmp_path


@pytest.fixture
def change(folder: Folder) -> Callable[..., None]:
    """Change keys of a file of the folder; a dotted key lies within."""

    def write(name: str, **keys: object) -> None:
        path = folder / name
        data = json.loads(path.read_text())
        for dotted, value in keys.items():
            *outer, last = dotted.split("__")
            inner = data
            for key in outer:
                inner = inner[key]
            inner[last] = value
        path.write_text(json.dumps(data))

    return write


def told(folder: Folder, ask: Callable[[str], object] = load_backbone) -> str:
    with pytest.raises(UserError) as caught:
        ask(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def preprocessing_of(folder: Folder) -> Preprocessing:
    return read_configuration(folder / "config.json").preprocess_cfg.for_images_of(32, "x")


@pytest.mark.parametrize("notation", ["{}", "local-dir:{}"])
def test_a_folder_of_transformers_is_the_model_that_was_saved(folder: Folder, notation: str) -> None:
    clip, expected = load_backbone(notation.format(folder)), network_of(CONFIGURATION)
    state = expected.state_dict()
    assert torch.equal(clip.image.conv1.weight, state["visual.conv1.weight"])
    assert torch.equal(clip.text.text_projection, state["text_projection"])
    pixels, ids = torch.randn(2, 3, 32, 32), clip.tokenizer(["a cat"])
    with torch.no_grad():
        torch.testing.assert_close(clip.image.run(pixels), expected.eval().encode_image(pixels))
        torch.testing.assert_close(clip.text.run(ids), expected.encode_text(ids))
    image, text = clip.image.blocks[0], clip.text.blocks[0]
    assert (image.attn.num_heads, text.attn.num_heads, image.ln_1.eps, text.ln_1.eps) == (3, 4, 1e-5, 1e-4)
    assert (image.mlp.c_fc.out_features, text.mlp.c_fc.out_features) == (100, 72)
    assert {type(block.mlp.gelu).__name__ for block in (image, text)} == {"GELU"}
    assert clip.preprocessing == Preprocessing(32)
    assert clip.notices == ()
    assert build_without_weights(str(folder)).num_blocks == 2
    names = ("model.safetensors", "config.json", "preprocessor_config.json")
    assert files_of(notation.format(folder)) == (None, tuple(folder / name for name in names))


def test_the_configuration_of_openais_model_is_open_clips() -> None:
    vision = {"patch_size": 16, "hidden_act": "quick_gelu"}
    found = check(
        ModelConfiguration, to_open_clip({"model_type": "clip", "vision_config": vision}, None, "x"), "x"
    ).model_dump()
    expected = model_config("ViT-B-16-quickgelu").model_dump()
    assert found == expected


def test_the_older_form_of_the_towers_wins_as_in_transformers(folder: Folder, change: Callable[..., None]) -> None:
    change("config.json", text_config_dict={"hidden_act": "quick_gelu"}, vision_config_dict=None)
    assert "different activations, text quick_gelu and images gelu" in told(folder)
    change("config.json", vision_config_dict={"hidden_act": "quick_gelu"}, text_config=None)
    with pytest.raises(UserError, match=r"does not fit its model"):
        load_backbone(str(folder))
    assert read_configuration(folder / "config.json").quick_gelu


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "siglip"},
            "'siglip', and only folders of CLIPModel are read: name the model, BACKBONE=ViT-B-16-",
        ),
        ({"model_type": None}, "is of transformers' None"),
        ({"text_config__hidden_act": "relu"}, "hidden_act 'relu' is not supported: quick_gelu, gelu,"),
        ({"text_config__hidden_act": "quick_gelu"}, "different activations, text quick_gelu and images gelu"),
        ({"text_config__num_attention_heads": 5}, "text_config.hidden_size 32 is no multiple of num_attention_heads 5"),
        ({"text_config__hidden_size": "32"}, "'text_config.hidden_size': input should be a valid integer, not '32'"),
        ({"text_config__eos_token_id": 7}, "texts end with the token 7, those of CLIP's own tokenizer with 49407"),
        ({"vision_config__num_channels": 4}, "'vision_config.num_channels'"),
        ({"vision_config__image_size": 40}, "the image tower takes 40: one size is supported"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_one_line(
    folder: Folder, change: Callable[..., None], changes: dict[str, object], message: str
) -> None:
    change("config.json", **changes)
    assert message in told(folder, parse_backbone), "before weights are read"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config__vocab_size": 100}, "has 49408 tokens, and text_cfg.vocab_size is 100"),
        ({"vision_config__num_hidden_layers": 3}, "of its tensors are missing ('visual.transformer.resblocks.2."),
        ({"projection_dim": 25}, "'visual.proj' is 48x24 and should be 48x25"),
    ],
)
def test_weights_of_other_shapes_than_the_configuration_says_are_one_line(
    folder: Folder, change: Callable[..., None], changes: dict[str, object], message: str
) -> None:
    change("config.json", **changes)
    assert message in told(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Preprocessing(32)),
        ({"size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor"}, Preprocessing(32)),
        ({"resample": 2, "image_mean": HALF, "image_std": HALF}, Preprocessing(32, (0.5,) * 3, (0.5,) * 3, "bilinear")),
        ({"size": {"height": 32, "width": 32}, "do_center_crop": False}, Preprocessing(32, resize_mode="squash")),
        ({"do_normalize": False}, Preprocessing(32, (0.0,) * 3, (1.0,) * 3)),
        ({"image_mean": None, "image_std": None}, Preprocessing(32)),
    ],
)
def test_the_image_processor_is_followed(
    folder: Folder, change: Callable[..., None], changes: dict[str, object], expected: Preprocessing
) -> None:
    change("preprocessor_config.json", **changes)
    assert preprocessing_of(folder) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_processor_type": "ViTImageProcessor"}, "is a 'ViTImageProcessor': of transformers' only CLIPImage"),
        ({"size": {"shortest_edge": 36}}, "resizes to 36 pixels and crops 32, and the image tower takes 32"),
        ({"crop_size": {"height": 32, "width": 40}}, "crops None, and the image tower takes 32"),
        ({"size": {"height": 32, "width": 40}}, "resizes to None pixels"),
        ({"do_center_crop": False}, "and crops nothing, and the image tower takes 32"),
        ({"resample": 0}, "says resample 0: 2 (bilinear) and 3 (bicubic) are supported"),
        ({"do_rescale": False}, "says do_rescale false"),
        ({"rescale_factor": 1.0}, "says rescale_factor 1.0"),
        ({"image_mean": [0.5]}, "'image_mean"),
    ],
)
def test_what_an_image_processor_does_that_cannot_be_followed_is_one_line(
    folder: Folder, change: Callable[..., None], changes: dict[str, object], message: str
) -> None:
    change("preprocessor_config.json", **changes)
    assert message in told(folder, parse_backbone)


def test_the_processor_of_transformers_5_and_none(folder: Folder) -> None:
    processor = json.loads((folder / "preprocessor_config.json").read_text()) | {"resample": 2}
    (folder / "preprocessor_config.json").unlink()
    assert preprocessing_of(folder) == Preprocessing(32)
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    assert preprocessing_of(folder) == Preprocessing(32, interpolation="bilinear")
    assert folder / "processor_config.json" in files_of(str(folder))[1]


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer.json"])
def test_only_clips_own_vocabulary_is_accepted(folder: Folder, name: str) -> None:
    vocabulary = dict(SimpleTokenizer().encoder)
    for ours, theirs in (("<start_of_text>", "<|startoftext|>"), ("<end_of_text>", "<|endoftext|>")):
        vocabulary[theirs] = vocabulary.pop(ours)

    def write(tokens: dict[str, int]) -> None:
        (folder / name).write_text(json.dumps({"model": {"vocab": tokens}} if name[0] == "t" else tokens))

    write(vocabulary)
    refuse_other_vocabulary(folder)
    write(vocabulary | {"cat</w>": 5})
    assert "is not CLIP's: 1 of CLIP's 49408 tokens have another number or none" in told(folder)
    (folder / name).write_text("[]")
    with pytest.raises(UserError, match="is a list, not an object of tokens and numbers"):
        refuse_other_vocabulary(folder)


@pytest.fixture
def sharded(folder: Folder) -> Folder:
    """The same model in two files and an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    places = {name: f"model-0000{1 + (number % 2)}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: state[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_weights_in_several_files_are_one_model(sharded: Folder) -> None:
    state, clip = network_of(CONFIGURATION).state_dict(), load_backbone(str(sharded))
    assert torch.equal(clip.image.proj, state["visual.proj"])
    np.testing.assert_array_equal(clip.text.ln_final.bias, state["ln_final.bias"])
    files = [path.name for path in files_of(str(sharded))[1]]
    assert files == [
        "model.safetensors.index.json",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "preprocessor_config.json",
    ]


def test_what_is_wrong_with_weights_in_several_files_is_one_line(sharded: Folder) -> None:
    index = sharded / "model.safetensors.index.json"
    whole = json.loads(index.read_text())
    second = sharded / "model-00002-of-00002.safetensors"
    save_file({"logit_scale": torch.ones(())}, sharded / "other.safetensors")
    for weight_map, message in (
        (
            whole["weight_map"] | {"logit_scale": "../x.safetensors"},
            "names the file '../x.safetensors', which is not in",
        ),
        (whole["weight_map"] | {"more": second.name}, "holds 1 tensors that it does not hold ('more')"),
        ({"logit_scale": 3}, "has no weight_map from names of tensors to files"),
        ({"logit_scale": "other.safetensors"}, "does not fit its model"),
    ):
        index.write_text(json.dumps({"weight_map": weight_map}))
        assert message in told(sharded)
    index.write_text(json.dumps(whole))
    second.unlink()
    assert "names 2 files of weights, and 1 of them are missing, such as 'model-00002-of-00002" in told(sharded)
    index.unlink()
    assert "has 'model-00001-of-00002.safetensors', a part of weights in several files, and not their index" in told(
        sharded
    )


def test_the_attention_of_transformers_is_that_of_open_clip() -> None:
    """Queries, keys and values, each with a projection of its own as transformers has them, give the same output."""
    torch.manual_seed(0)
    x, parts = torch.randn(1, 5, 8), {part: (torch.randn(8, 8), torch.randn(8)) for part in ("q", "k", "v", "out")}
    prefix = "text_model.encoder.layers.0.self_attn."
    named = {f"{prefix}{part}_proj.weight": weight for part, (weight, _) in parts.items()}
    converted = names_to_open_clip(named | {f"{prefix}{part}_proj.bias": bias for part, (_, bias) in parts.items()})
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    attention.load_state_dict({name.removeprefix("transformer.resblocks.0.attn."): t for name, t in converted.items()})
    q, k, v = (F.linear(x, *parts[part]).view(1, 5, 2, 4).transpose(1, 2) for part in "qkv")
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 5, 8)
    torch.testing.assert_close(attention(x, x, x)[0], F.linear(mixed, *parts["out"]))
