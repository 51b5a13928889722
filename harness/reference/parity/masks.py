"""The dropout of the official code, whose masks are stored, in the place of our own draws."""

import torch
from torch import Tensor

from harness.reference.parity.description import incomplete
from harness.reference.parity.naming import official_of, our_name
from harness.reference.parity.subject import Subject

BITS = 8


def replay_masks(subject: Subject, step: int) -> None:
    """Have our method drop what the official code dropped in a step, if it says where its masks come from.

    Args:
        subject: ours.
        step: 0, 1, ... of the training.
    """
    function, prefix = official_of(subject.cls).masks, f"mask.b{step}."
    stored = {
        our_name(name.removeprefix(prefix), subject.cls): mask
        for name, mask in subject.stored.items()
        if name.startswith(prefix)
    }
    if function is None or not stored:
        return

    def mask_of(path: str, shape: tuple[int, ...]) -> Tensor:
        if path not in stored:
            raise incomplete(subject.vectors.file, f"KeyError: it holds no mask of {path} in step {step}")
        return unpacked_mask(stored[path], shape)

    setattr(subject.method, function, mask_of)


def unpacked_mask(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Truth values (B, T, width), T at most as many as are stored.

    Args:
        packed: bits in bytes, the most significant first, of (tokens, B, width).
        shape: (B, T, width).
    """
    rows, length, width = shape
    bits = (packed[:, None] >> torch.arange(BITS - 1, -1, -1, device=packed.device)) & 1
    tokens = bits.numel() // (rows * width)
    return bits.flatten()[: tokens * rows * width].view(tokens, rows, width)[:length].transpose(0, 1).bool()
