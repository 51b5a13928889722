"""The trained state of a method: the content of a checkpoint."""

import torch
from torch import Tensor, nn

from harness.errors import UserError
from methods.base import Method

# Names in the saved state: momentum of a parameter, and the loss scale.
MOMENTUM = "momentum."
LOSS_SCALE = "loss_scale"


def trained_parameters(method: Method) -> dict[str, nn.Parameter]:
    """Name -> parameter, of all parameters that train."""
    return {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}


def trained_state(method: Method) -> dict[str, Tensor]:
    """The content of a checkpoint: trained parameters and the method's own buffers."""
    buffers = {name: value for name, value in method.named_buffers() if not name.startswith("clip.")}
    return {**trained_parameters(method), **buffers}


def load_trained_state(method: Method, state: dict[str, Tensor]) -> None:
    """Load the tensors of a checkpoint into a method.

    Raises:
        UserError: the checkpoint is from another method, other options or another number of classes.
    """
    own = trained_state(method)
    if own.keys() != state.keys() or any(own[name].shape != state[name].shape for name in own):
        raise UserError("the checkpoint does not fit this method and its options: it was made by another run")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def misfit(method: Method, state: dict[str, Tensor], has_momentum: bool) -> str | None:
    """Why a training of a method cannot go on from some tensors; None if it can.

    Args:
        method: built as for the training.
        state: as `Trainer.state` gives it.
        has_momentum: whether the optimizer keeps momentum.
    """
    own = trained_state(method)
    weights = {name for name in state if not name.startswith((MOMENTUM, LOSS_SCALE))}
    if weights != own.keys():
        return "its tensors are not those of the method"
    parameters = {MOMENTUM + name: value for name, value in trained_parameters(method).items()}
    momentum = {name for name in state if name.startswith(MOMENTUM)}
    # A parameter that no step has reached has none.
    if not momentum <= parameters.keys() or bool(momentum) != has_momentum:
        return "its momentum is not that of the method"
    for name, value in {**own, **parameters}.items():
        if name in state and state[name].shape != value.shape:
            return f"its tensor '{name}' has another shape"
    for name, value in own.items():
        if state[name].dtype != value.dtype:
            return f"its tensor '{name}' has another type"
    return None
