"""One method under one setting: what it computes, and the operations whose costs are measured."""

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.clip.prompts import fill_template
from harness.clip.texts import Taught, Text, prompts_of
from harness.clip.towers import END
from harness.data.templates import ENSEMBLES, ensemble_templates
from harness.experiment.registry import method_class
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import count_flops, peak_bytes, storage_bytes
from harness.machine.operators import count_launches
from harness.machine.threads import step_threads, threads
from harness.machine.units import MIB
from harness.reference.speed.measurement import SpeedCosts
from harness.reference.speed.spec import OFF, Row, Setting
from harness.reference.speed.timing import Sample, Work, medians
from harness.training.build import build_method
from harness.training.feature_cache import is_worth_caching
from harness.training.fitting import fit_method
from harness.training.inference import classify, encode_texts, run_frozen, set_classes
from harness.training.optimizer import build_optimizer
from harness.training.precision import gradient_scaler
from harness.training.state import trained_parameters
from harness.training.step import on_gradients, training_step
from methods.base import Method, Shots

if TYPE_CHECKING:
    from harness.reference.speed.benchmark import Benchmark

TEMPLATE = "a photo of a {}."
# Small enough to leave random weights where they are, large enough for a second loss to reveal a wrong gradient.
LR = 1e-3


@dataclass(frozen=True)
class Outcome:
    """What was computed, for comparison.

    Attributes:
        losses: of two training steps (2,); empty if nothing trains.
        gradient: of the first step, all trained parameters in one vector; empty if nothing trains.
        logits: of a batch after these steps (B, C).
    """

    losses: Tensor
    gradient: Tensor
    logits: Tensor

    def difference(self, other: "Outcome") -> float:
        """Largest distance of the three, each relative to the other's norm."""
        pairs = [(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        # If the other is zero, the distance itself; if anything is NaN, infinity.
        found = [float((ours - theirs).norm()) / (float(theirs.norm()) or 1.0) for ours, theirs in pairs]
        return math.inf if any(map(math.isnan, found)) else max(found)


def teacher_templates(cls: type[Method], row: Row) -> tuple[str, ...]:
    """The prompt templates of a method's teacher; empty if it has none."""
    if cls.teacher is None:
        return ()
    which = row.teacher_templates or cls.teacher
    templates = ensemble_templates(which) if which in ENSEMBLES else (which if "{}" in which else TEMPLATE,)
    return tuple(cls.teacher_template(cls.Config(**row.options), template) for template in templates)


@dataclass(frozen=True)
class Operation:
    """Something whose cost is measured.

    Attributes:
        run: does it.
        images: by which its cost is divided.
        mib: its peak memory above the resting model.
        gflop: its operations in 10^9, per image.
        launches: number of operators that compute something.
    """

    run: Work
    images: int
    mib: float
    gflop: float
    launches: int


class Subject:
    """One method under one setting, after two training steps.

    Several live at once and share a CLIP: its weights have no influence on costs, and each operation first sets the
    speed-ups of its subject.

    Args:
        benchmark: provides backbone, images and class names.
        row: the method.
        setting: how to compute.

    Attributes:
        works: step, cache, texts, inference -> the operation, if the method has it.

    Raises:
        UserError: the options do not fit the backbone.
    """

    def __init__(self, benchmark: "Benchmark", row: Row, setting: Setting) -> None:
        self.benchmark = benchmark
        self.row = row
        self.spec = benchmark.spec
        self.device = benchmark.device
        self.setting = setting
        self.pixels = benchmark.pixels
        self.batch_size = row.batch_size or self.spec.batch_size
        self.cache_batch_size = row.cache_batch_size or self.spec.cache_batch_size
        self.labels = benchmark.labels[: self.batch_size]
        cls = method_class(row.method)
        clip = benchmark.fresh_clip(setting.speedups)
        template = cls.prompt_template(cls.Config(**row.options), TEMPLATE)
        keep, teacher = cls.keeps_underscores, teacher_templates(cls, row)
        texts: list[Text] = [fill_template(template, name, keep) for name in benchmark.names]
        if teacher:
            filled = [tuple(fill_template(one, name, keep) for one in teacher) for name in benchmark.names]
            texts = [Taught(prompts_of(text), theirs) for text, theirs in zip(texts, filled, strict=True)]
        self.method: Method = build_method(
            clip, row.method, row.options, texts, self.spec.precision, seed=0, cache_text=setting.cached_texts
        )
        if self.method.is_fitted():
            fit_method(self.method, self.shots(), self.spec.precision, seed=0)
        self.trains = bool(trained_parameters(self.method))
        self.optimizer = build_optimizer(self.method, TrainSpec(lr=LR), self.spec.precision) if self.trains else None
        # A scale that cannot overflow: a step that is skipped would cost less.
        self.scaler = gradient_scaler(self.spec.precision, self.device, init_scale=1.0)
        self.has_frozen_images = is_worth_caching(self.method.image_start)
        self.cached = self.images() if setting.cached and self.has_frozen_images else None
        view = self.method.frozen_view
        self.cached_frozen = self.frozen() if setting.cached and view else None
        self.outcome = self._train_two_steps()
        self.works = {name: self._operation(work, images) for name, (work, images) in self._works().items()}

    def _train_two_steps(self) -> Outcome:
        losses: list[Tensor] = []
        gradients: dict[int, Tensor] = {}

        def keep(parameter: Tensor) -> None:
            assert parameter.grad is not None
            gradients[id(parameter)] = parameter.grad.detach().float().flatten().clone()

        parameters = trained_parameters(self.method).values()
        if self.trains:
            with on_gradients(parameters, keep):
                losses.append(self.step().float())
            losses.append(self.step().float())
        in_order = [gradients[id(parameter)] for parameter in parameters if id(parameter) in gradients]
        return Outcome(
            losses=torch.stack(losses) if losses else torch.zeros(0),
            gradient=torch.cat(in_order) if in_order else torch.zeros(0),
            logits=self.infer(),
        )

    def shots(self) -> Shots:
        """Noise, the same under all settings, in place of all images of an epoch, as many of each class."""
        clip, classes = self.method.clip, self.spec.classes
        one = run_frozen(clip, self.pixels[:1], self.method.image_start, self.spec.precision)
        number = classes * self.spec.shots
        noise = torch.randn((1, number, *one.shape[1:]), generator=torch.Generator().manual_seed(0))
        labels = torch.arange(number, device=self.device) % classes
        return Shots(noise.to(one), labels, self.spec.shots)

    def images(self) -> Tensor:
        """The training batch at the method's stage, computed from its pixels."""
        pixels = self.pixels[: self.batch_size]
        return run_frozen(self.method.clip, pixels, self.method.image_start, self.spec.precision)

    def frozen(self) -> Tensor:
        """What the untouched CLIP makes of the training batch, (B, E)."""
        return run_frozen(self.method.clip, self.pixels[: self.batch_size], END, self.spec.precision)

    def step(self) -> Tensor:
        """One training step, on cached images if there are some; its loss."""
        assert self.optimizer
        x = self.images() if self.cached is None else self.cached.clone()
        frozen = self.cached_frozen
        if frozen is None and self.method.frozen_view:
            frozen = self.frozen()
        with threads(step_threads(self.method.clip.is_narrow, given=None)):
            return training_step(self.method, self.optimizer, self.scaler, x, self.labels, self.spec.precision, frozen)

    def fill_cache(self) -> None:
        """The caching passes of one batch: the frozen stages, or the whole tower as in the reference code."""
        pixels, whole = self.pixels[: self.cache_batch_size], self.setting.name == OFF
        if self.has_frozen_images:
            stage = END if whole else self.method.image_start
            run_frozen(self.method.clip, pixels, stage, self.spec.precision)
        if self.method.frozen_view:
            run_frozen(self.method.clip, pixels, END, self.spec.precision)

    def encode_texts(self) -> Tensor:
        """What inference needs of the classes: from their cached texts or, if every batch encodes them, from words."""
        method = self.method
        kept, method.frozen_text = method.frozen_text, method.frozen_text if self.setting.texts_once else None
        text = encode_texts(method, self.spec.precision)
        method.frozen_text = kept
        return text

    def set_classes(self) -> None:
        """What a new list of classes costs before the first image."""
        set_classes(self.method, self.method.prompts, self.spec.precision)
        self.encode_texts()

    def infer(self, text: Tensor | None = None) -> Tensor:
        """Logits (B, C) of a batch of pixels.

        Args:
            text: what `encode_texts` returned; None encodes the texts again.
        """
        text = self.encode_texts() if text is None else text
        return classify(self.method, self.pixels[: self.spec.eval_batch_size], text, self.spec.precision)

    def _works(self) -> dict[str, tuple[Work, int]]:
        """Each measured operation: a callable, and the number of images by which its cost is divided."""
        text = self.encode_texts() if self.setting.texts_once else None
        works: dict[str, tuple[Work, int]] = {}
        if self.trains:
            works["step"] = self.step, 1
        if self.trains and (self.has_frozen_images or self.method.frozen_view):
            works["cache"] = self.fill_cache, self.cache_batch_size
        works["texts"] = self.set_classes, 1
        works["inference"] = lambda: self.infer(text), self.spec.eval_batch_size
        return works

    def _operation(self, work: Work, images: int) -> Operation:
        def run() -> object:
            self.benchmark.use(self.setting.speedups)
            return work()

        mib, gflop, launches = self.probe(run)
        return Operation(run, images, mib, gflop / images, launches)

    def differs(self, other: "Subject", work: str) -> bool:
        """Whether an operation costs other work or memory than that of another subject."""
        if work not in self.works:
            return False
        ours, theirs = self.works[work], other.works[work]
        return (ours.mib, ours.gflop) != (theirs.mib, theirs.gflop)

    def costs(self, samples: dict[str, tuple[Sample, ...]]) -> SpeedCosts:
        """All costs of the operations that were timed."""
        found: dict[str, float | None] = {}
        for name, taken in samples.items():
            work, middle = self.works[name], medians(taken)
            found[f"{name}_cpu_seconds"] = None if self.device.type == "cuda" else middle.cpu / work.images
            found[f"{name}_seconds"] = middle.wall / work.images
            found |= {f"{name}_mib": work.mib, f"{name}_gflop": work.gflop}
            if name == "step":
                found["step_launches"] = work.launches
        costs = SpeedCosts(**found)
        return replace(
            costs,
            epoch_cpu_seconds=self._epoch(costs.step_cpu_seconds, costs.cache_cpu_seconds),
            epoch_seconds=self._epoch(costs.step_seconds, costs.cache_seconds),
        )

    def _epoch(self, step: float | None, cache: float | None) -> float | None:
        """Seconds of an epoch from those of a step and of caching an image; None if either was not measured."""
        caches = self.cached is not None or self.cached_frozen is not None
        if step is None or (caches and cache is None):
            return None
        images = self.spec.classes * self.spec.shots
        caching = images * (cache or 0.0) if caches else 0.0
        return caching + images // self.batch_size * step

    def probe(self, work: Work) -> tuple[float, float, int]:
        """Peak memory above the resting model in MiB, operations in 10^9, launches. This run is also the warm-up."""
        model = [*self.method.parameters(), *self.method.buffers()]
        states = self.optimizer.state.values() if self.optimizer else ()
        momentum = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        features = (self.method.frozen_text, self.method.teacher_text, self.cached, self.cached_frozen)
        kept = [value for value in features if value is not None]
        flops = launches = 0

        def counted() -> None:
            nonlocal flops
            flops = count_flops(launched)

        def launched() -> None:
            nonlocal launches
            launches = count_launches(work)

        own = [*model, *momentum, *kept]
        # On a GPU, the allocator also counts what other subjects hold.
        on_gpu = self.device.type == "cuda"
        others = torch.cuda.memory_allocated(self.device) - storage_bytes(own) if on_gpu else 0
        peak = peak_bytes(counted, own, self.device) - others
        return (peak - storage_bytes(model)) / MIB, flops / 1e9, launches
