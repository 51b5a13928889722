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


class _KeptChange(torch.autograd.Function):
    """`(x * keep) @ a.T * scale @ b.T`, for whose backward pass no copy of `x * keep` is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        low = F.linear(x * keep, a) * scale
        ctx.save_for_backward(x, keep, a, b, low)
        ctx.scale = scale
        return F.linear(low, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        x, keep, a, b, low = ctx.saved_tensors
        (gradient,) = gradients
        # Under autocast the output has fewer digits than x and the factors, and the backward pass knows no autocast.
        dtype = gradient.dtype
        of_low = (gradient @ b.to(dtype)) * ctx.scale
        # Written this way round, the product of two thin matrices takes an eighth of the time.
        of_b = (low.T @ gradient).T
        of_a = of_low.T @ (x * keep).to(dtype)
        of_x = (of_low @ a.to(dtype)).mul_(keep)
        return of_x.to(x.dtype), None, of_a.to(a.dtype), of_b.to(b.dtype), None


def kept_change(x: Tensor, keep: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """A low-rank map of what dropout keeps, not scaled up by its rate: `scale * (x * keep) @ a.T @ b.T`, (N, width).

    Args:
        x: (N, width).
        keep: (N, width), truth values.
        a: (r, width).
        b: (width, r).
        scale: of the change.
    """
    result: Tensor = _KeptChange.apply(x, keep, a, b, scale)
    return result


def draw_kept(shape: tuple[int, ...], rate: float, device: torch.device) -> Tensor:
    """Truth values of a shape, each false with probability `rate`, drawn from torch's generator of the device."""
    if device.type == "cpu":
        # `bernoulli_` compares the same numbers one by one, which takes twice the time.
        return torch.rand(shape, dtype=torch.float64, device=device) < 1 - rate
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

    def forward(self, x: Tensor, scale: float, kept: Tensor | None = None, as_factors: bool = True) -> Tensor:
        """`scale` B A x (N, width) of x (N, width), computed without the matrix B A unless `as_factors` is false.

        Args:
            x: input of the matrix.
            scale: of the change.
            kept: what dropout keeps of x (N, width), truth values; None: all.
            as_factors: apply A and then B; false: make B A (width, width) and apply it, as the authors' code does.
        """
        a, b = self.w_lora_A.to(x.dtype), self.w_lora_B.to(x.dtype)
        if not as_factors:
            return F.linear(x if kept is None else x * kept, b @ a) * scale
        return F.linear(F.linear(x, a) * scale, b) if kept is None else kept_change(x, kept, a, b, scale)


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
