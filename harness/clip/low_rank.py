"""Low-rank changes of the square matrices of attention, computed beside them, with dropout of what they see."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}
"""Matrix of attention -> the usual name of the module that changes it."""
POSITIONS: dict[str, Callable[[int], range]] = {
    "all": lambda n: range(n),
    "bottom": lambda n: range(n // 3),
    "mid": lambda n: range(n // 3, n - n // 3),
    "up": lambda n: range(n - n // 3, n),
    "half-bottom": lambda n: range(n // 2),
    "half-up": lambda n: range(n // 2, n),
    "top3": lambda n: range(max(n - 3, 0), n),
}
"""Name of a part of a tower -> its blocks, of a tower of n blocks."""


class _KeptLinear(torch.autograd.Function):
    """`(x * keep) @ weight.T`, for whose backward pass no copy of `x * keep` is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, keep, weight)
        return F.linear(x * keep, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor]:
        x, keep, weight = ctx.saved_tensors
        (gradient,) = gradients
        # Under autocast the output has fewer digits than x and the weight, and the backward pass knows no autocast.
        of_x = (gradient @ weight.to(gradient.dtype)) * keep
        of_weight = gradient.T @ (x * keep).to(gradient.dtype)
        return of_x.to(x.dtype), None, of_weight.to(weight.dtype)


def kept_linear(x: Tensor, keep: Tensor, weight: Tensor) -> Tensor:
    """A linear map of what dropout keeps, not scaled up: `(x * keep) @ weight.T`.

    Args:
        x: (N, width).
        keep: (N, width), truth values.
        weight: (R, width).
    """
    result: Tensor = _KeptLinear.apply(x, keep, weight)
    return result


def draw_kept(shape: tuple[int, ...], rate: float, device: torch.device) -> Tensor:
    """Truth values of a shape, each false with probability `rate`, drawn from torch's generator of the device."""
    return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(1 - rate)


class LowRank(nn.Module):
    """A change B A of a square matrix, which is zero at the start.

    Args:
        width: of the matrix.
        r: rank.
    """

    def __init__(self, width: int, r: int) -> None:
        super().__init__()
        self.w_lora_A = nn.Parameter(torch.empty(r, width).uniform_(-(width**-0.5), width**-0.5))
        self.w_lora_B = nn.Parameter(torch.zeros(width, r))

    def forward(self, x: Tensor, scale: float, kept: Tensor | None = None) -> Tensor:
        """`scale` B A x (N, width), of what is kept of x (N, width) if `kept` (N, width) says so."""
        a, b = self.w_lora_A.to(x.dtype), self.w_lora_B.to(x.dtype)
        low = F.linear(x, a) if kept is None else kept_linear(x, kept, a)
        return F.linear(low * scale, b)


def low_rank_changes(width: int, r: int, blocks: Sequence[int], parts: Sequence[str]) -> nn.ModuleDict:
    """A change `<block>.attn.<projection>` of rank r for each of some matrices of attention in some blocks of a tower.

    Args:
        width: of the tower.
        r: rank.
        blocks: numbers of the blocks.
        parts: of q, k, v, o.
    """
    of_block = {block: {PROJECTIONS[part]: LowRank(width, r) for part in parts} for block in blocks}
    return nn.ModuleDict({str(b): nn.ModuleDict({"attn": nn.ModuleDict(changes)}) for b, changes in of_block.items()})
