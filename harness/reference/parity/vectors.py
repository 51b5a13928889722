"""Vectors of an official implementation: what it was given, and what it computed.

A folder of vectors holds one backbone, shared inputs and, for every method, a JSON description and its tensors.
"""

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.clip.load import build, openai_config, wrap
from harness.clip.towers import CLIP
from harness.errors import first_line
from harness.reference.parity.description import Description, incomplete, read_description

CPU = torch.device("cpu")


class Vectors:
    """The description and the tensors of one method.

    Args:
        description: the JSON file.
        device: where its tensors will be, and where they are replayed.

    Attributes:
        name: of the file, such as `skip_tuning`.
        file: the JSON file.
        about: the description.
        tensors: name -> tensor, those of the method alone.
        train_images: pixels (batches, B, 3, H, W).
        train_labels: (batches, B).
        eval_images: pixels (N, 3, H, W).
        backbone: file of its weights.

    Raises:
        UserError: the files are damaged or incomplete.
    """

    def __init__(self, description: Path, device: torch.device = CPU) -> None:
        self.name = description.stem
        self.file = description
        self.device = device
        self.about: Description = read_description(description)
        self.backbone = description.parent / self.about.files.backbone
        self.tensors = self._load(self.about.files.tensors)
        inputs = self._load(self.about.files.inputs)
        labels = self.tensors.get("train_labels", inputs.get("train_labels"))
        images, tested = inputs.get("train_images"), inputs.get("eval_images")
        if images is None or tested is None or labels is None:
            raise incomplete(description, "KeyError: train_images, train_labels or eval_images is missing")
        self.train_images, self.train_labels, self.eval_images = images, labels, tested
        self._check_shapes()

    def _load(self, name: str) -> dict[str, Tensor]:
        try:
            return load_file(self.file.parent / name, device=str(self.device))
        except (OSError, ValueError, SafetensorError) as error:
            raise incomplete(self.file, f"{name}: {type(error).__name__} {first_line(error)}") from error

    def _check_shapes(self) -> None:
        """Raise UserError where tensors are not those that are described, or images and labels do not fit together."""
        for name, described in self.about.tensors.items():
            if name not in self.tensors:
                raise incomplete(self.file, f"KeyError: tensor {name} is missing")
            if list(self.tensors[name].shape) != described.shape:
                raise incomplete(
                    self.file, f"{name} has shape {list(self.tensors[name].shape)} and not {described.shape}"
                )
        shots, tested = self.train_images.shape[:2].numel(), len(self.eval_images)
        wanted: dict[str, tuple[Tensor | None, Sequence[int]]] = {
            "train_images": (self.train_images, (*self.train_images.shape[:2], *self.eval_images.shape[1:])),
            "train_labels": (self.train_labels, self.train_images.shape[:2]),
            "fs_labels": (self.tensors.get("fs_labels"), (shots,)),
            "eval_labels": (self.tensors.get("eval_labels"), (tested,)),
        }
        for name, (value, shape) in wanted.items():
            if value is None:
                continue
            if tuple(value.shape) != tuple(shape):
                raise incomplete(self.file, f"{name} has shape {tuple(value.shape)} and not {tuple(shape)}")
            # The shared labels are of more classes than a method with shots of its own uses.
            used = name in self.tensors or (name == "train_labels" and "fs_labels" not in self.tensors)
            if used and not 0 <= int(value.min()) <= int(value.max()) < len(self.about.prompts_base):
                raise incomplete(self.file, f"{name} holds labels beyond its {len(self.about.prompts_base)} classes")

    @property
    def is_first_form(self) -> bool:
        """Whether the file is of the first form, which knows no percentiles of the noise."""
        return self.about.kernel_noise_q99 is None

    def noise(self, name: str) -> float:
        """Largest difference that other CPU kernels made to a tensor, or else to its group, in the official code."""
        found, group = self.about.kernel_noise_max_abs, group_of(name)
        return found.get(name, found.get(group, found.get(group.partition(".")[0], 0.0)))

    def noise_q99(self, group: str) -> float:
        """99th percentile of the same differences over a group of tensors."""
        return (self.about.kernel_noise_q99 or {}).get(group, 0.0)

    def trained(self) -> list[str]:
        """Official names of the trained tensors that take part in the loss."""
        return [row.name for row in self.about.trainable if row.has_gradient]

    def shot_labels(self) -> Tensor:
        """Labels (N,) of all training images, flattened in order."""
        return self.tensors.get("fs_labels", self.train_labels.flatten()).long()


def group_of(name: str) -> str:
    """The name of a tensor without the number of its step: `train_logits` of `train_logits_b2`."""
    return re.sub(r"_b\d+$", "", name)


@cache
def _tokenizer(context_length: int | None = None) -> "open_clip.tokenizer.SimpleTokenizer":
    """OpenAI's tokenizer, whose vocabulary takes a while to read."""
    return open_clip.get_tokenizer("ViT-B-32", context_length=context_length)


def load_tiny_clip(vectors: Vectors) -> CLIP:
    """The backbone of some vectors, with their logit scale, on the CPU.

    Its file has OpenAI's names and only the non-zero rows of the token embedding.
    """
    state = load_file(vectors.backbone)
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    table = torch.zeros(_tokenizer().vocab_size, values.shape[1])
    table[rows] = values
    state["token_embedding.weight"] = table
    config = openai_config(state).model_copy(update={"quick_gelu": "QuickGELU" in vectors.about.activation})
    network = build(config)
    network.load_state_dict(state)
    tokenizer = _tokenizer(config.text_cfg.context_length)
    clip = wrap(network, tokenizer, vectors.backbone.stem).eval().requires_grad_(False)
    if vectors.about.hyper.logit_scale is not None:
        clip.logit_scale.fill_(math.log(vectors.about.hyper.logit_scale))
    return clip
