"""The trained state of a method: the content of a checkpoint."""

import torch
from torch import Tensor, nn

from harness.errors import UserError
from methods.base import Method

# Names in the saved state.
LOSS_SCALE = "loss_scale"
KEPT = "kept."
"""How the names of the tensors of the best epoch so far begin."""


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
    method.loaded()


def kept_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trained state of the best epoch so far among saved tensors; empty if none is kept."""
    return {name.removeprefix(KEPT): value for name, value in tensors.items() if name.startswith(KEPT)}


def without_kept(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The other saved tensors: those of the last epoch."""
    return {name: value for name, value in tensors.items() if not name.startswith(KEPT)}
