"""Vectors of an official implementation, and what its names mean here.

A folder of vectors holds one backbone, shared inputs and, for every method, a JSON description and its tensors.
"""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.clip.load import build, openai_config, wrap
from harness.clip.towers import CLIP
from harness.errors import UserError
from harness.experiment.registry import method_class, method_names
from methods.base import Method, Official


class Vectors:
    """The description and the tensors of one method.

    Args:
        description: the JSON file.

    Attributes:
        name: of the file, such as `skip_tuning`.
        about: the description.
        tensors: name -> tensor, those of the method alone.
        train_images: pixels (batches, B, 3, H, W).
        train_labels: (batches, B).
        eval_images: pixels (N, 3, H, W).
        backbone: file of its weights.
    """

    def __init__(self, description: Path) -> None:
        self.name = description.stem
        self.about: dict[str, Any] = json.loads(description.read_text())
        self.tensors = load_file(description.parent / self.about["files"]["tensors"])
        inputs = load_file(description.parent / self.about["files"]["inputs"])
        self.train_images, self.eval_images = inputs["train_images"], inputs["eval_images"]
        self.train_labels = self.tensors.get("train_labels", inputs["train_labels"])
        self.backbone = description.parent / self.about["files"]["backbone"]

    def noise(self, quantity: str) -> float:
        """Largest difference that other CPU kernels made to a quantity of the official code."""
        return float(self.about.get("kernel_noise_max_abs", {}).get(quantity, 0.0))

    def stage_atol(self) -> float:
        """Absolute tolerance of activations and features."""
        return 1e-5 + 4 * self.noise("cache")

    def trained(self) -> list[str]:
        """Official names of the trained tensors that take part in the loss."""
        return [row["name"] for row in self.about["trainable"] if row["has_gradient"]]


def load_tiny_clip(vectors: Vectors) -> CLIP:
    """The backbone of some vectors; its file has OpenAI's names and only the non-zero rows of the token embedding."""
    state = load_file(vectors.backbone)
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    table = torch.zeros(open_clip.get_tokenizer("ViT-B-32").vocab_size, values.shape[1])
    table[rows] = values
    state["token_embedding.weight"] = table
    config = openai_config(state).model_copy(update={"quick_gelu": "QuickGELU" in vectors.about["activation"]})
    network = build(config)
    network.load_state_dict(state)
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=config.text_cfg.context_length)
    return wrap(network, tokenizer, vectors.backbone.stem).eval().requires_grad_(False)


def find_method(vectors: Vectors) -> type[Method] | None:
    """Our method for the official trainer of some vectors; None if we have none."""
    for name in method_names():
        cls = method_class(name)
        if cls.official and vectors.about["official_trainer"] in cls.official.trainers:
            return cls
    return None


def official_of(cls: type[Method]) -> Official:
    """The official names of a method that `find_method` returned."""
    assert cls.official
    return cls.official


def read_config(cls: type[Method], vectors: Vectors) -> Any:
    """Our options that correspond to the official ones.

    Raises:
        UserError: an official option for which we have no counterpart.
    """
    options = official_of(cls).options
    ours = {}
    for option, value in vectors.about["hyper"]["method_options"].items():
        section, _, name = option.rpartition(".")
        if section == "OPTIM":
            continue
        if name not in options:
            raise UserError(f"{vectors.name}.json: official option {option} has no counterpart in {cls.__name__}")
        ours[options[name]] = value
    return cls.Config(**ours)


def our_name(official: str, cls: type[Method]) -> str:
    """Our name of an official parameter."""
    tensors = official_of(cls).tensors
    if official in tensors:
        return tensors[official]
    prefixes = {"text_encoder.": "clip.text.", "image_encoder.": "clip.image."} | tensors
    for prefix, ours in prefixes.items():
        if prefix.endswith(".") and official.startswith(prefix):
            return ours + official.removeprefix(prefix)
    return official


def named_tensors(method: Method) -> dict[str, Tensor]:
    """Name -> parameter or buffer of a method."""
    return dict(method.named_parameters()) | dict(method.named_buffers())
