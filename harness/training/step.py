"""One training step, and hooks on its gradients."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor

from harness.machine.torch_internals import take_step
from harness.machine.units import MIB
from harness.training.precision import autocast
from methods.base import Method

LossFunction = Callable[[Method, Tensor, Tensor, Tensor | None], Tensor]
"""(method, images at its stage, labels, what the untouched CLIP makes of the images or None) -> the loss, a scalar."""
# Size of the gradients that a step within a backward pass waits for.
PART_BYTES = 16 * MIB


def training_step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    x: Tensor,
    labels: Tensor,
    precision: str,
    frozen: Tensor | None = None,
    loss_function: LossFunction | None = None,
) -> Tensor:
    """One training step; returns the loss before it, a scalar.

    L-BFGS takes as many iterations as its settings allow, each of which computes the loss once or more often.

    Args:
        method: with the training classes set.
        optimizer: of its parameters.
        scaler: loss scale; enabled for fp16 only.
        x: images at the method's `image_start`.
        labels: (B,).
        precision: of the computation.
        frozen: embeddings (B, E) of the same images by the untouched CLIP, for a method that has a `frozen_view`.
        loss_function: computes the loss; None: `loss_of`.
    """
    compute_loss = loss_function or loss_of
    if isinstance(optimizer, torch.optim.LBFGS):
        closure = partial(loss_and_gradients, method, optimizer, x, labels, precision, frozen, compute_loss)
        loss = cast(Tensor, optimizer.step(closure))
        clear_gradients(optimizer)
        return loss.detach()
    with autocast(precision, x.device):
        loss = compute_loss(method, x, labels, frozen)
    # A loss scale must see all gradients before the first weight changes, and so must a method that changes them.
    in_parts = method.clip.speedups.step_in_backward and not scaler.is_enabled() and not method.changes_gradients()
    with stepping_in_parts(optimizer) if in_parts else nullcontext():
        scaler.scale(loss).backward()
    if method.changes_gradients():
        with torch.no_grad():
            method.change_gradients()
    if scaler.is_enabled():
        scaler.step(optimizer)
        scaler.update()
    else:
        take_step(optimizer)
    # Free the gradients now, so that they do not add to the peak memory of the next forward pass.
    clear_gradients(optimizer)
    return loss.detach()


def loss_of(method: Method, x: Tensor, labels: Tensor, frozen: Tensor | None) -> Tensor:
    """The method's loss, a scalar; arguments as in `training_step`."""
    return method.loss(x, labels) if frozen is None else method.loss_beside_frozen(x, labels, frozen)


def loss_and_gradients(
    method: Method,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    labels: Tensor,
    precision: str,
    frozen: Tensor | None = None,
    loss_function: LossFunction | None = None,
) -> Tensor:
    """Compute the loss, a scalar, and the gradients of a batch anew; arguments as in `training_step`."""
    clear_gradients(optimizer)
    with autocast(precision, x.device):
        loss = (loss_function or loss_of)(method, x, labels, frozen)
    loss.backward()
    with torch.no_grad():
        method.change_gradients()
    return loss


def clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Free all gradients. `zero_grad` does the same and also keeps records for torch's profiler, which takes longer."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


@contextmanager
def on_gradients(parameters: Iterable[Tensor], take: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside, call `take` with a parameter as soon as a backward pass has computed its gradient."""
    hooks = [parameter.register_post_accumulate_grad_hook(take) for parameter in parameters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def stepping_in_parts(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, a backward pass updates weights whenever gradients of PART_BYTES are complete, and frees these gradients.

    A gradient is complete when nothing in the pass needs its weight any more, and all optimizers of a recipe treat each
    weight separately. So the result is that of one step after the pass. The remaining gradients are left for that step.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if sum(parameter.nbytes for parameter in parameters) <= PART_BYTES:
        yield
        return
    gathered = 0

    def on_gradient(parameter: Tensor) -> None:
        nonlocal gathered
        gathered += parameter.nbytes
        if gathered >= PART_BYTES:
            take_step(optimizer)
            clear_gradients(optimizer)
            gathered = 0

    with on_gradients(parameters, on_gradient):
        yield
