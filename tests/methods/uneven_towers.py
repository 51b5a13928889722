"""A CLIP with random weights whose towers differ in everything: five blocks of width 96, and three of width 64."""

import torch

from harness.clip.backbones import bundled
from harness.clip.configuration import read_configuration
from harness.clip.load import build, load_backbone, wrap
from harness.clip.towers import CLIP


def uneven_clip() -> CLIP:
    """The same weights every time; images of 48 pixels, the tokenizer of the embedded CLIP."""
    config = read_configuration(bundled()["clip-emoji"].with_suffix(".json"))
    vision = config.vision_cfg.model_copy(update={"layers": 5, "width": 96, "head_width": 32})
    text = config.text_cfg.model_copy(update={"layers": 3, "width": 64, "heads": 2})
    torch.manual_seed(0)
    network = build(config.model_copy(update={"embed_dim": 40, "vision_cfg": vision, "text_cfg": text}))
    return wrap(network, load_backbone("clip-emoji").tokenizer, "uneven").eval().requires_grad_(False)
