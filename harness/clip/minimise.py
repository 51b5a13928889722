"""Minimises a smooth function of one tensor, for methods whose weights follow from all shots without a closed form."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.machine.threads import one_thread
from harness.machine.torch_internals import FakeTensor

if TYPE_CHECKING:
    import numpy as np

LINE_SEARCH_STEPS = 50
WORTH_THREADS = 100_000
"""Numbers from which on several threads are faster than one; below, they mostly wait for each other."""
SMALLEST_DECREASE = 64 * torch.finfo(torch.float64).eps
"""Relative decrease of the function in an iteration below which it counts as minimal."""


def minimise(function: Callable[[Tensor], Tensor], start: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Minimise a function with L-BFGS-B of SciPy, set as scikit-learn sets it for logistic regression.

    Where gradients are small, such an optimizer stops far from the minimum, and where it stops depends on it. torch's
    own L-BFGS stops elsewhere, so published numbers can be repeated with this one only.

    Args:
        function: a tensor of the shape of `start`, float64 -> its value, a scalar that autograd can differentiate.
        start: the first point, float64, on the device on which the function computes.
        iterations: at most.
        tolerance: largest entry of the gradient at which to stop.

    Returns:
        The last point. Without values, when memory is estimated from shapes, the start after one evaluation.
    """
    from scipy.optimize import minimize  # here, because importing it takes longer than most commands

    def evaluate(point: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            value = function(point.requires_grad_())
            (gradient,) = torch.autograd.grad(value, point)
        return value.detach(), gradient

    def with_gradient(flat: "np.ndarray") -> "tuple[float, np.ndarray]":
        value, gradient = evaluate(torch.tensor(flat).view(start.shape).to(start.device))
        # A copy, so that the tensor is freed before the next evaluation.
        return value.item(), gradient.flatten().cpu().numpy().copy()

    if isinstance(start, FakeTensor):
        evaluate(start.clone())
        return start
    options = {"maxiter": iterations, "maxls": LINE_SEARCH_STEPS, "gtol": tolerance, "ftol": SMALLEST_DECREASE}
    first = start.flatten().cpu().numpy()
    with one_thread() if start.numel() < WORTH_THREADS else nullcontext():
        found = minimize(with_gradient, first, method="L-BFGS-B", jac=True, options=options)
    return torch.tensor(found.x).view(start.shape).to(start.device)
