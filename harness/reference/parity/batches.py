"""What a method computes of a training batch beside logits and loss, and what the official code stored of it."""

from collections.abc import Iterator

import torch

from harness.reference.parity.comparison import Found, worst_element
from harness.reference.parity.naming import official_of
from harness.reference.parity.steps import Step
from harness.reference.parity.subject import Subject
from harness.reference.parity.tolerances import gradient_tolerance

GRADIENT = "grad_"


def check_batch(subject: Subject, step: Step) -> Iterator[Found]:
    """The quantities of a batch that a method names, with the weights before the step.

    Args:
        subject: with these weights.
        step: of the batch.
    """
    for name, function in official_of(subject.cls).of_batch.items():
        compute = getattr(subject.method, function)
        numbered = f"{name}_b{step.number}"
        if name.startswith(GRADIENT):
            if step.number == 0:
                yield from _check_gradients(subject, name, compute(step.x, step.labels))
        elif subject.has(numbered):
            yield subject.compare(numbered, compute(step.x, step.labels), name)
        elif subject.has(name):
            yield subject.compare(name, compute(step.x, step.labels), row=step.number)
    for name, function in official_of(subject.cls).of_images.items():
        if subject.has(f"{name}{step.number}"):
            yield subject.compare(f"{name}{step.number}", subject.of_images(function, step.x), name.removesuffix("_b"))


def _check_gradients(subject: Subject, name: str, value: torch.Tensor) -> Iterator[Found]:
    """The gradients of a scalar of the first batch with respect to the trained tensors."""
    stored = {official: subject.stored.get(f"{name}.{official}") for official in subject.trained}
    known = {official: theirs for official, theirs in stored.items() if theirs is not None}
    if known:
        ours = torch.autograd.grad(value, [subject.tensor(official) for official in known])
        for gradient, theirs in zip(ours, known.values(), strict=True):
            yield name, worst_element(gradient, theirs, *gradient_tolerance(subject.vectors, theirs))
