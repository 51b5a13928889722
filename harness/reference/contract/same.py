"""What it means that tensors are the same: to the bit, or to rounding."""

import torch
from torch import Tensor


def first_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str | None:
    """The name of the first tensor whose bits differ; None if all are the same."""
    names = [name for name in ours if name not in theirs or not same_bits(ours[name], theirs[name])]
    return next(iter([*names, *(theirs.keys() - ours.keys())]), None)


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors have the same bytes, also where they are not finite."""
    return ours.shape == theirs.shape and torch.equal(bits(ours), bits(theirs))


def bits(value: Tensor) -> Tensor:
    """The bytes of a tensor."""
    return value.detach().contiguous().flatten().view(torch.uint8)


def is_close(ours: Tensor, theirs: Tensor) -> bool:
    """Whether logits are the same to rounding."""
    return ours.shape == theirs.shape and torch.allclose(
        ours, theirs, rtol=1e-4, atol=1e-5 * max(1.0, float(theirs.abs().max()))
    )
