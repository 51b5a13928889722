"""What a process that computes a run is set to: how many others decode images, and that its results repeat."""

import os

import torch

from harness.experiment.spec import RunSpec


def choose_workers(spec: RunSpec, device: torch.device) -> int:
    """Processes that decode images: as asked, else none with a CPU, else one per core up to 8."""
    if spec.runtime.workers is not None:
        return spec.runtime.workers
    return min(8, os.cpu_count() or 1) if device.type == "cuda" else 0


def make_repeatable(seed: int, compiles: bool = False) -> None:
    """Seed torch and ask for the same result every time, bit for bit, on the same machine.

    Args:
        seed: of torch's generators.
        compiles: whether something is compiled afterwards, which is to repeat too.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if compiles:
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        # The same for all that is not compiled, without importing torch's compiler.
        torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of a device.

    `torch.manual_seed` does the same, and for every kind of device that is not in use it keeps a printed stack.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
