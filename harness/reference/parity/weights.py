"""Gradients and trained weights beside the official ones."""

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.reference.parity.comparison import RTOL, Found, gradient_atol, worst_element
from harness.reference.parity.subject import Subject
from harness.reference.parity.tolerances import gradient_tolerance, percentile_99, weight_tolerances

DELTA_ATOL = 1e-6
"""Of how far a weight moved."""
Weights = dict[str, Tensor]
"""Official name -> a gradient or a weight."""


def check_gradients(subject: Subject, gradients: Weights) -> Iterator[Found]:
    """Gradients of the first step."""
    for name in subject.trained:
        theirs = subject.stored.get(f"grad.{name}")
        if theirs is not None:
            ours = gradients.get(name, torch.zeros(0))
            yield "grad", worst_element(ours, theirs, *gradient_tolerance(subject.vectors, theirs))
    if subject.has("grad_stats"):
        atol = gradient_atol(subject.stored["grad_stats"][:, 2])
        yield from check_summary(subject, "grad", list(gradients.values()), atol, RTOL)


def check_weights(subject: Subject, group: str, weights: Weights, steps: int) -> Iterator[Found]:
    """Weights after some steps.

    Args:
        subject: whose vectors hold them.
        group: after1, after, or best, the prefix of the stored ones.
        weights: ours.
        steps: of the training until then.
    """
    stored = {name: subject.stored[f"{group}.{name}"] for name in weights if f"{group}.{name}" in subject.stored}
    if not stored:
        return
    every, most = weight_tolerances(subject.vectors, group, [f"{group}.{name}" for name in stored], steps)
    errors = []
    for name, theirs in stored.items():
        yield group, worst_element(weights[name], theirs, every, 0.0)
        same_shape = weights[name].shape == theirs.shape
        errors.append((weights[name] - theirs if same_shape else theirs + torch.inf).abs().flatten().double())
    if most is not None:
        yield f"{group}, 99 %", (percentile_99(torch.cat(errors)), most)


def check_movement(subject: Subject, before: Weights, after: Weights) -> Iterator[Found]:
    """How far weights moved in the whole training, and what is stored of large ones."""
    for name, value in after.items():
        theirs = subject.stored.get(f"after.{name}")
        if theirs is not None and subject.vectors.is_first_form:
            initial = subject.stored.get(f"init.{name}", before[name])
            yield "delta", worst_element(value - before[name], theirs - initial, DELTA_ATOL, 0.0)
    if subject.has("after_stats"):
        atol, number = 4 * subject.vectors.noise("after") + 1e-7, len(after)
        yield from check_summary(subject, "after", list(after.values()), torch.full((number,), atol), 0.0)
        moved = [value - before[name] for name, value in after.items()]
        yield from check_summary(subject, "delta", moved, torch.full((number,), DELTA_ATOL), 0.0)


def check_summary(subject: Subject, kind: str, values: list[Tensor], atol: Tensor, rtol: float) -> Iterator[Found]:
    """Norm, sum and maximum of every tensor, and 16 of its entries.

    Args:
        subject: whose vectors hold them.
        kind: grad, after or delta.
        values: our tensors, in the order of the stored rows.
        atol: absolute tolerance of an entry of each tensor (rows,).
        rtol: relative tolerance.
    """
    stats, atol = subject.stored[f"{kind}_stats"].cpu(), atol.cpu().double()
    vectors = [value.detach().cpu().double().flatten() for value in values]
    root_n = torch.tensor([value.numel() for value in vectors], dtype=torch.float64).sqrt()
    norm = torch.stack([value.norm() for value in vectors])
    total = torch.stack([value.sum() for value in vectors])
    largest = torch.stack([value.abs().max() for value in vectors])
    yield f"{kind}_stats", worst_element(norm, stats[:, 0], atol * root_n, rtol)
    yield f"{kind}_stats", worst_element(total, stats[:, 1], (atol + 1e-4 * stats[:, 0]) * root_n, rtol)
    yield f"{kind}_stats", worst_element(largest, stats[:, 2], atol, rtol)
    index, sample = subject.stored["sample_index"].cpu(), subject.stored[f"{kind}_sample"]
    ours = torch.stack([value[row] for value, row in zip(vectors, index, strict=True)])
    yield f"{kind}_sample", worst_element(ours, sample, atol.repeat_interleave(sample.shape[1]), rtol)
