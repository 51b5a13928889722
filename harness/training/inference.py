"""The steps of a method outside of a training step, in the arithmetic of a precision.

Evaluation, the caching pass, the benchmark of the speed-ups and the estimate all use these.
"""

import torch
from torch import Tensor

from harness.clip.prompts import Prompts
from harness.clip.towers import CLIP, END, POOLED, RAW, Stage
from harness.training.precision import autocast
from methods.base import Method


@torch.no_grad()
def run_frozen(clip: CLIP, pixels: Tensor, stage: Stage, precision: str) -> Tensor:
    """Run the image tower's frozen stages: pixels (B, 3, H, W) -> images at `stage`."""
    with autocast(precision, clip.device):
        return clip.image.run(pixels, RAW, stage)


@torch.no_grad()
def project_pooled(clip: CLIP, pooled: Tensor, precision: str) -> Tensor:
    """Image features (B, D) at POOLED -> embeddings (B, E), as `run_frozen` computes them from pixels."""
    with autocast(precision, clip.device):
        return clip.image.run(pooled, POOLED, END)


def set_classes(method: Method, prompts: Prompts, precision: str) -> None:
    """Set the classes of a method, which runs the frozen stages of their texts.

    Raises:
        OtherClassesError: the method cannot be used for these classes.
    """
    with autocast(precision, method.clip.device):
        method.set_classes(prompts)


@torch.no_grad()
def encode_texts(method: Method, precision: str) -> Tensor:
    """What `classify` needs of the classes that are set: the method's `text_features()`, for most (C, E)."""
    with autocast(precision, method.clip.device):
        return method.text_features()


@torch.no_grad()
def classify(method: Method, pixels: Tensor, text: Tensor, precision: str) -> Tensor:
    """Logits (B, C), float32, of pixels (B, 3, H, W), given what `encode_texts` returned."""
    with autocast(precision, method.clip.device):
        return method.logits(method.clip.image.run(pixels, RAW, method.image_start), text).float()


@torch.no_grad()
def classify_features(method: Method, x: Tensor, text: Tensor, precision: str) -> Tensor:
    """Logits (B, C), float32, of images at the method's `image_start`, given what `encode_texts` returned."""
    with autocast(precision, method.clip.device):
        return method.logits(x, text).float()
