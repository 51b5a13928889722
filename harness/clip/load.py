"""Loads the CLIP of a backbone: with weights of open_clip, of a local checkpoint, or random ones."""

import json
import logging
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.clip.backbones import RANDOM, Backbone, existing_file, model_config, parse_backbone
from harness.clip.prompts import Tokenizer
from harness.clip.towers import CLIP
from harness.errors import UserError, first_line, nearest

# OpenAI's own checkpoints contain these entries besides the weights; no other format does.
OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")


def verify_tag(backbone: Backbone) -> None:
    """Check the pretrained tag of a backbone.

    Raises:
        UserError: open_clip has no such weights, or they were trained with another activation than the model's.
    """
    model, tag = backbone.model, backbone.tag
    if model is None or tag in (None, RANDOM):
        return
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        asked = f"has no pretrained tag '{tag}'" if ":" in backbone.text else "has no default weights"
        raise UserError(f"backbone '{model}' {asked}: write {model}:TAG.{nearest(str(tag), tags)}")
    refuse_wrong_activation(model, bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")), f"'{tag}' weights")


def refuse_wrong_activation(model: str, weights_use_quick_gelu: bool, weights: str) -> None:
    """Raise a UserError that names the right model if weights were trained with another activation than the model's.

    Args:
        model: open_clip model name.
        weights_use_quick_gelu: whether the weights were trained with QuickGELU.
        weights: what they are, for the message.
    """
    model_uses = bool(model_config(model).get("quick_gelu"))
    if model_uses == weights_use_quick_gelu:
        return
    right = model.removesuffix("-quickgelu") if model_uses else f"{model}-quickgelu"
    activation = "QuickGELU" if weights_use_quick_gelu else "plain GELU"
    raise UserError(
        f"backbone '{model}' would run {weights} with the wrong activation: they were trained with {activation}. "
        f"Use '{right}' instead."
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint without running code from the file.

    Args:
        path: of a safetensors file, a PyTorch file of tensors, or an OpenAI TorchScript archive.

    Returns:
        Name -> tensor, without the prefix that training wrappers add.

    Raises:
        UserError: the file is damaged, or contains pickled objects other than tensors.
    """
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        elif is_torchscript(path):
            state = torch.jit.load(path, map_location="cpu").state_dict()
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"checkpoint '{path}' cannot be read: {first_line(error)}") from error
    except Exception as error:  # weights_only refuses other objects with pickle.UnpicklingError and other errors
        raise UserError(
            f"checkpoint '{path}' contains more than tensors, and unpickling it could run code: "
            f"save its state_dict as .safetensors and give that file ({type(error).__name__})"
        ) from error
    state = state.get("state_dict", state)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"checkpoint '{path}' is not a state dict: expected names and tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, the format of OpenAI's downloads."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def load_backbone(text: str) -> CLIP:
    """Load a CLIP in fp32, in evaluation mode, with all weights frozen, on the CPU.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: a problem with the name, the file, the activation or the download that the user can correct.
    """
    backbone = parse_backbone(text)
    verify_tag(backbone)
    if backbone.checkpoint:
        clip = load_checkpoint(backbone, backbone.checkpoint)
    else:
        assert backbone.model
        clip = load_open_clip(backbone, backbone.model)
    return clip.float().eval().requires_grad_(False)


def fetch_weights(text: str) -> None:
    """Download the weights of a pretrained tag, unless they are on this machine or need no download.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: they are not on this machine and cannot be downloaded.
    """
    backbone = parse_backbone(text)
    verify_tag(backbone)
    if backbone.model is None or backbone.tag in (None, RANDOM):
        return
    # The hub's client logs every attempt; the error below says everything in one line.
    logging.disable(logging.CRITICAL)
    try:
        open_clip.download_pretrained(open_clip.get_pretrained_cfg(backbone.model, backbone.tag))
    except Exception as error:  # network, disk and hub errors come in many types
        raise UserError(
            f"the weights of '{text}' are not on this machine and cannot be downloaded ({type(error).__name__}): "
            f"connect to the network once, or use a checkpoint file with BACKBONE={backbone.model}:/path/to/file"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def load_open_clip(backbone: Backbone, model: str) -> CLIP:
    """Load an open_clip model by name, with the weights of the backbone's tag or with random ones."""
    if backbone.tag == RANDOM:
        return wrap(build(model_config(model)), open_clip.get_tokenizer(model), backbone.text, {})
    fetch_weights(backbone.text)
    network = open_clip.create_model(model, pretrained=backbone.tag)
    preprocess = open_clip.get_model_preprocess_cfg(network)
    return wrap(network, open_clip.get_tokenizer(model), backbone.text, preprocess)


def load_checkpoint(backbone: Backbone, path: Path) -> CLIP:
    """Load a local checkpoint; its architecture follows from a model name, a configuration file or its own shapes."""
    state = read_checkpoint(path)
    is_openai = any(entry in state for entry in OPENAI_ENTRIES)
    state = {name: value for name, value in state.items() if name not in OPENAI_ENTRIES}
    if backbone.model and is_openai:
        refuse_wrong_activation(backbone.model, True, "OpenAI's weights")
    config, tokenizer = named_architecture(backbone) or openai_architecture(path, state, is_openai)
    network = build(config)
    load_strictly(network, state, path)
    return wrap(network, tokenizer, backbone.text, config.get("preprocess_cfg", {}))


def build_without_weights(text: str) -> CLIP:
    """A frozen CLIP of a backbone's architecture, with newly initialised weights.

    Nothing is downloaded, and a checkpoint is read only if nothing else determines its architecture. Under fake tensors
    it takes no memory.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: unknown backbone, or a file that cannot be read.
    """
    backbone = parse_backbone(text)
    found = named_architecture(backbone)
    if found is None:
        assert backbone.checkpoint
        state = read_checkpoint(backbone.checkpoint)
        found = openai_architecture(backbone.checkpoint, state, any(entry in state for entry in OPENAI_ENTRIES))
    config, tokenizer = found
    clip = wrap(build(config), tokenizer, backbone.text, config.get("preprocess_cfg", {}))
    return clip.eval().requires_grad_(False)


def named_architecture(backbone: Backbone) -> tuple[dict[str, Any], Tokenizer] | None:
    """Configuration and tokenizer from a model name or a configuration file; None if the backbone has neither."""
    if backbone.model:
        return model_config(backbone.model), open_clip.get_tokenizer(backbone.model)
    assert backbone.checkpoint
    config_file = backbone.checkpoint.with_suffix(".json")
    if not config_file.is_file():
        return None
    config = json.loads(config_file.read_text())
    return config, local_tokenizer(config, config_file.parent)


def openai_architecture(path: Path, state: dict[str, Tensor], is_openai: bool) -> tuple[dict[str, Any], Tokenizer]:
    """Configuration and tokenizer of an OpenAI checkpoint, from the shapes of its weights.

    Raises:
        UserError: the checkpoint is not from OpenAI, so that its activation and heads are unknown; or it is no ViT.
    """
    if not is_openai:
        raise UserError(
            f"checkpoint '{path}' does not say which activation and heads it was trained with: name the model "
            f"(BACKBONE=ViT-B-16-quickgelu:{path} for OpenAI's weights), or put its open_clip configuration "
            f"next to it as {path.with_suffix('.json').name}"
        )
    try:
        return openai_config(state), open_clip.get_tokenizer("ViT-B-32")
    except KeyError as error:
        raise UserError(f"checkpoint '{path}' is not an OpenAI ViT CLIP: it has no {error}") from None


def build(config: dict[str, Any]) -> "open_clip.model.CLIP":
    """A plain open_clip CLIP of a configuration, in fp32, with random weights."""
    known = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu") if key in config}
    return open_clip.CLIP(**known)


def openai_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """OpenAI's architecture, from the shapes of its weights: QuickGELU, heads of width 64, MLPs of 4 x width.

    Raises:
        KeyError: the tensors are not those of a ViT CLIP.
    """

    def layers(prefix: str) -> int:
        return len({name.split(".")[0] for name in names_below(state, f"{prefix}transformer.resblocks.")})

    patch_width = state["visual.conv1.weight"].shape
    grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    context_length, text_width = state["positional_embedding"].shape
    return {
        "embed_dim": state["text_projection"].shape[1],
        "quick_gelu": True,
        "vision_cfg": {
            "layers": layers("visual."),
            "width": patch_width[0],
            "patch_size": patch_width[-1],
            "image_size": grid * patch_width[-1],
        },
        "text_cfg": {
            "context_length": context_length,
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": text_width // 64,
            "layers": layers(""),
        },
    }


def names_below(state: dict[str, Tensor], prefix: str) -> list[str]:
    """The names that begin with a prefix, without that prefix."""
    return [name.removeprefix(prefix) for name in state if name.startswith(prefix)]


def load_strictly(network: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load weights into a model.

    Raises:
        UserError: a name or shape does not fit.
    """
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise UserError(f"checkpoint '{path}' does not fit its model: {detail}") from error


def local_tokenizer(config: dict[str, Any], folder: Path) -> Tokenizer:
    """CLIP's BPE tokenizer with the vocabulary file and context length of a local configuration."""
    text = config.get("text_cfg", {})
    options = dict(text.get("tokenizer_kwargs", {}))
    if "bpe_path" in options:
        options["bpe_path"] = str(existing_file(str(folder / options["bpe_path"])))
    return partial(SimpleTokenizer(**options), context_length=text.get("context_length", 77))


def wrap(network: "open_clip.model.CLIP", tokenizer: Tokenizer, name: str, preprocess: dict[str, Any]) -> CLIP:
    """A CLIP of two towers of stages, from an open_clip model.

    Args:
        network: with its weights.
        tokenizer: of its text tower.
        name: in messages and results.
        preprocess: open_clip's configuration of the preprocessing; missing entries are OpenAI's.
    """
    mean = tuple(preprocess.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    std = tuple(preprocess.get("std") or open_clip.OPENAI_DATASET_STD)
    return CLIP(network, tokenizer, name, mean, std)
