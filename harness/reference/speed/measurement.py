"""What the benchmark of the speed-ups found: costs and their ratios, and the file that they are written to."""

import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from harness.experiment.registry import method_names
from harness.machine.environment import Environment
from harness.reference.speed.spec import SpeedSpec
from harness.reference.speed.timing import Spread
from harness.results.files import to_json, write_atomically


@dataclass(frozen=True)
class SpeedCosts:
    """What one setting costs; None where there is nothing to measure, or where it costs the same as `on`.

    Seconds are medians. `cpu_seconds` are those that all threads of the process computed (None on a GPU), `seconds`
    those that passed.

    Attributes:
        step_cpu_seconds, step_seconds: a training step.
        step_mib: peak memory of a training step, in MiB above the resting model (weights and buffers), exact on a CPU.
        step_gflop: operations of a training step, in 10^9.
        step_launches: operators of torch that compute something in a training step, about one kernel each on a GPU.
        cache_cpu_seconds, cache_seconds: the caching pass, per image.
        cache_mib: its peak memory, as for the step.
        cache_gflop: its operations per image.
        epoch_cpu_seconds, epoch_seconds: an epoch: its steps, and the caching pass of its images where there is one;
            from the two costs above. Reading and augmenting images is not part of it.
        texts_cpu_seconds, texts_seconds: encoding the texts of a list of classes.
        texts_mib: its peak memory.
        texts_gflop: its operations.
        inference_cpu_seconds, inference_seconds: from pixels to logits, per image; with the image's share of encoding
            the texts, if every batch encodes them.
        inference_mib: its peak memory.
        inference_gflop: its operations per image.
    """

    step_cpu_seconds: float | None = None
    step_seconds: float | None = None
    step_mib: float | None = None
    step_gflop: float | None = None
    step_launches: float | None = None
    cache_cpu_seconds: float | None = None
    cache_seconds: float | None = None
    cache_mib: float | None = None
    cache_gflop: float | None = None
    epoch_cpu_seconds: float | None = None
    epoch_seconds: float | None = None
    texts_cpu_seconds: float | None = None
    texts_seconds: float | None = None
    texts_mib: float | None = None
    texts_gflop: float | None = None
    inference_cpu_seconds: float | None = None
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
        difference: relative distance of what was computed from what `off` computed.
        against: the setting that this one was measured in turn with: `off`, for `on without ...` it is `on`.
        ratios: name of a cost -> that of `against` divided by that of this setting. Of seconds of a step, the caching
            pass, texts and inference: the median over pairs of timings.
        spreads: step, cache, texts, inference -> the ratios of single pairs, of CPU seconds (GPU: of wall seconds).
    """

    method: str
    title: str
    batch_size: int
    setting: str
    costs: SpeedCosts
    difference: float
    against: str = "off"
    ratios: dict[str, float] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)

    @property
    def clock(self) -> str:
        """Which seconds the ratios of pairs are of."""
        return clock_of(self.costs)


def clock_of(costs: SpeedCosts) -> str:
    """Which seconds count: of the CPU, unless a GPU computed."""
    on_cpu = any(getattr(costs, f"{work}_cpu_seconds") for work in ("step", "cache", "texts", "inference"))
    return "cpu_seconds" if on_cpu else "seconds"


def ratios(costs: SpeedCosts, other: SpeedCosts, spreads: dict[str, Spread]) -> dict[str, float]:
    """By which factor each cost is lower than another setting's, for costs that both have.

    Args:
        costs: of a setting.
        other: of the setting that it is compared with.
        spreads: of the ratios of single pairs of timings; their medians are taken instead of ratios of medians.
    """
    found = {}
    for item in fields(SpeedCosts):
        ours, theirs = getattr(costs, item.name), getattr(other, item.name)
        if ours and theirs:
            found[item.name] = theirs / ours
    clock = clock_of(costs)
    medians = {f"{work}_{clock}": spread.median for work, spread in spreads.items()}
    return found | {name: ratio for name, ratio in medians.items() if name in found}


@dataclass(frozen=True)
class Load:
    """How busy the machine was: processes that computed or waited for a core, this one included; None if unknown.

    Attributes:
        before: over the minute before the measurement.
        after: over its last minute.
    """

    before: float | None
    after: float | None


def save(results: Path, spec: SpeedSpec, measured: list[Measurement], machine: Environment, load: Load) -> Path:
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
    for item, row in zip(measured, rows, strict=True):
        # JSON has no infinity.
        row["difference"] = row["difference"] if math.isfinite(row["difference"]) else None
        for work, spread in item.spreads.items():
            row["spreads"][work]["agree"] = spread.agree
    content = {
        "spec": spec.model_dump(mode="json"),
        "machine": machine.model_dump(),
        "load": asdict(load),
        "measured": rows,
    }
    write_atomically(path, to_json(content))
    return path
