"""Estimates what a run will cost, without running it: memory, operations and bytes, from shapes alone.

The method's own training step, caching pass and evaluation run with fake tensors, under the meter that measures real
runs. So nothing is computed, and no weights, images or GPU are needed. On a CPU the estimated peaks are those that
`result.json` would contain, to the byte, unless images decide what is computed (`is_bound`).
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch

from harness.clip.load import build_without_weights
from harness.clip.prompts import Tokenizer
from harness.clip.towers import CLIP, RAW
from harness.estimate.dry_run import DryRun, largest_batch
from harness.estimate.fake_tensors import FakeMode, fake_tensors
from harness.estimate.memory_breakdown import BreakdownMeter, MemoryPeak
from harness.estimate.repeated_blocks import RepeatedBlocks
from harness.experiment.spec import RunSpec
from harness.machine.costs import FIT, PHASES, SELECT, TRAIN, Batches
from harness.machine.meter import Meter
from harness.machine.threads import threads
from harness.results.files import saved_bytes
from harness.results.record import CacheFacts, Refusal
from harness.training.batches import most
from harness.training.build import move
from harness.training.feature_storage import GPU, HOST
from harness.training.precision import store_clip
from harness.training.state import trained_parameters, trained_state


@dataclass(frozen=True)
class Estimate:
    """What a run costs.

    Attributes:
        classes: number of training classes.
        train_images: number of training images.
        batch_size: images per step.
        most_in_a_batch: the largest possible number of images per step.
        device: `cpu` or `cuda`: the device whose memory the peaks refer to; it decides where cached features are kept.
        phases: phase -> peak, of the phases that the run has.
        total_parameters: number of parameters of the whole method.
        trainable_parameters: number of parameters that train.
        train_flops_per_image: operations of a training step, per image; None if nothing trains.
        cache_flops_per_image: operations of the caching pass, per image; None if nothing trains or is fitted.
        cache_location: where the cached features of images are kept: `gpu`, `host` or `file`; None if there are none.
        cache_bytes: size of the cached features of images.
        text_cache_bytes: size of the cached features of the training prompts, which are kept on the device.
        checkpoint_bytes: size of the checkpoint's file.
        is_bound: images decide what is computed (which classes a batch trains on), so the peaks and operations are
            those of the most expensive case, the longest prompts.
        stand_ins: names of data sets that are not on this machine, so that stand-ins replace their class names.
        cache_images: views of images that the caching passes of the whole run process, and those for `Method.fit`.
        made_up: `fit` or `use` read numbers that depend on weights and images, and others stood in for them: the peaks
            of phases fit and select are those of one way that they may go.
        batches: images at once in caching passes and evaluations, given or chosen.
    """

    classes: int
    train_images: int
    batch_size: int
    most_in_a_batch: int
    device: str
    phases: dict[str, MemoryPeak]
    total_parameters: int
    trainable_parameters: int
    train_flops_per_image: float | None
    cache_flops_per_image: float | None
    cache_location: str | None
    cache_bytes: int
    text_cache_bytes: int
    checkpoint_bytes: int
    is_bound: bool
    stand_ins: tuple[str, ...]
    cache_images: int = 0
    made_up: bool = False
    batches: Batches | None = None

    @property
    def highest_phase(self) -> str:
        """The phase with the highest peak."""
        return max(self.phases, key=lambda phase: self.phases[phase].num_bytes)

    @property
    def peak_bytes(self) -> int:
        """Peak of the whole run, in bytes."""
        return self.phases[self.highest_phase].num_bytes

    def is_upper_bound(self, phase: str) -> bool:
        """Whether a run may need less in a phase than its peak here says."""
        return self.is_bound and phase == TRAIN

    def is_guess(self, phase: str) -> bool:
        """Whether a run may need less or more in a phase."""
        return self.made_up and phase in (FIT, SELECT)

    @property
    def peak_is_bound(self) -> bool:
        """Whether a run may need less than `peak_bytes`."""
        return self.is_upper_bound(self.highest_phase)

    def fits(self, limit: int) -> bool | None:
        """Whether the run needs no more bytes than `limit`; None if only pictures tell."""
        if self.peak_bytes <= limit:
            return True
        exact = (peak.num_bytes for phase, peak in self.phases.items() if not self.is_upper_bound(phase))
        return False if max(exact, default=0) > limit else None

    @property
    def step_flops(self) -> float | None:
        """Operations of a training step."""
        return None if self.train_flops_per_image is None else self.train_flops_per_image * self.batch_size

    @property
    def host_cache_bytes(self) -> int:
        """Size of the cached features of images in host memory."""
        return self.cache_bytes if self.cache_location == HOST else 0

    @property
    def device_cache_bytes(self) -> int:
        """Size of the cached features of images and texts on the device that computes."""
        on_device = self.cache_location == GPU or (self.device == "cpu" and self.cache_location == HOST)
        return self.text_cache_bytes + (self.cache_bytes if on_device else 0)


class Estimator:
    """Estimates runs; the model of each backbone is built only once."""

    def __init__(self) -> None:
        self._mode = FakeMode()
        self._blocks = RepeatedBlocks()
        self._clips: dict[tuple[str, bool], tuple[CLIP, Tokenizer]] = {}

    def estimate(
        self,
        spec: RunSpec,
        classes: int | None = None,
        device: str = "cpu",
        phases: Collection[str] = PHASES,
        flops: bool = True,
    ) -> Estimate:
        """Estimate the costs of a run.

        Args:
            spec: the run; its device need not exist.
            classes: train and evaluate on this number of classes instead of those of the data set.
            device: `cpu`, or `cuda` for the memory of a GPU.
            phases: to estimate; fewer take less time.
            flops: False counts no operations, which halves the time.

        Raises:
            UserError: options, backbone or data set do not fit, the batch is larger than the training set, or the
                method reads values that only real weights and images determine.
        """
        with threads(spec.runtime.threads), fake_tensors(self._mode) as known:
            clip, tokenizer = self._clip(spec)
            # With fake tensors, the tokenizer's loop over the texts would take longer than everything that follows.
            clip.tokenizer = known.for_real(tokenizer)
            dry_run = DryRun(spec, clip, classes, torch.device(device), known.making_up_numbers, known=known)
            text = dry_run.method.frozen_text
            text_cache_bytes = 0 if text is None or dry_run.method.text_start == RAW else text.nbytes
            meter = BreakdownMeter()
            dry_run.probe(meter, phases, flops)
        method, trainer = dry_run.method, dry_run.trainer
        trained = trained_parameters(method)
        cache = trainer.images.facts() if trainer else CacheFacts()
        about = {"id": spec.id, "spec": spec.settings()}
        return Estimate(
            classes=len(dry_run.train_classes.class_names),
            train_images=len(dry_run.labels),
            batch_size=spec.train.batch_size or len(dry_run.labels),
            most_in_a_batch=largest_batch(spec, dry_run.labels),
            device=device,
            phases={phase: meter.peaks[phase] for phase in PHASES if phase in meter.peaks},
            total_parameters=sum(parameter.numel() for parameter in method.parameters()),
            trainable_parameters=sum(parameter.numel() for parameter in trained.values()),
            train_flops_per_image=trainer.flops.get("train") if trainer else None,
            cache_flops_per_image=trainer.flops.get("cache") if trainer else dry_run.cache_flops,
            cache_location=cache.cache_location,
            cache_bytes=cache.cache_bytes,
            text_cache_bytes=text_cache_bytes,
            checkpoint_bytes=saved_bytes(trained_state(method), about) if trained else 0,
            is_bound=known.assumed,
            stand_ins=tuple(dry_run.stand_ins),
            cache_images=dry_run.cache_images,
            made_up=known.made_up > 0,
            batches=dry_run.batches,
        )

    def refusals(self, spec: RunSpec) -> tuple[Refusal, ...]:
        """The evaluations that the method of a run cannot take part in.

        Raises:
            UserError: it can take part in none, or as `estimate`.
        """
        with fake_tensors(self._mode) as known:
            clip, tokenizer = self._clip(spec)
            clip.tokenizer = known.for_real(tokenizer)
            return DryRun(spec, clip, None, torch.device("cpu")).refusals

    def _clip(self, spec: RunSpec) -> tuple[CLIP, Tokenizer]:
        """The frozen backbone with weights as the precision stores them, and its tokenizer."""
        key = (spec.backbone, spec.train.precision == "half")
        if key not in self._clips:
            clip = store_clip(build_without_weights(spec.backbone), spec.train.precision)
            clip.image.compute_block = clip.text.compute_block = self._blocks
            self._clips[key] = clip, clip.tokenizer
        clip, tokenizer = self._clips[key]
        return clip.requires_grad_(False), tokenizer


@dataclass(frozen=True)
class MeasuredPeak:
    """Measured peak memory of a phase.

    Attributes:
        num_bytes: peak of live tensor bytes (CPU), or of the memory that the allocator gave out (GPU).
        reserved_bytes: GPU only: peak of the memory that the allocator reserved.
    """

    num_bytes: int
    reserved_bytes: int | None = None


def measure(
    spec: RunSpec, classes: int | None, device: torch.device, batches: Batches | None = None
) -> dict[str, MeasuredPeak]:
    """Measure the peaks of the same work with real tensors: random weights and blank images, one batch of each phase.

    Args:
        spec: the run.
        classes: as in `Estimator.estimate`.
        device: where to compute.
        batches: images at once in caching passes and evaluations; None: the most that the spec allows.

    Returns:
        Phase -> peak, of the phases that the run has.

    Raises:
        UserError: as `Estimator.estimate`.
    """
    torch.manual_seed(0)
    clip = move(store_clip(build_without_weights(spec.backbone), spec.train.precision), device)
    dry_run = DryRun(spec, clip, classes, device, batches=batches or most(spec))
    if device.type == "cpu":
        watched = BreakdownMeter()
        dry_run.probe(watched, flops=False)
        return {phase: MeasuredPeak(watched.peaks[phase].num_bytes) for phase in PHASES if phase in watched.peaks}
    meter = Meter(device)
    dry_run.run(meter)
    return {
        name: MeasuredPeak(phase.peak_allocated_bytes, phase.peak_reserved_bytes)
        for name, phase in meter.phases.items()
        if phase.peak_allocated_bytes
    }
