"""A SigLIP with random weights and small towers, as the hub stores models, with a tokenizer of its own."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from harness.clip.configuration import ModelConfiguration, read_configuration
from harness.clip.hub_tokenizer import stand_in_tokenizer
from harness.clip.load import build, wrap
from harness.clip.towers import CLIP

CONFIGURATION = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 12,
        "vocab_size": 500,
        "hf_tokenizer_name": "somebody/small-siglip",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 6,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
        "act_kwargs": {"approximate": "tanh"},
    },
}
PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def write_configuration(folder: Path, **changes: Any) -> Path:
    """Write open_clip_config.json, with some values of the model changed, and return its path."""
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": CONFIGURATION | changes, "preprocess_cfg": PREPROCESSING}))
    return path


def small_network(config: ModelConfiguration) -> Any:
    """The model of open_clip with the same random weights every time, biases and norms among them."""
    torch.manual_seed(0)
    network = build(config)
    for parameter in network.parameters():
        if parameter.dim() < 2 and parameter.dim() > 0:
            parameter.data += torch.randn_like(parameter) * 0.1
    return network.eval().requires_grad_(False)


def small_siglip(folder: Path) -> tuple[CLIP, Any]:
    """Our CLIP with a tokenizer that stands in, and the model of open_clip that it was made of."""
    config = read_configuration(write_configuration(folder))
    network = small_network(config)
    clip = wrap(network, stand_in_tokenizer(config.text_cfg), "small-siglip", config.preprocess_cfg)
    return clip.eval().requires_grad_(False), network


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """Write a tokenizer.json that knows some words, and the names of its special tokens."""
    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *words])}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    tokenizer = {"version": "1.0", **empty, "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "pad_token": {"content": "</s>"}}))


def write_snapshot(folder: Path, words: list[str]) -> Path:
    """Write a whole snapshot, with random weights, and return its folder."""
    network = small_network(read_configuration(write_configuration(folder)))
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    write_tokenizer(folder, words)
    return folder
