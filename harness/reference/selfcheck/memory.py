"""Estimated memory beside what the same steps take on the device."""

from functools import partial

import torch

from harness.estimate.estimator import Estimate, MeasuredPeak, measure
from harness.estimate.fit import shared_estimator
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.specs import methods_of, small_spec

SECTION = "memory"
RATIO = "reserved / estimated"


def check(asked: Asked, say: Say) -> list[Finding]:
    """Of each method every phase whose peak is not as estimated, otherwise the highest phase.

    On a CPU the peak of tensor bytes must be the estimate to the byte; where images decide what is computed, it must
    not be above it. On a GPU nothing is judged: what the allocator gave out and what it reserved are shown beside the
    estimate, and the largest ratio of reserved to estimated bytes.
    """
    found: list[Finding] = []
    for name in methods_of(asked):
        say(name)
        found += asked.items.look(SECTION, name, partial(_measure, name, asked))
    ratios = {item.subject: float(item.value) for item in found if item.quantity == RATIO}
    if ratios:
        name = max(ratios, key=lambda name: ratios[name])
        found.append(Finding(SECTION, name, "margin, the largest of these ratios", ratios[name]))
    return found


def _measure(name: str, asked: Asked) -> list[Finding]:
    """Estimate a method, and take the same steps on the device."""
    spec = small_spec(name, asked)
    estimate = shared_estimator().estimate(spec, device=asked.device.type, flops=False)
    if asked.is_gpu:
        # What earlier methods left reserved is not this one's.
        torch.cuda.empty_cache()
    measured = measure(spec, None, asked.device, estimate.batches)
    return _beside(name, estimate, measured) if asked.is_gpu else _judge(name, estimate, measured)


def _judge(name: str, estimate: Estimate, measured: dict[str, MeasuredPeak]) -> list[Finding]:
    """Phases that are not as estimated, or else the highest phase."""
    findings = {}
    for phase in sorted(estimate.phases.keys() | measured.keys()):
        wanted = estimate.phases[phase].num_bytes if phase in estimate.phases else 0
        peak = measured[phase].num_bytes if phase in measured else 0
        may_be_less = estimate.is_bound or estimate.made_up
        ok = peak == wanted or (may_be_less and peak <= wanted)
        findings[phase] = Finding(SECTION, name, f"peak of {phase}", peak, "bytes", wanted, ok)
    wrong = [item for item in findings.values() if not item.ok]
    return wrong or [findings[estimate.highest_phase]]


def _beside(name: str, estimate: Estimate, measured: dict[str, MeasuredPeak]) -> list[Finding]:
    """The highest phase by the estimate: allocated and reserved."""
    phase = estimate.highest_phase
    wanted, peak = estimate.phases[phase].num_bytes, measured.get(phase, MeasuredPeak(0, 0))
    reserved = peak.reserved_bytes or 0
    return [
        Finding(SECTION, name, f"allocated in {phase}", peak.num_bytes, "bytes", wanted),
        Finding(SECTION, name, f"reserved in {phase}", reserved, "bytes", wanted),
        Finding(SECTION, name, RATIO, reserved / wanted),
    ]
