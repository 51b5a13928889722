"""CLIPs with a ResNet whose batch normalisation does something: new ones scale by 1, and by 0 after each bottleneck."""

import open_clip
import torch
from torch import nn


def draw_norms(network: "open_clip.CLIP") -> "open_clip.CLIP":
    """Draw scales, shifts and statistics of the image tower; returns the network."""
    generator = torch.Generator().manual_seed(1)

    def draw(low: float, high: float, like: torch.Tensor) -> torch.Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    for module in network.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.data.copy_(draw(0.4, 1.2, module.weight))
            module.bias.data.copy_(draw(-0.3, 0.3, module.bias))
            module.running_mean.copy_(draw(-0.3, 0.3, module.running_mean))
            module.running_var.copy_(draw(0.5, 1.5, module.running_var))
    return network
