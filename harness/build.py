"""A backbone, and a method on it, as a precision stores them: one way for runs, measurements and tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from harness.clip.load import load_backbone
from harness.clip.towers import CLIP
from harness.errors import UserError
from harness.precision import autocast, store_clip, store_method
from harness.registry import method_class
from methods.base import Method


def build_clip(backbone: str, precision: str, device: torch.device) -> CLIP:
    """A frozen CLIP on a device, its weights as the precision stores them.

    Raises:
        UserError: the backbone cannot be loaded.
    """
    return store_clip(load_backbone(backbone), precision).to(device)


def build_method(
    clip: CLIP,
    name: str,
    options: Mapping[str, Any],
    texts: Sequence[str],
    precision: str,
    seed: int,
    cache_text: bool = True,
) -> Method:
    """A method for the classes that it trains on, on the device of its CLIP.

    Args:
        clip: as `build_clip` stores it for this precision.
        name: of the method.
        options: the method's own.
        texts: C prompts, one a class.
        precision: fp32, bf16, fp16 or half.
        seed: of what the method draws.
        cache_text: False runs the frozen text stages again at every use.

    Raises:
        UserError: the options do not fit the backbone.
    """
    cls = method_class(name)
    config = cls.Config(**options)
    try:
        cls.check(config, clip.num_blocks)
    except ValueError as error:
        raise UserError(f"{name}.{error} (backbone {clip.name})") from None
    prompts = clip.tokenize(list(texts))
    # Every source of chance has its own seed: what the method draws does not depend on how the backbone was made.
    torch.manual_seed(seed)
    with autocast(precision, clip.device):
        method = cls(clip, config, prompts, cache_text=cache_text)
    return store_method(method, precision).to(clip.device)
