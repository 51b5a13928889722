"""Checkpoints as others write them: prefixes, formats, folders of a hub; and what is told where one does not fit."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.clip.activation import doubt_about_activation
from harness.clip.backbones import blocks_of, files_of, model_config, parse_backbone
from harness.clip.checkpoints import read_checkpoint
from harness.clip.load import build, build_without_weights, load_backbone, openai_config
from harness.clip.tokenizer import local_tokenizer
from harness.errors import UserError
from tests.transformers_state import to_transformers

State = dict[str, Tensor]


def told(text: str) -> str:
    """The one line that loading a backbone ends with."""
    with pytest.raises(UserError) as caught:
        load_backbone(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def state(tiny: Path) -> State:
    return load_file(tiny)


@pytest.fixture
def save(tiny: Path, tmp_path: Path) -> Callable[..., str]:
    """Save something as a checkpoint with the configuration of the tiny backbone beside it."""
    shutil.copy(tiny.parent / "bpe_4k.txt.gz", tmp_path)

    def write(content: object, name: str = "x.pt", configured: bool = True) -> str:
        path = tmp_path / name
        torch.save(content, path)
        if configured:
            shutil.copy(tiny.with_suffix(".json"), path.with_suffix(".json"))
        return str(path)

    return write


def assert_same(text: str, tiny: Path) -> None:
    ours, expected = load_backbone(text).state_dict(), load_backbone(str(tiny)).state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "clip_model.",
        "clip.",
        "module._orig_mod.model.",
        "model.clip_model.",
        "model.module.clip_model._orig_mod.",
        "net.backbone.",
        "student.",
    ],
)
def test_prefixes_of_wrappers_are_removed(state: State, save: Callable[..., str], tiny: Path, prefix: str) -> None:
    assert_same(save({prefix + name: tensor for name, tensor in state.items()}), tiny)


def test_wrappers_of_parts_and_constants_are_removed(state: State, save: Callable[..., str], tiny: Path) -> None:
    renamed = {name.replace("transformer.", "transformer._orig_mod.", 1): tensor for name, tensor in state.items()}
    assert_same(save({"model": renamed | {"attn_mask": torch.zeros(3)}, "epoch": 3}), tiny)


def test_what_lies_beside_the_clip_is_left_out_and_said(state: State, save: Callable[..., str], tiny: Path) -> None:
    """A LightningModule's own tensors: of a loss, of metrics, a logit scale that it shares with the CLIP."""
    beside = {"loss.scale": torch.ones(1), "logit_scale": torch.ones(()), "metric.total": torch.zeros(1)}
    path = save({"state_dict": {f"model.{name}": tensor for name, tensor in state.items()} | beside}, "x.ckpt")
    assert_same(path, tiny)
    (notice,) = load_backbone(path).notices
    assert notice.endswith(
        "3 tensors of the file are no part of the CLIP and are left out ('loss.scale', 'logit_scale', 'metric.total')"
    )


def test_a_file_of_two_clips_is_refused(state: State, save: Callable[..., str]) -> None:
    both = {f"{place}{name}": tensor for place in ("student.", "teacher.") for name, tensor in state.items()}
    message = told(save(both))
    assert "holds 2 CLIPs, under 'student.' and 'teacher.': save the state_dict of the one that is meant" in message


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("visual.transformer.resblocks.0.attn.in_proj_weight.lora_A", "LoRA's matrices: merge them into the weights"),
        ("model.image_encoder.conv1.weight", "left out"),
    ],
)
def test_tensors_of_methods_are_named(state: State, save: Callable[..., str], extra: str, message: str) -> None:
    prefix = "model." if message == "left out" else ""
    renamed = {("clip." if prefix else "") + name: tensor for name, tensor in state.items()}
    path = save(renamed | {extra: torch.zeros(2)})
    if prefix:
        assert message in load_backbone(path).notices[0]
    else:
        assert message in told(path)


def test_a_name_that_only_some_tensors_begin_with_is_no_prefix(state: State, save: Callable[..., str]) -> None:
    some = {("module." if "ln_final" in name else "") + name: tensor for name, tensor in state.items()}
    message = told(save(some))
    assert "2 of its tensors are missing ('ln_final.weight', 'ln_final.bias')" in message
    assert "2 of its tensors are unexpected ('module.ln_final." in message
    assert "holds a tensor twice" in told(save(state | {"_orig_mod.logit_scale": state["logit_scale"]}))


@pytest.mark.parametrize("name", ["x.ckpt", "model.pth.tar", "model.pth.tar-5", "x.bin", "x.pth", "no_ending"])
def test_endings_of_training_scripts(state: State, save: Callable[..., str], tiny: Path, name: str) -> None:
    assert_same(save({"state_dict": state, "epoch": 5, "optimizer": {"lr": 0.1}}, name), tiny)


def test_prompts_of_coop_are_no_clip(save: Callable[..., str]) -> None:
    prompts = {"state_dict": {"prompt_learner.ctx": torch.zeros(16, 512)}, "epoch": 5}
    message = told(save(prompts, "model.pth.tar-5", configured=False))
    assert "does not hold a CLIP of a ViT" in message
    assert "'prompt_learner.ctx'; these are names of CoOp's prompts, which are no CLIP" in message
    assert "are missing ('positional_embedding', 'text_projection'" in told(f"ViT-B-16-quickgelu:{save(prompts)}")


def test_prompts_beside_objects_of_dassl_are_no_clip(save: Callable[..., str]) -> None:
    """Dassl's warm-up keeps a scheduler in the file, so that the file is not read, and only its pickle is looked at."""
    scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1), 1)
    prompts = {"ctx": torch.zeros(4, 32), "token_prefix": torch.zeros(3, 1, 32), "token_suffix": torch.zeros(3, 5, 32)}
    content = {"state_dict": prompts, "epoch": 50, "scheduler": {"successor": scheduler}, "val_result": None}
    path = save(content, "model.pth.tar-50", configured=False)
    for text in (path, f"ViT-B-16-quickgelu:{path}"):
        assert f"checkpoint '{path}' holds the prompts that CoOp's code learned" in told(text)
    other = save(content | {"state_dict": {"w": torch.zeros(1)}}, "model.pth.tar-51", configured=False)
    message = told(other)
    assert "contains more than tensors (torch.optim.lr_scheduler.StepLR" in message
    assert message.endswith("save its state_dict as .safetensors and give that file")


def test_a_part_of_a_resnet_is_called_one(save: Callable[..., str]) -> None:
    resnet = {"visual.conv1.weight": torch.zeros(64, 3, 3, 3), "visual.layer1.0.conv1.weight": torch.zeros(1)}
    message = told(save(resnet, "rn50.pt", configured=False))
    assert "does not hold a CLIP of a ResNet" in message
    assert "these are names of a CLIP with a ResNet" in message
    assert "ViT" not in message


def test_a_plain_state_dict_is_told_the_models_that_it_fits(save: Callable[..., str]) -> None:
    with torch.device("meta"):
        shapes = build(model_config("ViT-B-32")).state_dict()
    path = save({name: torch.zeros(()).expand(tensor.shape) for name, tensor in shapes.items()}, configured=False)
    message = told(path)
    assert f"name the model (BACKBONE=ViT-B-32:{path} or BACKBONE=ViT-B-32-quickgelu:{path}; -quickgelu for" in message
    assert "Its shapes are those of ViT-B-32 and ViT-B-32-quickgelu." in told(f"ViT-B-16:{path}")


def test_missing_unexpected_and_misshaped_tensors_are_counted_and_named(state: State, save: Callable[..., str]) -> None:
    wrong = dict(state)
    del wrong["logit_scale"]
    wrong["extra"] = torch.zeros(1)
    wrong["text_projection"] = torch.zeros(3, 4)
    wrong["ln_final.bias"] = torch.zeros(32, dtype=torch.int64)
    message = told(save(wrong))
    for part in (
        "1 of its tensors are missing ('logit_scale')",
        "1 of its tensors are unexpected ('extra')",
        "1 of its tensors are of another shape ('text_projection' is 3x4 and should be 32x32)",
        "1 of its tensors are without floating-point numbers ('ln_final.bias' is int64)",
    ):
        assert part in message


@pytest.mark.parametrize("name", ["visual.proj", "logit_scale", "transformer.resblocks.1.mlp.c_fc.bias"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(state: State, save: Callable[..., str], name: str, value: float) -> None:
    state[name].view(-1)[-1] = value
    path = save(state)
    message = told(path)
    assert message.startswith(f"checkpoint '{path}': 1 tensors hold NaN or infinity (")
    assert name.removeprefix("visual.") in message


def test_names_of_transformers_are_converted_exactly(state: State, save: Callable[..., str], tiny: Path) -> None:
    theirs = to_transformers(state)
    assert len(theirs) == len(state) + 1 + 4 * 4
    assert_same(save(theirs), tiny)
    del theirs["text_model.encoder.layers.0.self_attn.k_proj.weight"]
    assert "'transformer.resblocks.0.attn.in_proj_weight' is 64x32 and should be 96x32" in told(save(theirs))
    del theirs["vision_model.embeddings.class_embedding"]
    theirs["vision_model.more"] = torch.zeros(1)
    message = told(save(theirs))
    assert "1 of its tensors are missing ('visual.class_embedding')" in message
    assert "these are names of transformers' models" in message


@pytest.fixture
def snapshot(tiny: Path, tmp_path: Path) -> Path:
    """A folder as open_clip's hub stores the tiny model."""
    folder = tmp_path / "snapshot"
    folder.mkdir()
    config = json.loads(tiny.with_suffix(".json").read_text())
    preprocess = config.pop("preprocess_cfg") | {"size": 16, "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    shutil.copy(tiny.parent / "bpe_4k.txt.gz", folder)
    torch.save(load_file(tiny), folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.mark.parametrize("notation", ["{}", "local-dir:{}"])
def test_a_folder_of_the_hub(snapshot: Path, tiny: Path, notation: str) -> None:
    text = notation.format(snapshot)
    assert_same(text, tiny)
    clip = load_backbone(text)
    assert (clip.name, clip.preprocessing.resize_mode, clip.mean) == (text, "squash", (0.75, 0.75, 0.75))
    assert blocks_of(parse_backbone(text)) == build_without_weights(text).num_blocks == 2
    names = ["open_clip_pytorch_model.bin", "open_clip_config.json", "bpe_4k.txt.gz"]
    assert files_of(text) == (None, tuple(snapshot / name for name in names))
    # A model.safetensors may be transformers'; open_clip's own file comes first, in open_clip's order.
    save_file({"other": torch.zeros(1)}, snapshot / "model.safetensors")
    assert_same(text, tiny)
    shutil.copy(tiny, snapshot / "open_clip_model.safetensors")
    assert parse_backbone(text).checkpoint == snapshot / "open_clip_model.safetensors"


def test_folders_that_are_no_model(snapshot: Path, tmp_path: Path) -> None:
    weights = snapshot / "open_clip_pytorch_model.bin"
    weights.rename(snapshot / "epoch_32.pt")
    assert parse_backbone(str(snapshot)).checkpoint == snapshot / "epoch_32.pt", "the only one"
    (snapshot / "epoch_31.pt").touch()
    assert "has 2 files of weights (epoch_31.pt, epoch_32.pt) and none of the usual names" in told(str(snapshot))
    for path in snapshot.glob("*.pt"):
        path.unlink()
    (snapshot / "model-00002-of-00003.safetensors").touch()
    expected = "a part of weights in several files, and not their index, model.safetensors.index.json: copy"
    assert expected in told(str(snapshot))
    (snapshot / "model-00002-of-00003.safetensors").unlink()
    (snapshot / "README.md").symlink_to(tmp_path / "blobs" / "gone")
    assert "has none of the weights open_clip_model.safetensors" in told(str(snapshot))
    weights.symlink_to(tmp_path / "blobs" / "gone")
    assert "open_clip_pytorch_model.bin' is a link to a file that is not there: download it" in told(str(snapshot))
    assert "has no open_clip_config.json and no config.json" in told(str(tmp_path))
    assert "does not exist" in told("local-dir:/nowhere")
    assert "is a folder" in told(f"ViT-B-16:{tmp_path}")


def test_doubts_about_the_activation_of_a_plain_state_dict() -> None:
    # OpenAI's files keep embeddings of tokens in fp32, whose values are not exact in fp16.
    openai = {"visual.proj": torch.tensor([0.5, 1 / 4]), "token_embedding.weight": torch.tensor([1 / 3])}
    openai["logit_scale"] = torch.tensor(math.log(100))
    other = openai | {"visual.proj": torch.tensor([1 / 3])}
    assert doubt_about_activation("ViT-B-16-quickgelu", openai) is None
    expected = "if these weights were trained with QuickGELU, use 'ViT-B-16-quickgelu'."
    assert str(doubt_about_activation("ViT-B-16", other)).endswith(expected)
    assert "as in OpenAI's weights, which need QuickGELU" in str(doubt_about_activation("ViT-B-16", openai))
    for unlike in (other, openai | {"logit_scale": torch.tensor(4.5)}, {"visual.proj": torch.tensor([0.5])}):
        message = str(doubt_about_activation("ViT-B-16-quickgelu", unlike))
        assert message.endswith("if these weights were trained with GELU, use 'ViT-B-16'.")
    assert "put an open_clip configuration beside it" in str(doubt_about_activation("ViT-S-32", other))


def test_only_a_named_plain_state_dict_is_doubted(
    state: State, save: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_backbone(save(state)).notices == ()
    monkeypatch.setattr("harness.clip.load.model_config", lambda name: openai_config(openai_like))
    openai_like = open_clip.CLIP(
        32,
        {"layers": 1, "width": 64, "patch_size": 8, "image_size": 16},
        {"context_length": 20, "width": 64, "heads": 1, "layers": 1, "vocab_size": 49408},
    ).state_dict()
    path = save(openai_like, "plain.pt", configured=False)
    (notice,) = load_backbone(f"ViT-B-16:{path}").notices
    assert notice.startswith(f"backbone ViT-B-16:{path}: a state dict does not say which activation")


def test_heads_of_openais_models_follow_from_their_width() -> None:
    for name, image_heads, text_heads in (("ViT-B-32", 12, 8), ("ViT-L-14", 16, 12), ("ViT-L-14-336", 16, 12)):
        with torch.device("meta"):
            expected = build(model_config(f"{name}-quickgelu"))
            found = build(openai_config(expected.state_dict()))
        for network in (expected, found):
            assert network.visual.transformer.resblocks[0].attn.num_heads == image_heads
            assert network.transformer.resblocks[0].attn.num_heads == text_heads
            assert type(network.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
        assert found.visual.image_size == expected.visual.image_size
        assert found.state_dict().keys() == expected.state_dict().keys()


def test_the_whole_configuration_reaches_the_towers(state: State, save: Callable[..., str]) -> None:
    path = Path(save(state))
    config = json.loads(path.with_suffix(".json").read_text())
    config["quick_gelu"] = True
    config["vision_cfg"] |= {"norm_kwargs": {"eps": 0.25}, "head_width": 8}
    config["text_cfg"] |= {"norm_kwargs": {"eps": 0.5}, "heads": 4, "context_length": 20}
    path.with_suffix(".json").write_text(json.dumps(config))
    clip = load_backbone(str(path))
    image, text = clip.image.blocks[0], clip.text.blocks[0]
    assert (image.ln_1.eps, text.ln_1.eps, clip.text.ln_final.eps) == (0.25, 0.5, 0.5)
    assert (image.attn.num_heads, text.attn.num_heads) == (4, 4)
    assert {type(block.mlp.gelu).__name__ for block in (image, text)} == {"QuickGELU"}
    assert clip.tokenizer(["a"]).shape == (1, 20)
    assert not any(module.training for module in clip.modules())


def test_a_vocabulary_larger_than_the_text_tower_is_refused(state: State, save: Callable[..., str]) -> None:
    path = Path(save(state))
    config = json.loads(path.with_suffix(".json").read_text())
    config["text_cfg"]["tokenizer_kwargs"] = {}
    path.with_suffix(".json").write_text(json.dumps(config))
    assert "asks for, has 49408 tokens, and text_cfg.vocab_size is 4096" in told(str(path))
    config["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": "vocabulary.gz"}
    path.with_suffix(".json").write_text(json.dumps(config))
    assert "vocabulary.gz' does not exist" in told(str(path))
    path.with_name("vocabulary.gz").write_text("{}")
    assert "cannot be read as a vocabulary of CLIP" in told(str(path))


def test_tokenizers_of_names_are_open_clips() -> None:
    texts = ["a photo of a Cat.", "caf\u00e9   naïve"]
    for name in ("ViT-B-16", "ViT-S-32-alt"):
        assert torch.equal(local_tokenizer(model_config(name).text_cfg)(texts), open_clip.get_tokenizer(name)(texts))


def test_archives_of_torchscript(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "archive.pt"
    network = build_without_weights(str(tiny)).image
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(network.transformer.resblocks[0].mlp.half(), torch.ones(1, 32).half()), path)
    read = read_checkpoint(path)
    expected = torch.jit.load(path).state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)
