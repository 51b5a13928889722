"""Torch's attention kernels on a GPU: how far each is from attention in float64, and how long it takes."""

from functools import partial

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import first_line
from harness.reference.selfcheck.findings import Asked, Finding, Say, finite
from harness.reference.speed.timing import Work, take_sample

SECTION = "attention"
SHAPE = (4, 12, 197, 64)
"""Images, heads, tokens and width of a head in a batch of ViT-B/16."""
CALLS = 20
ABSENT = ("No available kernel", "No viable backend")
"""What torch says where a device or a type has no such kernel."""
KERNELS = (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)
# Of values of about 1: some units in the last place of each type.
LIMITS = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def check(asked: Asked, say: Say) -> list[Finding]:
    """Largest error and time of each kernel that takes the type; on a CPU torch has one way to compute it."""
    if not asked.is_gpu:
        return [Finding(SECTION, str(asked.device), "attention kernels", "left out: they are those of a GPU")]
    return compare_kernels(asked.device, say)


def compare_kernels(device: torch.device, say: Say) -> list[Finding]:
    """Error and time of each kernel; why, where the device has no such kernel for a type."""
    found: list[Finding] = []
    inputs = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    for dtype, limit in LIMITS.items():
        query, key, value = (x.to(device, dtype) for x in inputs)
        times: dict[str, float] = {}
        exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
        for kernel in KERNELS:
            name = f"{kernel.name.lower()}, {str(dtype).removeprefix('torch.')}"
            say(name)
            attend = partial(F.scaled_dot_product_attention, query, key, value)
            try:
                with sdpa_kernel(kernel):
                    ours = attend()
                    sample = take_sample(attend, CALLS, device)
            except RuntimeError as error:
                is_absent = any(words in str(error) for words in ABSENT)
                what = "left out" if is_absent else "failed"
                found.append(Finding(SECTION, name, what, first_line(error), ok=is_absent))
                continue
            apart = float((ours.double() - exact).abs().max())
            if apart <= limit:
                times[kernel.name.lower()] = sample.wall
            found += [
                Finding(SECTION, name, "largest error", finite(apart), "", limit, apart <= limit),
                Finding(SECTION, name, "time", 1e6 * sample.wall, "us"),
            ]
        found += _own_choice(str(dtype).removeprefix("torch."), attend, times, device)
    return found


def _own_choice(dtype: str, attend: Work, times: dict[str, float], device: torch.device) -> list[Finding]:
    """The fastest kernel that is exact enough, and how much longer what torch chooses by itself takes.

    Args:
        dtype: of the inputs.
        attend: attention, with the kernel that torch chooses: what runs compute with.
        times: seconds of the kernels that are exact enough.
        device: where it is computed.
    """
    if not times:
        return []
    take_sample(attend, 1, device)
    own, fastest = take_sample(attend, CALLS, device).wall, min(times, key=lambda name: times[name])
    return [
        Finding(SECTION, dtype, "fastest that is exact enough", fastest),
        Finding(SECTION, dtype, "time of torch's own choice, by that of the fastest", own / times[fastest]),
    ]
