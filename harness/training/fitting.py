"""What a method computes from the shots without training: `Method.fit`, in the arithmetic of a precision."""

import random

import torch

from harness.training.build import move
from harness.training.precision import autocast, store_method
from methods.base import Method, Shots


@torch.no_grad()
def fit_method(method: Method, shots: Shots, precision: str, seed: int) -> None:
    """Fit a method to its shots; what it adds gets the weights of a precision.

    Args:
        method: built for the training classes, which are set.
        shots: at the method's `image_start`, on its device.
        precision: fp32, bf16, fp16 or half.
        seed: of the run; what `fit` draws depends on nothing else.
    """
    device = method.clip.device
    torch.manual_seed(random.Random(f"fit/{seed}").getrandbits(63))
    with autocast(precision, device):
        method.fit(shots)
    move(store_method(method, precision), device)
