"""What a precision means, for weights, computations and gradients.

fp32    everything in float32
bf16    weights in float32, autocast to bfloat16
fp16    weights in float32, autocast to float16, with a loss scale
half    weights in float16 and plain SGD on them, as the reference code of this field trains: matrices, convolutions and
        what methods add; LayerNorms compute in float32, they and the embedding tables stay float32
"""

from collections.abc import Iterable

import torch
from open_clip.transformer import LayerNormFp32
from torch import Tensor, nn

from harness.clip.towers import CLIP
from methods.base import Method

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
HALF_MODULES = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which everything is computed."""
    return torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def gradient_scaler(precision: str, device: torch.device, init_scale: float = 2.0**16) -> torch.amp.GradScaler:
    """Dynamic loss scale for fp16, which skips steps whose gradients overflow; for all others it does nothing."""
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
    """A CLIP with its weights as the precision stores them, changed in place."""
    if precision == "half":
        compute_norms_in_float32(clip)
        for module in clip.modules():
            if isinstance(module, HALF_MODULES):
                halve(module.parameters())
        halve([clip.image.proj, clip.text.text_projection])
    return clip


def compute_norms_in_float32(module: nn.Module) -> None:
    """Replace every LayerNorm below by one that takes float16, computes in float32 and gives float16."""
    for name, child in module.named_children():
        if isinstance(child, nn.LayerNorm):
            norm = LayerNormFp32(child.normalized_shape, eps=child.eps)
            norm.weight, norm.bias = child.weight, child.bias
            setattr(module, name, norm)
        else:
            compute_norms_in_float32(child)


def store_method(method: Method, precision: str) -> Method:
    """A method with what it added to CLIP as the precision stores it, changed in place."""
    if precision == "half":
        for name, parameter in method.named_parameters():
            if not name.startswith(("clip.", *method.stays_fp32)):
                halve([parameter])
    return method


def halve(parameters: Iterable[nn.Parameter]) -> None:
    """Store parameters in float16."""
    for parameter in parameters:
        parameter.data = parameter.data.half()
