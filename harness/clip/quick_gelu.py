"""QuickGELU, x sigmoid(1.702 x), the activation of OpenAI's CLIP, which keeps only its input for the backward pass."""

from typing import Any

import torch
from torch import Tensor

SLOPE = 1.702


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(SLOPE * x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # The derivative of x sigmoid(a x) is that of SiLU, z sigmoid(z), at z = a x.
        return torch.ops.aten.silu_backward(gradients[0], SLOPE * ctx.saved_tensors[0])


def quick_gelu(x: Tensor) -> Tensor:
    """The same values as open_clip's module; the gradient, of the same shape as x, is rounded less often."""
    result: Tensor = _QuickGELU.apply(x)
    return result
