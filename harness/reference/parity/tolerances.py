"""How far each quantity may be from the official one: docs/parity.md."""

import re
from typing import NamedTuple

from torch import Tensor

from harness.reference.parity.comparison import RTOL, gradient_atol
from harness.reference.parity.vectors import Vectors

ROUNDED = 1e-6
"""Of numbers that are exact, but that the official code may keep in single precision: rates, accuracies, choices."""
BADLY_CONDITIONED = 1e-3
"""Relative to the largest entry, of what follows from the pseudo-inverse of a badly conditioned matrix."""
STOPPED_EARLY = 2e-2
"""Of what an iterative solver of the official code returns before it has converged."""
MANY_STEPS = 2
"""Adam and AdamW turn a gradient into about lr * sign; where it is rounding, a step may go the other way."""

NUMBERS = re.compile(r"train_lrs|search_(C|best|accuracy|val_accuracy)|final\.C|(.*_)?accuracy|final\.test_accuracy")
LOGITS = re.compile(r"(epoch_)?(eval|train|search|zs)_logits.*")
LOSSES = ("train_losses", "train_ce", "train_xe_losses", "train_kl_losses")
FROM_INVERSE = ("const.precision", "const.W", "const.b")


class Tolerance(NamedTuple):
    """Absolute, plus relative to each official element."""

    atol: float
    rtol: float


EXACT = Tolerance(0.0, 0.0)


def tolerance_of(vectors: Vectors, name: str, theirs: Tensor, largest_factor: float = 0.0) -> Tolerance:
    """The tolerance of a stored tensor other than gradients and trained weights.

    Args:
        vectors: of which it is.
        name: of the tensor.
        theirs: the tensor.
        largest_factor: for logits of a search, the largest number of the candidate.
    """
    noise = 0.0 if vectors.is_first_form else 4 * vectors.noise(name)
    if not theirs.is_floating_point():
        return EXACT
    if NUMBERS.fullmatch(name):
        return Tolerance(0.0, ROUNDED)
    stops_early = "final.coef" in vectors.tensors
    if stops_early and name.startswith(("final.", "fixed_", "eval_logits")):
        return Tolerance((1e-4 if "logits" in name else 1e-5) + noise, STOPPED_EARLY)
    if LOGITS.fullmatch(name):
        from_inverse = largest_factor >= 1 and FROM_INVERSE[0] in vectors.tensors
        return of_largest(theirs, 1e-4 + noise) if from_inverse else Tolerance(1e-4 + noise, RTOL)
    if name in LOSSES:
        return Tolerance(1e-5 + noise, RTOL)
    if name in FROM_INVERSE:
        return of_largest(theirs, 1e-5 + noise)
    return Tolerance(1e-5 + 4 * (vectors.noise("cache") if vectors.is_first_form else vectors.noise(name)), RTOL)


def of_largest(theirs: Tensor, atol: float) -> Tolerance:
    """A tolerance relative to the largest entry."""
    return Tolerance(atol + BADLY_CONDITIONED * float(theirs.abs().max()), 0.0)


def gradient_tolerance(vectors: Vectors, theirs: Tensor) -> Tolerance:
    """The tolerance of the gradient of a tensor."""
    noise = 0.0 if vectors.is_first_form else 4 * vectors.noise("grad")
    return Tolerance(float(gradient_atol(theirs.abs().max())) + noise, RTOL)


def weight_tolerances(vectors: Vectors, group: str, names: list[str], steps: int) -> tuple[float, float | None]:
    """Absolute tolerances of all elements of trained weights, and of 99 % of them (None: there is no such).

    Args:
        vectors: of which they are.
        group: after1, after or best.
        names: of the stored tensors.
        steps: of the training until then.
    """
    of_group = "after" if group == "best" else group
    every = 1e-7 + 4 * max(
        vectors.noise(name) if name.startswith("best.") else vectors.noise(of_group) for name in names
    )
    if vectors.is_first_form:
        return every, None
    optimizer = vectors.about.optimizer
    if optimizer.name in ("Adam", "AdamW"):
        every = max(every, MANY_STEPS * highest_rate(vectors) * steps)
    return every, 1e-7 + 4 * vectors.noise_q99(of_group)


def highest_rate(vectors: Vectors) -> float:
    """The highest learning rate of the training."""
    lr = vectors.about.optimizer.lr
    return float(vectors.tensors[lr]) if isinstance(lr, str) else lr


def percentile_99(errors: Tensor) -> float:
    """The largest of the errors that are left when 1 % of all elements, rounded down, are put aside."""
    kept = errors.numel() - errors.numel() // 100
    return float(errors.flatten().nan_to_num(nan=float("inf")).kthvalue(kept).values) if kept else 0.0
