"""What the benchmark of the speed-ups found: costs and their ratios, and the file that they are written to."""

import math
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from harness.experiment.registry import method_names
from harness.machine.environment import Environment
from harness.reference.speed.spec import SpeedSpec
from harness.results.files import to_json, write_atomically


@dataclass(frozen=True)
class SpeedCosts:
    """What one setting costs; None where there is nothing to measure, or where it costs the same as `on`.

    Attributes:
        step_seconds: a training step, median.
        step_mib: peak memory of a training step, in MiB above the resting model (weights and buffers), exact on a CPU.
        step_gflop: operations of a training step, in 10^9.
        cache_seconds: the caching pass, per image, median.
        cache_mib: its peak memory, as for the step.
        cache_gflop: its operations per image.
        texts_seconds: encoding the texts of a list of classes, median.
        texts_mib: its peak memory.
        texts_gflop: its operations.
        inference_seconds: from pixels to logits, per image, median; with the image's share of encoding the texts, if
            every batch encodes them.
        inference_mib: its peak memory.
        inference_gflop: its operations per image.
    """

    step_seconds: float | None = None
    step_mib: float | None = None
    step_gflop: float | None = None
    cache_seconds: float | None = None
    cache_mib: float | None = None
    cache_gflop: float | None = None
    texts_seconds: float | None = None
    texts_mib: float | None = None
    texts_gflop: float | None = None
    inference_seconds: float | None = None
    inference_mib: float | None = None
    inference_gflop: float | None = None


@dataclass(frozen=True)
class Measurement:
    """Costs of a method under one setting.

    Attributes:
        method: its name.
        title: its name and options.
        batch_size: images per step.
        setting: name of the setting.
        costs: as measured.
        ratios: name of a cost -> that of `off` divided by that of this setting.
        difference: relative distance of what was computed from what `off` computed.
    """

    method: str
    title: str
    batch_size: int
    setting: str
    costs: SpeedCosts
    ratios: dict[str, float]
    difference: float


def median_seconds(
    work: Callable[[], object], device: torch.device, enough_seconds: float = 1.0, least: int = 3, most: int = 50
) -> float:
    """Median wall time of some work.

    Args:
        work: has run before, so that nothing is initialised while it is timed.
        device: where it computes.
        enough_seconds: repeat the work until it took this long in all.
        least: fewest repetitions.
        most: most repetitions.
    """

    def timed() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    times: list[float] = []
    while len(times) < least or (sum(times) < enough_seconds and len(times) < most):
        times.append(timed())
    return statistics.median(times)


def ratios(costs: SpeedCosts, off: SpeedCosts) -> dict[str, float]:
    """By which factor each cost is lower than with `off`, for costs that both have."""
    found = {}
    for item in fields(SpeedCosts):
        ours, theirs = getattr(costs, item.name), getattr(off, item.name)
        if ours and theirs:
            found[item.name] = theirs / ours
    return found


def save(results: Path, spec: SpeedSpec, measured: list[Measurement], machine: Environment) -> Path:
    """Write all measurements, what was measured and on which machine to `<results>/speed/`; returns the file.

    Raises:
        UserError: the disk is full, or writing is not permitted.
    """
    kind = "gpu" if machine.cuda else "cpu"
    methods = sorted({row.method for row in spec.rows})
    which = f"{'_'.join(methods)}-" if len(methods) < len(method_names()) else ""
    name = f"{which}{spec.backbone}-{spec.classes}classes-batch{spec.batch_size}-{spec.precision}-{kind}"
    path = results / "speed" / (re.sub(r"[^A-Za-z0-9.-]+", "_", name) + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(item) for item in measured]
    for row in rows:
        # JSON has no infinity.
        row["difference"] = row["difference"] if math.isfinite(row["difference"]) else None
    content = {"spec": spec.model_dump(mode="json"), "machine": machine.model_dump(), "measured": rows}
    write_atomically(path, to_json(content))
    return path
