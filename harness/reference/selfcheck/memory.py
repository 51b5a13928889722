"""Estimated memory beside what the same steps take on the device."""

from contextlib import suppress
from functools import partial

import torch

from harness.estimate.estimator import Estimate, MeasuredPeak, measure
from harness.estimate.fit import shared_estimator
from harness.experiment.spec import RunSpec
from harness.machine.device import used_mib
from harness.machine.margin import Margin, remember_margin
from harness.machine.units import MIB
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.specs import methods_of, small_spec

SECTION = "memory"
RATIO = "reserved / estimated"
LARGE_BACKBONE = "ViT-B-16:random"


def check(asked: Asked, say: Say) -> list[Finding]:
    """Of each method every phase whose peak is not as estimated, otherwise the highest phase.

    On a CPU the peak of tensor bytes must be the estimate to the byte; where images decide what is computed, it must
    not be above it. On a GPU nothing is judged: what the allocator gave out and what it reserved are shown beside the
    estimate, and the largest ratio of reserved to estimated bytes.
    """
    found: list[Finding] = []
    for name in methods_of(asked):
        say(name)
        found += asked.items.look(SECTION, name, partial(_measure, name, small_spec(name, asked), asked))
    large: list[Finding] = []
    for name in large_methods(asked):
        subject = f"{name}, {LARGE_BACKBONE}"
        say(subject)
        large += asked.items.look(SECTION, subject, partial(_measure_large, subject, name, asked))
    ratios = {item.subject: float(item.value) for item in large if item.quantity == RATIO}
    return [*found, *large, *(_margin(ratios, asked) if ratios else [])]


def large_methods(asked: Asked) -> tuple[str, ...]:
    """The methods that are also measured on a backbone of the usual size, with few classes; on a CPU only the first."""
    if asked.quick:
        return ()
    methods = methods_of(asked, "large")
    return methods if asked.is_gpu else methods[:1]


def _margin(ratios: dict[str, float], asked: Asked) -> list[Finding]:
    """What a process needs beside its estimate, by the large backbone; kept for the packing of later runs.

    On a small backbone the allocator's rounding to whole blocks would be most of it.
    """
    name = max(ratios, key=lambda name: ratios[name])
    found = [Finding(SECTION, name, "margin, the largest of these ratios", ratios[name])]
    used = used_mib(asked.device.index or 0)
    if used is None:
        return [
            *found,
            Finding(SECTION, str(asked.device), "margin of runs", "not kept: no nvidia-smi tells the context"),
        ]
    # What the process takes beside what torch reserved; of other processes on the device, too, which only adds to it.
    context = max(0, int(used * MIB) - torch.cuda.memory_reserved(asked.device))
    with suppress(OSError):
        remember_margin(asked.device, Margin(ratio=max(1.0, ratios[name]), context_bytes=context))
    return [
        *found,
        Finding(SECTION, str(asked.device), "context, kept with the margin for later runs", context, "bytes"),
    ]


def _measure_large(subject: str, name: str, asked: Asked) -> list[Finding]:
    """Measure a method on a backbone of the usual size, with random weights and six classes."""
    words = ("train.batch_size=4", "train.cache_batch_size=4", "runtime.eval_batch_size=4")
    return _measure(subject, small_spec(name, asked, *words, backbone=LARGE_BACKBONE), asked)


def _measure(subject: str, spec: RunSpec, asked: Asked) -> list[Finding]:
    """Estimate a run, and take the same steps on the device."""
    estimate = shared_estimator().estimate(spec, device=asked.device.type, flops=False)
    if asked.is_gpu:
        # What earlier methods left reserved is not this one's.
        torch.cuda.empty_cache()
    measured = measure(spec, None, asked.device, estimate.batches)
    return _beside(subject, estimate, measured) if asked.is_gpu else _judge(subject, estimate, measured)


def _judge(name: str, estimate: Estimate, measured: dict[str, MeasuredPeak]) -> list[Finding]:
    """Phases that are not as estimated, or else the highest phase."""
    findings = {}
    for phase in sorted(estimate.phases.keys() | measured.keys()):
        wanted = estimate.phases[phase].num_bytes if phase in estimate.phases else 0
        peak = measured[phase].num_bytes if phase in measured else 0
        may_be_less = estimate.is_upper_bound(phase) or estimate.is_guess(phase)
        ok = peak == wanted or (may_be_less and peak <= wanted)
        at_most = ", at most" if may_be_less else ""
        findings[phase] = Finding(SECTION, name, f"peak of {phase}{at_most}", peak, "bytes", wanted, ok)
    wrong = [item for item in findings.values() if not item.ok]
    return wrong or [findings[estimate.highest_phase]]


def _beside(name: str, estimate: Estimate, measured: dict[str, MeasuredPeak]) -> list[Finding]:
    """The highest phase by the estimate: allocated and reserved."""
    phase = estimate.highest_phase
    wanted, peak = estimate.phases[phase].num_bytes, measured.get(phase, MeasuredPeak(0, 0))
    reserved = peak.reserved_bytes or 0
    bound = ", estimate is a bound" if estimate.peak_is_bound else ""
    return [
        Finding(SECTION, name, f"allocated in {phase}{bound}", peak.num_bytes, "bytes", wanted),
        Finding(SECTION, name, f"reserved in {phase}", reserved, "bytes", wanted),
        Finding(SECTION, name, RATIO, reserved / wanted),
    ]
