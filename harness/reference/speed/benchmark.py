"""Measures methods with the speed-ups and without.

"Off" is how the reference code computes: 77 tokens per prompt, whole towers at every step (for Skip Tuning: after its
cache, which whole towers fill), one image at a time where texts depend on the image, and the prompts encoded again at
every step and for every test batch (for zero-shot CLIP and CLIP-Adapter: once). Images are noise, because costs do not
depend on them. Off and on are timed in turn, so that other processes on the machine slow both alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import count

import torch

from harness.clip.backbones import RANDOM, bundled
from harness.clip.speedups import Speedups
from harness.clip.towers import CLIP
from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.machine.environment import describe
from harness.reference.speed.measurement import Load, Measurement, SpeedCosts, ratios
from harness.reference.speed.spec import OFF, ON, SpeedSpec, settings_of
from harness.reference.speed.subject import Subject
from harness.reference.speed.timing import Spread, Timings, load, time_in_turn
from harness.training.build import build_clip
from harness.training.precision import use_tf32


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
        left_out: why methods were left out, or what of them is, one line each.
        machine: the environment of the measurements.
        load_before: of the machine.
    """

    def __init__(self, spec: SpeedSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.names = class_names(spec)
        self.left_out: list[str] = []
        self.machine = describe(device)
        self.load_before = load()
        use_tf32(spec.precision, device)
        torch.manual_seed(0)
        backbone = spec.backbone if ":" in spec.backbone or spec.backbone in bundled() else f"{spec.backbone}:{RANDOM}"
        self.clip = build_clip(backbone, spec.precision, device)
        self.weights = {name: value.clone() for name, value in self.clip.state_dict().items()}
        size = self.clip.image_size
        own = [size for row in spec.rows for size in (row.batch_size, row.cache_batch_size) if size]
        images = max(spec.batch_size, spec.eval_batch_size, spec.cache_batch_size, *own)
        self.pixels = torch.randn(images, 3, size, size).to(device)
        self.labels = torch.randint(spec.classes, (images,)).to(device)

    @property
    def num_settings(self) -> int:
        """Number of settings of all rows."""
        return sum(len(settings_of(row, self.spec.each)) for row in self.spec.rows)

    @property
    def load(self) -> Load:
        """Of the machine, before and by now."""
        return Load(self.load_before, load())

    def measure(self, report: Callable[[str], None] = lambda title: None) -> Iterator[Measurement]:
        """Measure every row under every setting; settings that take nothing away from a method are left out.

        Args:
            report: called with what is measured next.
        """
        for row in self.spec.rows:
            off_setting, on_setting, *without = settings_of(row, self.spec.each)
            report(f"{row.title}, {off_setting.name}")
            try:
                off = Subject(self, row, off_setting)
            except UserError as error:
                self.left_out.append(f"{row.title} is left out: {error}")
                continue
            if off.method.is_fitted() and not off.trains:
                self.left_out.append(f"{row.title} is fitted and takes no training step: runs measure the phase fit")
            report(f"{row.title}, {on_setting.name}")
            on = Subject(self, row, on_setting)
            timings = self.time(off, on, tuple(off.works))
            before = off.costs({work: found.reference for work, found in timings.items()})
            after = on.costs({work: found.here for work, found in timings.items()})
            yield self.measurement(off, before, off)
            yield self.measurement(on, after, off, before, timings)
            for setting in without:
                report(f"{row.title}, {setting.name}")
                subject = Subject(self, row, setting)
                changed = tuple(work for work in ("step", "inference") if subject.differs(on, work))
                if changed:
                    timings = self.time(on, subject, changed)
                    costs = subject.costs({work: found.here for work, found in timings.items()})
                    yield self.measurement(subject, costs, off, after, timings)

    def time(self, reference: Subject, here: Subject, works: tuple[str, ...]) -> dict[str, Timings]:
        """Times of some works of two subjects, taken in turn."""
        return {
            work: time_in_turn(reference.works[work].run, here.works[work].run, self.device, self.spec.pairs)
            for work in works
        }

    def measurement(
        self,
        subject: Subject,
        costs: SpeedCosts,
        off: Subject,
        against: SpeedCosts | None = None,
        timings: dict[str, Timings] | None = None,
    ) -> Measurement:
        """What was found of a subject.

        Args:
            subject: what was measured.
            costs: its own.
            off: what its outcome is compared with.
            against: costs of the setting that it was timed in turn with; None for `off`.
            timings: of both.
        """
        name = subject.setting.name
        spreads: dict[str, Spread] = {
            work: spread for work, found in (timings or {}).items() if (spread := found.spread) is not None
        }
        return Measurement(
            method=subject.row.method,
            title=subject.row.title,
            batch_size=subject.batch_size,
            setting=name,
            costs=costs,
            difference=subject.outcome.difference(off.outcome),
            against=OFF if name in (OFF, ON) else ON,
            ratios=ratios(costs, against or costs, spreads),
            spreads=spreads,
        )

    def fresh_clip(self, speedups: Speedups) -> CLIP:
        """The same CLIP with its first weights, nothing of it trainable."""
        self.clip.load_state_dict(self.weights)
        self.clip.requires_grad_(False)
        self.use(speedups)
        return self.clip

    def use(self, speedups: Speedups) -> None:
        """Compute with these speed-ups from now on."""
        for item in fields(Speedups):
            setattr(self.clip.speedups, item.name, getattr(speedups, item.name))
