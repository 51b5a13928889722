"""How many digits a computation has."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """A tensor in float32, where its own type has fewer digits; one in float64 stays as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
