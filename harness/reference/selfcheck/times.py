"""How fast the device is: matrix product, copy, and training steps as a share of that."""

import statistics
from collections.abc import Callable

import torch

from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import read_yaml
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.specs import methods_of
from harness.reference.speed.benchmark import Benchmark
from harness.reference.speed.measurement import SpeedCosts
from harness.reference.speed.spec import ON, choose_rows, vary
from harness.reference.speed.timing import take_sample
from harness.training.precision import use_tf32

SECTION = "times"
WIDTH, GPU_WIDTH = 1024, 8192
COPIED, GPU_COPIED = 2**26, 2**30
TIMES = 5
BACKBONE, CLASSES = "clip-emoji", 10


def check(asked: Asked, say: Say) -> list[Finding]:
    """Operations and bytes per second, then seconds of steps. Nothing is judged."""
    use_tf32("fp32", asked.device)
    say("matrix product and copy")
    peak, copied = product_rate(asked), copy_rate(asked)
    found = [
        Finding(SECTION, str(asked.device), "matrix product in fp32", peak / 1e9, "GFLOP/s"),
        Finding(SECTION, str(asked.device), "copy, read and written", copied / 1e9, "GB/s"),
    ]
    methods = methods_of(asked, SECTION)
    changes = {"backbone": BACKBONE, "classes": CLASSES, "each": False, "pairs": 2}
    (spec,) = vary(read_yaml(EXPERIMENTS / "speed.yaml"), changes)
    spec = choose_rows(spec, list(methods[:1] if asked.quick else methods), {})
    benchmark = Benchmark(spec, asked.device)
    for item in benchmark.measure(say):
        if item.setting == ON:
            found += _step(item.title, item.costs, peak)
    return [*found, *(Finding(SECTION, "methods", "not measured", line) for line in benchmark.left_out)]


def _step(title: str, costs: SpeedCosts, peak: float) -> list[Finding]:
    """Seconds of a training step, and its operations per second as a share of the device's matrix product."""
    if not costs.step_seconds:
        return []
    share = 100e9 * (costs.step_gflop or 0.0) / costs.step_seconds / peak
    return [
        Finding(SECTION, title, "training step", 1e3 * costs.step_seconds, "ms"),
        Finding(SECTION, title, "step / matrix product, FLOP/s", share, "%"),
    ]


def product_rate(asked: Asked) -> float:
    """Operations per second of a product of two square matrices in float32."""
    width = GPU_WIDTH if asked.is_gpu else WIDTH
    one, other = (torch.randn(width, width, device=asked.device) for _ in range(2))
    return 2 * width**3 / _median_seconds(lambda: one @ other, asked.device)


def copy_rate(asked: Asked) -> float:
    """Bytes per second that a copy within the memory of the device reads and writes."""
    source = torch.ones(GPU_COPIED if asked.is_gpu else COPIED, dtype=torch.uint8, device=asked.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source), asked.device)


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median of the wall seconds of some work, after one that is not counted."""
    take_sample(work, 1, device)
    return statistics.median(take_sample(work, 1, device).wall for _ in range(TIMES))
