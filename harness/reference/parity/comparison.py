"""How far our numbers are from the official ones. Tolerances: docs/parity.md."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RTOL = 1e-4
Found = tuple[str, tuple[float, float]]
"""A quantity, and error and tolerance of its worst element."""


@dataclass(frozen=True)
class Comparison:
    """The worst element of one quantity.

    Attributes:
        method: name of the vector file, such as `skip_tuning_staged`.
        quantity: what was compared, such as `train_logits`.
        error: absolute error of the element that is worst relative to its tolerance.
        tolerance: absolute tolerance of that element.
    """

    method: str
    quantity: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.error <= self.tolerance

    @property
    def severity(self) -> float:
        """Error divided by tolerance; infinite for NaN and for any error if the tolerance is 0."""
        if self.error == 0:
            return 0.0
        return self.error / self.tolerance if self.tolerance and not math.isnan(self.error) else math.inf


def worst_element(ours: Tensor, theirs: Tensor, atol: float | Tensor, rtol: float = RTOL) -> tuple[float, float]:
    """Error and tolerance of the element whose error is worst relative to its tolerance.

    Args:
        ours: our values, of any shape.
        theirs: the official values; another shape counts as an infinite error.
        atol: absolute tolerance, of all elements or of each.
        rtol: relative tolerance.
    """
    if ours.shape != theirs.shape:
        return float("inf"), 0.0
    if not theirs.numel():
        return 0.0, 0.0
    # On the CPU, wherever they were computed.
    ours, theirs = ours.detach().cpu().double().flatten(), theirs.cpu().double().flatten()
    error = (ours - theirs).abs()
    tolerance = (torch.as_tensor(atol, dtype=torch.float64, device="cpu") + rtol * theirs.abs()).expand_as(error)
    # A tiny floor keeps exact quantities (tolerance 0) from dividing 0 by 0; NaN counts as worst.
    worst = (error / tolerance.clamp_min(1e-300)).nan_to_num(nan=float("inf")).argmax()
    return error[worst].item(), tolerance[worst].item()


def gradient_atol(largest: Tensor) -> Tensor:
    """Absolute tolerance of gradients, given their largest absolute entries."""
    return 1e-5 * largest.double().clamp_min(1.0)


def worst_by_quantity(comparisons: list[Comparison]) -> list[Comparison]:
    """The worst comparison of each (method, quantity), in the order in which they first appear."""
    worst: dict[tuple[str, str], Comparison] = {}
    for item in comparisons:
        key = (item.method, item.quantity)
        if key not in worst or item.severity > worst[key].severity:
            worst[key] = item
    return list(worst.values())
