"""One training step: the optimizer, the step, and hooks on its gradients."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from harness.machine.units import MIB
from harness.training.precision import autocast
from harness.training.state import trained_parameters
from methods.base import Method

# Size of the gradients that a step within a backward pass waits for.
PART_BYTES = 16 * MIB
# The parameter group of the image tower's own weights.
IMAGE_GROUP = "image"


def build_optimizer(
    method: Method,
    lr: float,
    lr_image: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    precision: str = "fp32",
) -> torch.optim.SGD:
    """SGD for the parameters that train, with the image tower's own weights in a group of their own.

    Args:
        method: all its parameters that train have weight decay, as in the authors' code.
        lr: learning rate.
        lr_image: learning rate of the image tower's own weights; None: `lr`.
        momentum: of SGD.
        weight_decay: of every tensor.
        precision: of the training.
    """
    in_image_tower = {id(parameter) for parameter in method.clip.image.parameters()}
    groups: dict[str, list[nn.Parameter]] = {IMAGE_GROUP: [], "other": []}
    for parameter in trained_parameters(method).values():
        groups[IMAGE_GROUP if id(parameter) in in_image_tower else "other"].append(parameter)
    rates = {IMAGE_GROUP: lr if lr_image is None else lr_image, "other": lr}
    # Fused SGD is faster and needs no scratch memory. But with half-precision weights the reference code rounds after
    # every term; and if a loss scale skips the first step, torch's fused SGD continues from a momentum that is not set.
    fused = precision in ("fp32", "bf16")
    return torch.optim.SGD(
        [{"params": params, "lr": rates[name], "name": name} for name, params in groups.items() if params],
        momentum=momentum,
        weight_decay=weight_decay,
        fused=fused,
    )


def training_step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    x: Tensor,
    labels: Tensor,
    precision: str,
) -> Tensor:
    """One training step; returns the loss, a scalar.

    Args:
        method: with the training classes set.
        optimizer: of its parameters.
        scaler: loss scale; enabled for fp16 only.
        x: images at the method's `image_start`.
        labels: (B,).
        precision: of the computation.
    """
    with autocast(precision, x.device):
        loss = method.loss(x, labels)
    # A loss scale must see all gradients before the first weight changes.
    in_parts = method.clip.speedups.step_in_backward and not scaler.is_enabled()
    with stepping_in_parts(optimizer) if in_parts else nullcontext():
        scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    # Free the gradients now, so that they do not add to the peak memory of the next forward pass.
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


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

    A gradient is complete when nothing in the pass needs its weight any more, and SGD treats each weight separately. So
    the result is that of one step after the pass. The remaining gradients are left for that step.
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
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            gathered = 0

    with on_gradients(parameters, on_gradient):
        yield
