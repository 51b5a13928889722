"""What a precision means for weights, computations and gradients.

fp32    everything in float32
tf32    as fp32, but a GPU may round what enters matrix products and convolutions to TF32, with 10 bits behind the point
bf16    weights in float32, autocast to bfloat16
fp16    weights in float32, autocast to float16, with a loss scale
half    as the reference code trains: matrices, convolutions and what methods add have weights in float16, updated by
        plain SGD; LayerNorms and batch normalisation compute in float32, and they and the embedding tables have
        weights in float32
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from harness.clip.network import LayerNormFp32
from harness.clip.towers import CLIP
from harness.errors import UserError
from harness.machine.torch_internals import allow_tf32
from methods.base import Method

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FULL_TYPES = ("fp32", "tf32")
"""Precisions whose tensors are all in float32."""
TF32_CAPABILITY = (8, 0)
HALF_MODULES = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def use_tf32(precision: str, device: torch.device) -> None:
    """Let float32 products and convolutions of this process use TF32 if the precision is tf32, and only then.

    By itself torch uses it in convolutions and not in products.

    Raises:
        UserError: the device has no TF32, so that the result would be one of fp32 under another name.
    """
    wanted = precision == "tf32"
    if wanted and (device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY):
        kind = "a CPU" if device.type == "cpu" else "this GPU, older than Ampere,"
        raise UserError(f"train.precision=tf32 needs a GPU with TF32, and {kind} has none: use train.precision=fp32")
    allow_tf32(wanted)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which everything is computed; it does nothing for fp32, tf32 and half."""
    return torch.autocast(device.type, AUTOCAST[precision]) if precision in AUTOCAST else nullcontext()


def gradient_scaler(precision: str, device: torch.device, init_scale: float = 2.0**16) -> torch.amp.GradScaler:
    """Dynamic loss scale for fp16, which skips steps whose gradients overflow; it does nothing for other precisions."""
    return torch.amp.GradScaler(device.type, init_scale, enabled=precision == "fp16")


def loss_scale(scaler: torch.amp.GradScaler) -> Tensor:
    """The state of a loss scale that changes while it is used: (scale, steps since it changed)."""
    state = scaler.state_dict()
    return torch.tensor([state["scale"], state["_growth_tracker"]])


def set_loss_scale(scaler: torch.amp.GradScaler, saved: Tensor) -> None:
    """Continue with what `loss_scale` returned."""
    scale, growth_tracker = saved.tolist()
    scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth_tracker)})


def store_clip(clip: CLIP, precision: str) -> CLIP:
    """Convert the weights of a CLIP to those of a precision, in place."""
    if precision == "half":
        compute_norms_in_float32(clip)
        for module in clip.modules():
            if isinstance(module, HALF_MODULES):
                halve(module.parameters())
        halve([*clip.image.bare_matrices(), *clip.text.bare_matrices()])
    return clip


def compute_norms_in_float32(module: nn.Module) -> None:
    """Replace every LayerNorm in a module by one that takes and returns float16 but computes in float32."""
    for name, child in module.named_children():
        if isinstance(child, nn.LayerNorm):
            norm = LayerNormFp32(child.normalized_shape, eps=child.eps)
            norm.weight, norm.bias = child.weight, child.bias
            setattr(module, name, norm)
        else:
            compute_norms_in_float32(child)


def store_method(method: Method, precision: str) -> Method:
    """Convert what a method added to CLIP to the weights of a precision, in place."""
    if precision == "half":
        for name, parameter in method.named_parameters():
            if not name.startswith(("clip.", *method.stays_fp32)):
                halve([parameter])
    return method


def halve(parameters: Iterable[nn.Parameter]) -> None:
    """Convert parameters to float16."""
    for parameter in parameters:
        parameter.data = parameter.data.half()
