"""Measures methods with the speed-ups and without.

"Off" is how the reference code computes: 77 tokens per prompt, whole towers at every step (for Skip Tuning: after its
cache, which whole towers fill), one image at a time where texts depend on the image, and the prompts encoded again for
every test batch. Weights are random and images are noise, because costs depend on neither.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import count

import torch
from torch import Tensor

from harness.clip.backbones import RANDOM, bundled
from harness.clip.prompts import fill_template
from harness.clip.speedups import Speedups
from harness.clip.towers import CLIP, END
from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.experiment.registry import method_class
from harness.experiment.spec import TrainSpec
from harness.machine.environment import describe
from harness.machine.meter import count_flops, peak_bytes, storage_bytes
from harness.machine.units import MIB
from harness.reference.speed.measurement import Measurement, SpeedCosts, median_seconds, ratios
from harness.reference.speed.spec import OFF, Row, Setting, SpeedSpec, settings_of
from harness.training.build import build_clip, build_method
from harness.training.feature_cache import is_worth_caching
from harness.training.inference import classify, encode_texts, run_frozen, set_classes
from harness.training.optimizer import build_optimizer
from harness.training.precision import gradient_scaler
from harness.training.state import trained_parameters
from harness.training.step import on_gradients, training_step
from methods.base import Method

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


def class_names(spec: SpeedSpec) -> list[str]:
    """As many distinct class names as the spec has classes; if its data sets have fewer, names with a number follow."""
    known = dict.fromkeys(name for dataset in spec.class_names for name in read_dataset(dataset, None).class_names)
    # Evenly spaced names rather than the alphabetically first ones.
    step = max(1, len(known) // spec.classes)
    names = list(known)[::step]
    numbered = (f"{name} {number}" for number in count(2) for name in known)
    return [*names, *(next(numbered) for _ in range(spec.classes - len(names)))][: spec.classes]


class Benchmark:
    """Measures methods.

    Args:
        spec: what to measure.
        device: where.

    Attributes:
        left_out: why methods were left out, one line each.
        machine: the environment of the measurements.
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
        images = max(spec.batch_size, spec.eval_batch_size, spec.cache_batch_size)
        self.pixels = torch.randn(images, 3, size, size).to(device)
        self.labels = torch.randint(spec.classes, (images,)).to(device)

    @property
    def num_settings(self) -> int:
        """Number of settings of all rows."""
        return sum(len(settings_of(row, self.spec.each)) for row in self.spec.rows)

    def measure(self, report: Callable[[str], None] = lambda title: None) -> Iterator[Measurement]:
        """Measure every row under every setting; settings that take nothing away from a method are left out.

        Args:
            report: called with what is measured next.
        """
        for row in self.spec.rows:
            off: tuple[SpeedCosts, Outcome] | None = None
            on: SpeedCosts | None = None
            for setting in settings_of(row, self.spec.each):
                report(f"{row.title}, {setting.name}")
                try:
                    subject = Subject(self, row, setting)
                except UserError as error:
                    self.left_out.append(f"{row.title} is left out: {error}")
                    break
                costs, outcome = subject.costs(on), subject.outcome
                if costs == SpeedCosts():
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
    """One method under one setting, after two training steps.

    Args:
        benchmark: provides backbone, images and class names.
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
        self.optimizer = build_optimizer(self.method, TrainSpec(lr=LR), self.spec.precision) if self.trains else None
        # A scale that cannot overflow: a step that is skipped would cost less.
        self.scaler = gradient_scaler(self.spec.precision, self.device, init_scale=1.0)
        self.has_frozen_images = is_worth_caching(self.method.image_start)
        self.cached = self.images() if setting.cached and self.has_frozen_images else None
        self.outcome = self._train_two_steps()

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

    def images(self) -> Tensor:
        """The training batch at the method's stage, computed from its pixels."""
        pixels = self.pixels[: self.batch_size]
        return run_frozen(self.method.clip, pixels, self.method.image_start, self.spec.precision)

    def step(self) -> Tensor:
        """One training step, on cached images if there are some; its loss."""
        assert self.optimizer
        x = self.images() if self.cached is None else self.cached.clone()
        return training_step(self.method, self.optimizer, self.scaler, x, self.labels, self.spec.precision)

    def fill_cache(self) -> Tensor:
        """The caching pass of one batch: the frozen stages, or the whole tower as in the reference code."""
        stage = END if self.setting.name == OFF else self.method.image_start
        return run_frozen(self.method.clip, self.pixels[: self.spec.cache_batch_size], stage, self.spec.precision)

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

    def works(self) -> dict[str, tuple[Callable[[], object], int]]:
        """Each measured operation: a callable, and the number of images by which its cost is divided."""
        text = self.encode_texts() if self.setting.texts_once else None
        works: dict[str, tuple[Callable[[], object], int]] = {}
        if self.trains:
            works["step"] = self.step, 1
        if self.trains and self.has_frozen_images:
            works["cache"] = self.fill_cache, self.spec.cache_batch_size
        works["texts"] = self.set_classes, 1
        works["inference"] = lambda: self.infer(text), self.spec.eval_batch_size
        return works

    def costs(self, on: SpeedCosts | None) -> SpeedCosts:
        """Measure everything or, given the costs of `on`, only steps and inference that cost other work or memory."""
        found: dict[str, float] = {}
        for name, (work, images) in self.works().items():
            if on and name not in ("step", "inference"):
                continue
            mib, gflop = self.probe(work)
            if on and (gflop / images, mib) == (getattr(on, f"{name}_gflop"), getattr(on, f"{name}_mib")):
                continue
            seconds = median_seconds(work, self.device) / images
            found |= {f"{name}_seconds": seconds, f"{name}_mib": mib, f"{name}_gflop": gflop / images}
        return SpeedCosts(**found)

    def probe(self, work: Callable[[], object]) -> tuple[float, float]:
        """Peak memory above the resting model in MiB, and operations in 10^9. This run is also the warm-up."""
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
