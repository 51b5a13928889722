"""How fast the device is: matrix products, a copy, and what methods do as a share of both."""

import statistics
from collections.abc import Callable
from functools import partial

import torch

from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import read_yaml
from harness.machine.operators import count_traffic
from harness.reference.parity.precisions import precisions_of
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.specs import methods_of
from harness.reference.speed.benchmark import Benchmark
from harness.reference.speed.spec import choose_rows, settings_of, vary
from harness.reference.speed.subject import Operation, Subject
from harness.reference.speed.timing import take_sample
from harness.training.precision import AUTOCAST, use_tf32

SECTION = "times"
WIDTH, GPU_WIDTH = 512, 8192
COPIED, GPU_COPIED = 2**26, 2**30
TIMES, ENOUGH_SECONDS = 5, 2.0
BACKBONES, CLASSES = ("clip-emoji", "ViT-B-16"), 10
PRODUCT, COPY = "matrix product in fp32", "copy, read and written"
NAMES = {"step": "training step", "cache": "caching, an image", "texts": "texts", "inference": "inference, an image"}
"""Operations of the speed benchmark -> what they are called here; `texts` are encoded once for a list of classes."""


def check(asked: Asked, say: Say) -> list[Finding]:
    """Operations and bytes per second, then seconds of steps, caching and inference. Nothing is judged."""
    say("matrix products and copy")
    found = asked.items.look(SECTION, str(asked.device), partial(rates, asked))
    known = {item.quantity: float(item.value) for item in found if item.ok}
    if not known:
        return found
    peak, copied = 1e9 * known[PRODUCT], 1e9 * known[COPY]
    found = list(found)
    for name, backbone in pairs_of(asked):
        say(f"{name}, {backbone}")
        found += asked.items.look(SECTION, f"{name}, {backbone}", partial(_time, name, backbone, peak, copied, asked))
    return found


def pairs_of(asked: Asked) -> list[tuple[str, str]]:
    """Methods and backbones: all of them on a GPU; on a CPU, which is slow, the first method on the large backbone."""
    methods = methods_of(asked, SECTION)
    if asked.quick:
        return [(methods[0], BACKBONES[0])]
    small = [(name, BACKBONES[0]) for name in methods]
    return [*small, *((name, BACKBONES[1]) for name in (methods if asked.is_gpu else methods[:1]))]


def rates(asked: Asked) -> list[Finding]:
    """What the device does in a second at most: products in each of its precisions, and a copy."""
    device = str(asked.device)
    found = [Finding(SECTION, device, PRODUCT, product_rate(asked, "fp32") / 1e9, "GFLOP/s")]
    for precision in precisions_of(asked.device):
        if precision == "tf32" or precision in AUTOCAST:
            rate = product_rate(asked, precision) / 1e9
            found.append(Finding(SECTION, device, f"matrix product in {precision}", rate, "GFLOP/s"))
    return [*found, Finding(SECTION, device, COPY, copy_rate(asked) / 1e9, "GB/s")]


def _time(name: str, backbone: str, peak: float, copied: float, asked: Asked) -> list[Finding]:
    """Seconds of what a method does, with all speed-ups, in fp32; random weights where the backbone is not bundled."""
    changes = {"backbone": backbone, "classes": CLASSES, "each": False}
    (spec,) = vary(read_yaml(EXPERIMENTS / "speed.yaml"), changes)
    benchmark = Benchmark(choose_rows(spec, [name], {}), asked.device)
    row = benchmark.spec.rows[0]
    subject = Subject(benchmark, row, settings_of(row, each=False)[1])
    found: list[Finding] = []
    for work, operation in subject.works.items():
        seconds = _median_seconds(operation.run, asked.device)
        traffic = count_traffic(operation.run)
        found += share_of(f"{name}, {backbone}", NAMES[work], operation, seconds, traffic, peak, copied)
    return found


def share_of(
    subject: str, name: str, operation: Operation, seconds: float, traffic: int, peak: float, copied: float
) -> list[Finding]:
    """Time of an operation, and its operations and bytes per second as shares of what the device does at most.

    Args:
        subject: method and backbone.
        name: of what is done.
        operation: with the number of its images, and its operations for one of them.
        seconds: that it takes.
        traffic: bytes that its operators read and write.
        peak: operations per second of a matrix product.
        copied: bytes per second of a copy.
    """
    flops = 1e9 * operation.gflop * operation.images
    return [
        Finding(SECTION, subject, name, 1e3 * seconds / operation.images, "ms"),
        Finding(SECTION, subject, f"{name}: FLOP/s of the matrix product's", 100 * flops / seconds / peak, "%"),
        Finding(SECTION, subject, f"{name}: bytes/s of the copy's", 100 * traffic / seconds / copied, "%"),
    ]


def product_rate(asked: Asked, precision: str) -> float:
    """Operations per second of a product of two square matrices."""
    use_tf32(precision, asked.device)
    width, kind = GPU_WIDTH if asked.is_gpu else WIDTH, AUTOCAST.get(precision, torch.float32)
    one, other = (torch.randn(width, width, device=asked.device).to(kind) for _ in range(2))
    try:
        return 2 * width**3 / _median_seconds(lambda: one @ other, asked.device)
    finally:
        use_tf32("fp32", asked.device)


def copy_rate(asked: Asked) -> float:
    """Bytes per second that a copy within the memory of the device reads and writes."""
    source = torch.ones(GPU_COPIED if asked.is_gpu else COPIED, dtype=torch.uint8, device=asked.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source), asked.device)


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median of the wall seconds of some work, after one that is not counted; fewer where they take long."""
    take_sample(work, 1, device)
    samples: list[float] = []
    while len(samples) < TIMES and sum(samples) < ENOUGH_SECONDS:
        samples.append(take_sample(work, 1, device).wall)
    return statistics.median(samples)
