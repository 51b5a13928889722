"""What a method's training step, caching pass and inference cost, with the speed-ups and without, in one run.

"Off" is how the reference code computes: 77 tokens a prompt, whole towers at every step (for Skip Tuning: behind its
cache, which whole towers fill), one image at a time where texts depend on the image, and the prompts encoded again for
every test batch. Weights are random, pictures are noise: costs depend on neither.
"""

import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from harness.clip.backbones import RANDOM, bundled
from harness.clip.prompts import fill_template
from harness.clip.speedups import Speedups
from harness.clip.towers import CLIP, RAW
from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.experiment.registry import check_method, method_class, method_names
from harness.experiment.settings import Section, Settings, validate
from harness.experiment.spec import Precision
from harness.machine.environment import Environment, describe
from harness.machine.meter import count_flops, peak_bytes, storage_bytes
from harness.machine.units import MIB
from harness.results.files import to_json, write_atomically
from harness.training.build import build_clip, build_method
from harness.training.precision import autocast, gradient_scaler
from harness.training.trainer import build_optimizer, trained_parameters, training_step
from methods.base import Method

TEMPLATE = "a photo of a {}."
# Small enough to leave random weights where they are, large enough for a second loss to tell a wrong gradient.
LR = 1e-3
OFF, ON = "off", "on"


class Row(Section):
    """A method to measure.

    Options stand under the method's name, as everywhere.
    """

    method: str
    options: Settings = Field({}, description="of the method")
    batch_size: int | None = Field(None, ge=1, description="pictures a step, if this method has its own")
    reference_caches: bool = Field(False, description="the official code trains on cached tokens, too")

    @model_validator(mode="before")
    @classmethod
    def _options_under_method_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("method") in value:
            value = dict(value)
            value["options"] = value.pop(value["method"]) or {}
        return value

    @property
    def title(self) -> str:
        """The method and its options that are not the default, such as `coop n_ctx=4`."""
        config = method_class(self.method).Config(**self.options)
        changed = config.model_dump(exclude_defaults=True)
        return " ".join([self.method, *(f"{key}={value}" for key, value in changed.items())])


class SpeedSpec(Section):
    """What to measure: `experiments/speed.yaml`."""

    backbone: str = "ViT-B-16"
    classes: int = Field(50, ge=2)
    batch_size: int = Field(4, ge=1)
    eval_batch_size: int = Field(8, ge=1)
    cache_batch_size: int = Field(8, ge=1)
    precision: Precision = "fp32"
    each: bool = Field(True, description="measure also without each of the speed-ups, not only without all")
    class_names: tuple[str, ...] = Field(min_length=1, description="data sets whose class names are taken")
    rows: tuple[Row, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Setting:
    """A way to compute.

    Attributes:
        name: `off`, `on`, or `on without` one speed-up.
        speedups: of the towers.
        cached: frozen stages run once, of images before the steps and of texts when the classes are set.
        texts_once: inference encodes the texts once a class list, not once a batch.
    """

    name: str
    speedups: Speedups
    cached: bool
    texts_once: bool


@dataclass(frozen=True)
class Costs:
    """What one setting costs; None where there is nothing to measure, or nothing else than with `on`.

    Attributes:
        step_seconds: a training step, median.
        step_mib: its peak memory above the resting model (weights and buffers), exact on a CPU.
        step_gflop: its operations.
        cache_seconds: the caching pass of one picture, median.
        cache_gflop: its operations.
        texts_seconds: encoding the texts of a class list, median.
        inference_seconds: one picture from pixels to logits, median, its share of the texts included if every batch
            encodes them.
        inference_mib: its peak memory above the resting model.
        inference_gflop: its operations.
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
class Outcome:
    """What was computed, for comparison: loss and gradient of a step, the loss behind it, logits behind two steps."""

    losses: Tensor
    gradient: Tensor
    logits: Tensor

    def difference(self, other: "Outcome") -> float:
        """Largest distance of the three, each relative to the other's norm."""
        pairs = [(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        # The distance itself, where the other is zero; infinite, where anything is no number.
        found = [float((ours - theirs).norm()) / (float(theirs.norm()) or 1.0) for ours, theirs in pairs]
        return math.inf if any(map(math.isnan, found)) else max(found)


@dataclass(frozen=True)
class Measurement:
    """Costs of a method under one setting.

    Attributes:
        method: name.
        title: name and options.
        batch_size: pictures a step.
        setting: its name.
        costs: measured.
        ratios: cost of `off` / cost here.
        difference: of the outcome from that of `off`, relative.
    """

    method: str
    title: str
    batch_size: int
    setting: str
    costs: Costs
    ratios: dict[str, float]
    difference: float


def choose_rows(spec: SpeedSpec, methods: list[str], overrides: Settings) -> SpeedSpec:
    """The rows of some methods (all, if none is named), options changed by `overrides` ({"coop": {"n_ctx": 8}}).

    Raises:
        UserError: an unknown method or option.
    """
    for name in methods:
        check_method(name)
    flat = [key for key, options in overrides.items() if not isinstance(options, Mapping)]
    if flat:
        raise UserError(
            f"{flat[0]}={overrides[flat[0]]!r}: '{flat[0]}' is a method, set its options, such as skip.depth=4"
        )
    strange = [key for key in overrides if key not in (methods or method_names())]
    if strange:
        raise UserError(f"unknown key '{strange[0]}': only options of the methods can be changed, such as skip.depth=4")
    rows = [row for row in spec.rows if not methods or row.method in methods]
    rows += [Row(method=name) for name in methods if name not in {row.method for row in rows}]
    changed = [row.model_copy(update={"options": {**row.options, **overrides.get(row.method, {})}}) for row in rows]
    for row in changed:
        validate(method_class(row.method).Config, row.options, f"{row.method}.")
    distinct = {row.title: row for row in changed}
    return spec.model_copy(update={"rows": tuple(distinct.values())})


def settings_of(row: Row, each: bool) -> list[Setting]:
    """Off, on, and, if `each` is asked for, on without each of the speed-ups."""
    plain, fast = Speedups(), Speedups()
    plain.switch_off()
    on = Setting(ON, fast, cached=True, texts_once=True)
    without = [
        replace(on, name=f"on without {item.name}", speedups=replace(fast, **{item.name: getattr(plain, item.name)}))
        for item in fields(Speedups)
    ]
    without.append(replace(on, name="on without cache", cached=False))
    without.append(replace(on, name="on without texts_once", texts_once=False))
    off = Setting(OFF, plain, cached=row.reference_caches, texts_once=False)
    return [off, on, *(without if each else [])]


def class_names(spec: SpeedSpec) -> list[str]:
    """As many distinct names as there are classes; where the data sets have fewer, with numbers behind."""
    known = dict.fromkeys(name for dataset in spec.class_names for name in read_dataset(dataset, None).class_names)
    # Every so manyth, not the first in the alphabet.
    step = max(1, len(known) // spec.classes)
    names = list(known)[::step]
    numbered = (f"{name} {number}" for number in count(2) for name in known)
    return [*names, *(next(numbered) for _ in range(spec.classes - len(names)))][: spec.classes]


class Benchmark:
    """Measures methods.

    Args:
        spec: what to measure.
        device: where.
    """

    def __init__(self, spec: SpeedSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.names = class_names(spec)
        self.left_out: list[str] = []
        self.machine = describe(device)
        torch.manual_seed(0)
        backbone = spec.backbone if ":" in spec.backbone or spec.backbone in bundled() else f"{spec.backbone}:{RANDOM}"
        self.clip = build_clip(backbone, spec.precision, device)
        self.weights = {name: value.clone() for name, value in self.clip.state_dict().items()}
        size = self.clip.image_size
        pictures = max(spec.batch_size, spec.eval_batch_size, spec.cache_batch_size)
        self.pixels = torch.randn(pictures, 3, size, size).to(device)
        self.labels = torch.randint(spec.classes, (pictures,)).to(device)

    @property
    def num_settings(self) -> int:
        """How many settings of all rows are to be tried."""
        return sum(len(settings_of(row, self.spec.each)) for row in self.spec.rows)

    def measure(self, report: Callable[[str], None] = lambda title: None) -> Iterator[Measurement]:
        """Every row under every setting; settings that take nothing away from a method are left out.

        Args:
            report: told what is measured next.
        """
        for row in self.spec.rows:
            off: tuple[Costs, Outcome] | None = None
            on: Costs | None = None
            for setting in settings_of(row, self.spec.each):
                report(f"{row.title}, {setting.name}")
                try:
                    subject = Subject(self, row, setting)
                except UserError as error:
                    self.left_out.append(f"{row.title} is left out: {error}")
                    break
                costs, outcome = subject.costs(on), subject.outcome
                if costs == Costs():
                    continue
                if off is None:
                    off = costs, outcome
                elif on is None:
                    on = costs
                yield Measurement(
                    row.method,
                    row.title,
                    subject.batch_size,
                    setting.name,
                    costs,
                    ratios(costs, off[0]),
                    outcome.difference(off[1]),
                )

    def fresh_clip(self, speedups: Speedups) -> CLIP:
        """The same CLIP with its first weights, nothing of it trainable."""
        self.clip.load_state_dict(self.weights)
        self.clip.requires_grad_(False)
        for item in fields(Speedups):
            setattr(self.clip.speedups, item.name, getattr(speedups, item.name))
        return self.clip


class Subject:
    """One method under one setting, two steps trained.

    Args:
        benchmark: brings backbone, pictures and class names.
        row: the method.
        setting: how to compute.

    Raises:
        UserError: the options do not fit the backbone.
    """

    def __init__(self, benchmark: Benchmark, row: Row, setting: Setting) -> None:
        self.spec = benchmark.spec
        self.device = benchmark.device
        self.setting = setting
        self.pixels = benchmark.pixels
        self.batch_size = row.batch_size or self.spec.batch_size
        self.labels = benchmark.labels[: self.batch_size]
        cls = method_class(row.method)
        clip = benchmark.fresh_clip(setting.speedups)
        template = cls.prompt_template(cls.Config(**row.options), TEMPLATE)
        texts = [fill_template(template, name) for name in benchmark.names]
        self.method: Method = build_method(
            clip, row.method, row.options, texts, self.spec.precision, seed=0, cache_text=setting.cached
        )
        self.trains = bool(trained_parameters(self.method))
        self.optimizer = build_optimizer(self.method, LR, precision=self.spec.precision) if self.trains else None
        self.scaler = gradient_scaler(self.spec.precision, self.device)
        # Like `TrainingImages`: stage 0 is not worth keeping.
        caches = setting.cached and self.method.image_start > 0
        self.cached = self.run_frozen(self.pixels[: self.batch_size]) if caches else None
        self.outcome = self._train_two_steps()

    def _train_two_steps(self) -> Outcome:
        losses, gradient = [], torch.zeros(0)
        if self.optimizer:
            with autocast(self.spec.precision, self.device):
                loss = self.method.loss(self.images(), self.labels)
            loss.backward()
            found = [parameter.grad for parameter in trained_parameters(self.method).values()]
            gradient = torch.cat([value.detach().float().flatten() for value in found if value is not None])
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            losses = [loss.detach().float(), self.step().float()]
        return Outcome(torch.stack(losses) if losses else torch.zeros(0), gradient, self.infer().float())

    @torch.no_grad()
    def run_frozen(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> tokens at the method's stage."""
        with autocast(self.spec.precision, self.device):
            return self.method.clip.image.run(pixels, RAW, self.method.image_start)

    def images(self) -> Tensor:
        """The training batch at the method's stage, from the cache if there is one."""
        if self.cached is None:
            return self.run_frozen(self.pixels[: self.batch_size])
        return self.cached.clone()

    def step(self) -> Tensor:
        """One training step."""
        assert self.optimizer
        x = self.images()
        return training_step(self.method, self.optimizer, self.scaler, x, self.labels, self.spec.precision)

    @torch.no_grad()
    def fill_cache(self) -> Tensor:
        """The caching pass of a batch: the frozen stages, or the whole tower as in the reference."""
        pixels = self.pixels[: self.spec.cache_batch_size]
        if self.setting.name != OFF:
            return self.run_frozen(pixels)
        with autocast(self.spec.precision, self.device):
            return self.method.clip.image.run(pixels)

    @torch.no_grad()
    def encode_texts(self) -> Tensor:
        """What inference needs of the class names, from its cache or, in every batch, from their words on."""
        method = self.method
        kept, method.frozen_text = method.frozen_text, method.frozen_text if self.setting.texts_once else None
        with autocast(self.spec.precision, self.device):
            text = method.text_features()
        method.frozen_text = kept
        return text

    def set_classes(self) -> None:
        """What a new class list costs before the first picture."""
        with autocast(self.spec.precision, self.device):
            self.method.set_classes(self.method.prompts)
        self.encode_texts()

    @torch.no_grad()
    def infer(self, text: Tensor | None = None) -> Tensor:
        """Logits of a batch of pixels."""
        text = self.encode_texts() if text is None else text
        with autocast(self.spec.precision, self.device):
            x = self.method.clip.image.run(self.pixels[: self.spec.eval_batch_size], RAW, self.method.image_start)
            return self.method.logits(x, text)

    def works(self) -> dict[str, tuple[Callable[[], object], int]]:
        """What is measured, and of how many pictures one costs a share of it."""
        text = self.encode_texts() if self.setting.texts_once else None
        works: dict[str, tuple[Callable[[], object], int]] = {}
        if self.trains:
            works["step"] = self.step, 1
        if self.trains and self.method.image_start > 0:
            works["cache"] = self.fill_cache, self.spec.cache_batch_size
        works["texts"] = self.set_classes, 1
        works["inference"] = lambda: self.infer(text), self.spec.eval_batch_size
        return works

    def costs(self, on: Costs | None) -> Costs:
        """Measure everything; if `on` is given, only training step and inference, where operations or memory differ."""
        found: dict[str, float] = {}
        for name, (work, pictures) in self.works().items():
            if on and name not in ("step", "inference"):
                continue
            mib, gflop = self.probe(work)
            if on and (gflop / pictures, mib) == (getattr(on, f"{name}_gflop"), getattr(on, f"{name}_mib")):
                continue
            seconds = median_seconds(work, self.device) / pictures
            found |= {f"{name}_seconds": seconds, f"{name}_mib": mib, f"{name}_gflop": gflop / pictures}
        return Costs(**found)

    def probe(self, work: Callable[[], object]) -> tuple[float, float]:
        """Peak memory above the resting model in MiB, and operations in 10^9; also the warm-up."""
        model = [*self.method.parameters(), *self.method.buffers()]
        states = self.optimizer.state.values() if self.optimizer else ()
        momentum = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        kept = [value for value in (self.method.frozen_text, self.cached) if value is not None]
        flops = 0

        def counted() -> None:
            nonlocal flops
            flops = count_flops(work)

        peak = peak_bytes(counted, [*model, *momentum, *kept], self.device)
        return (peak - storage_bytes(model)) / MIB, flops / 1e9


def median_seconds(
    work: Callable[[], object], device: torch.device, enough_seconds: float = 1.0, least: int = 3, most: int = 50
) -> float:
    """Median wall time of some work, which has run before, repeated until it took long enough."""

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


def ratios(costs: Costs, off: Costs) -> dict[str, float]:
    """Each cost of `off` by that here: how many times less it is."""
    found = {}
    for item in fields(Costs):
        ours, theirs = getattr(costs, item.name), getattr(off, item.name)
        if ours and theirs:
            found[item.name] = theirs / ours
    return found


def save(results: Path, spec: SpeedSpec, measured: list[Measurement], machine: Environment) -> Path:
    """Write all measurements, what was measured and on what machine; the file's path.

    Raises:
        UserError: no space, no permission.
    """
    kind = "gpu" if machine.cuda else "cpu"
    methods = sorted({row.method for row in spec.rows})
    which = f"{'_'.join(methods)}-" if len(methods) < len(method_names()) else ""
    name = f"{which}{spec.backbone}-{spec.classes}classes-batch{spec.batch_size}-{spec.precision}-{kind}"
    path = results / "speed" / (re.sub(r"[^A-Za-z0-9.-]+", "_", name) + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(item) for item in measured]
    for row in rows:
        # JSON knows no infinity.
        row["difference"] = row["difference"] if math.isfinite(row["difference"]) else None
    write_atomically(
        path, to_json({"spec": spec.model_dump(mode="json"), "machine": machine.model_dump(), "measured": rows})
    )
    return path
