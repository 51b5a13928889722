"""What a run will cost, without running it: memory, operations and bytes, from shapes alone.

The method's own training step, caching pass and evaluation run under fake tensors, watched by the meter that measures
real runs. So nothing is computed, no weight, picture or GPU is needed, and what is estimated is what runs: on a CPU the
peaks are those that `result.json` would hold, to the byte, unless pictures decide what is computed (`Estimate.is_bound`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.build import build_method, probe_setup, prompt_texts
from harness.cache import TrainingImages
from harness.clip.load import build_without_weights
from harness.clip.prompts import Tokenizer
from harness.clip.towers import CLIP
from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.fewshot import class_subset
from harness.data.index import VALIDATION_SHOTS
from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.errors import UserError
from harness.evaluate import Classifier
from harness.fake_tensors import FakeMode, fake_tensors
from harness.features import FILE, GPU, Place
from harness.measure import PHASES, UNLABELLED, LiveBytes, Meter
from harness.precision import store_clip
from harness.spec import RunSpec
from harness.store import saved_bytes
from harness.train import SAME_CLASS_SHOTS, Trainer, trained_parameters, trained_state
from methods.base import Method

WEIGHTS, GRADIENTS, OPTIMIZER, CACHE, INPUTS = "weights", "gradients", "optimizer state", "cache", "inputs"
KINDS = (WEIGHTS, GRADIENTS, OPTIMIZER, UNLABELLED, CACHE, INPUTS)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Peak:
    """Most bytes that are alive at once in a phase.

    Attributes:
        num_bytes: all of them.
        by_kind: how many of them are of each of KINDS. Activations are everything that is none of the others, such as
            scratch memory and gradients that are not yet handed to their weights.
    """

    num_bytes: int
    by_kind: dict[str, int]


@dataclass(frozen=True)
class Estimate:
    """What a run costs.

    Attributes:
        classes: that it trains on.
        train_images: pictures that it trains on.
        batch_size: pictures a step.
        device: `cpu` or `cuda`: whose memory the peaks are of. They differ in where cached features lie.
        phases: phase -> peak, for those that the run has.
        total_parameters: of the whole method.
        trainable_parameters: those that train.
        train_flops_per_image: operations of a training step, by picture; None if nothing trains.
        cache_flops_per_image: operations of the caching pass, by picture; None if nothing trains.
        cache_location: `gpu`, `host` or `file`: where the cached features of the pictures lie; None if there are none.
        cache_bytes: their size.
        text_cache_bytes: size of the cached features of the prompts, which lie on the device.
        checkpoint_bytes: size of the file.
        is_bound: pictures decide what is computed (which classes a batch trains on), so the peaks are those of the most
            expensive case, the longest prompts.
        stand_ins: names of data sets that are not on this machine, whose class names are replaced by stand-ins.
    """

    classes: int
    train_images: int
    batch_size: int
    device: str
    phases: dict[str, Peak]
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

    @property
    def peak_bytes(self) -> int:
        """Peak of the whole run."""
        return max(peak.num_bytes for peak in self.phases.values())

    @property
    def step_flops(self) -> float | None:
        """Operations of a training step."""
        return None if self.train_flops_per_image is None else self.train_flops_per_image * self.batch_size

    @property
    def host_cache_bytes(self) -> int:
        """Cached features of pictures in host memory."""
        return self.cache_bytes if self.cache_location not in (GPU, FILE) else 0

    @property
    def device_cache_bytes(self) -> int:
        """Cached features on the device that computes, those of texts included."""
        return self.text_cache_bytes + (self.cache_bytes if self.cache_location == GPU else 0)


@dataclass(frozen=True)
class Classes:
    """Classes of one data set, and how many pictures there are of each.

    Attributes:
        names: C names.
        counts: pictures by split (train and val: of the few-shot sample) and class.
    """

    names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]


def is_here(dataset: str, data_root: str | None) -> bool:
    """Whether a data set is on this machine."""
    try:
        find_folder(find_dataset(dataset), data_root)
    except UserError:
        return False
    return True


def find_classes(spec: RunSpec, dataset: str, subset: str, number: int | None) -> Classes:
    """Classes that a run would see.

    Args:
        spec: the run.
        dataset: of which data set. If it is not on this machine, ImageNet's class names stand in for its own.
        subset: all, base, new, ...
        number: so many classes instead of those; None: as many as there are.

    Raises:
        UserError: the data set is not here, and nobody knows how many classes it has.
    """
    shots = {"train": spec.data.shots, "val": min(spec.data.shots, VALIDATION_SHOTS)}
    root = spec.runtime.find_data_root()
    if is_here(dataset, root):
        splits = read_dataset(dataset, root)
        known, pictures = splits.class_names, {"train": splits.train, "val": splits.val, "test": splits.test}
        found = {split: Counter(label for _, label in pictures[split]) for split in pictures}
        counts = {split: [found[split][label] for label in range(len(known))] for split in pictures}
    else:
        expected = find_dataset(dataset).expected
        if expected is None:
            raise UserError(f"data set '{dataset}' is not here, so the number of its classes is not known: put it here")
        known = list(islice(cycle(stand_in_names()), expected.classes))
        # How many pictures each class has is not known: an equal share.
        totals = {split: getattr(expected, split) for split in ("train", "val", "test")}
        counts = {split: [-(-total // expected.classes)] * expected.classes for split, total in totals.items()}
    labels = list(class_subset(len(known), subset))
    if number is not None:
        # Every so manyth, not the first in the alphabet; again from the start where there are too few.
        all_labels = range(len(known))
        labels = list(islice(cycle(all_labels[:: max(1, len(known) // number)]), number))
    limits = {split: shots.get(split, max(numbers, default=0)) for split, numbers in counts.items()}
    return Classes(
        tuple(known[label] for label in labels),
        {split: tuple(min(limits[split], counts[split][label]) for label in labels) for split in counts},
    )


def stand_in_names() -> list[str]:
    """ImageNet's 1000 class names as open_clip lists them: of typical length for prompts."""
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


class BlankPictures(PictureSet):
    """Pictures without content, as a loader gives them.

    Args:
        labels: of the pictures.
        size: pixels a side, as the transform leaves them.
        label_inputs: told of every batch.
    """

    def __init__(self, labels: Sequence[int], size: int, label_inputs: Callable[[Tensor], None]) -> None:
        super().__init__(Path(), [Picture("", label) for label in labels])
        self.size = size
        self.label_inputs = label_inputs

    def decode(self, position: int) -> Image.Image:
        return Image.new("RGB", (self.size, self.size))

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[Tensor]:
        for batch in super().batches(*args, **kwargs):
            self.label_inputs(batch)
            yield batch


def as_it_is(picture: Image.Image, key: str) -> Image.Image:
    """The transform of pictures that have their size already."""
    return picture


class NoPlace(Place):
    """Says where features would lie; allocates fake ones."""

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, str]:
        features = torch.empty(shape, dtype=dtype)
        return features, self.choose(features.nbytes)


class OneBatchOfImages(TrainingImages):
    """Training pictures of which only the first batch goes through the caching pass: the others would cost the same."""

    def prepare(self, epoch: int) -> None:
        if self.is_cached:
            indices = self.pictures.in_order(self.spec.cache_batch_size)[:1]
            for positions, pixels in zip(indices, self.pixels(epoch, indices), strict=True):
                self._store(positions, self.run_frozen(pixels))

    def pixels(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        for pixels in super().pixels(epoch, indices):
            self._label(pixels)
            yield pixels

    def batches(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        for x, labels in super().batches(epoch, indices):
            self._label(x)
            self._label(labels)
            yield x, labels

    def _label(self, tensor: Tensor) -> None:
        assert isinstance(self.pictures, BlankPictures)
        self.pictures.label_inputs(tensor)

    def resident(self) -> list[Tensor]:
        elsewhere = self.place.device.type == "cuda" and self.location != GPU
        return [] if elsewhere else super().resident()


class KindMeter(Meter):
    """Collects peaks by kind.

    Attributes:
        method: whose parameters and buffers are the weights, once it is set.
        images: whose features are the cache, once they are set.
        peaks: phase -> peak.
    """

    def __init__(self) -> None:
        super().__init__(CPU)
        self.method: Method | None = None
        self.images: TrainingImages | None = None
        self.peaks: dict[str, Peak] = {}
        self._watch: LiveBytes | None = None

    def label_inputs(self, tensor: Tensor) -> None:
        """Take a tensor for pictures, tokens or labels of a batch."""
        if self._watch:
            self._watch.label([tensor], INPUTS)

    def probe(self, name: str, work: Callable[[], object], resident: Any) -> None:
        """As of any meter; the highest peak of a phase counts."""
        tensors = list(resident)
        watch = self._watch = LiveBytes(tensors)
        watch.label(tensors, OPTIMIZER)
        method = self.method
        assert method
        watch.label([*method.parameters(), *method.buffers()], WEIGHTS)
        watch.label([method.prompts.ids, method.prompts.eot], INPUTS)
        watch.label([text for text in (method.frozen_text,) if text is not None], CACHE)
        watch.label(self.images.resident() if self.images else [], CACHE)
        with labelling_training(method, watch), watch:
            work()
        self._watch = None
        if name not in self.peaks or watch.peak > self.peaks[name].num_bytes:
            self.peaks[name] = Peak(watch.peak, {kind: watch.peak_by_kind.get(kind, 0) for kind in KINDS})


@contextmanager
def labelling_training(method: Method, watch: LiveBytes) -> Iterator[None]:
    """Inside, gradients are labelled when they are handed to their weights, optimizer state when a step has made it."""

    def on_gradient(parameter: Tensor) -> None:
        assert parameter.grad is not None
        watch.label([parameter.grad], GRADIENTS)

    def on_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        states = [value for values in optimizer.state.values() for value in values.values()]
        watch.label([value for value in states if isinstance(value, Tensor)], OPTIMIZER)

    with ExitStack() as stack:
        for parameter in trained_parameters(method).values():
            stack.callback(parameter.register_post_accumulate_grad_hook(on_gradient).remove)
        stack.callback(register_optimizer_step_post_hook(on_step).remove)
        yield


class Estimator:
    """Estimates runs; builds the model of a backbone once."""

    def __init__(self) -> None:
        self._mode = FakeMode()
        self._clips: dict[tuple[str, bool], tuple[CLIP, Tokenizer]] = {}

    def estimate(self, spec: RunSpec, classes: int | None = None, device: str = "cpu") -> Estimate:
        """Costs of a run.

        Args:
            spec: the run; the device it names is not needed.
            classes: train and evaluate on so many classes instead of those of the data set.
            device: `cpu`, or `cuda` for what a run with a GPU needs there.

        Raises:
            UserError: options, backbone or data set do not fit, or the batch is larger than the training set.
        """
        train = find_classes(spec, spec.data.dataset, spec.data.classes, classes)
        texts = prompt_texts(spec, spec.data.dataset, train.names)
        labels = [label for label, count in enumerate(train.counts["train"]) for _ in range(count)]
        with fake_tensors(self._mode) as known:
            meter = KindMeter()
            clip, tokenizer = self._clip(spec)
            # A loop over texts, operator by operator, would take longer than all that follows.
            clip.tokenizer = known.for_real(tokenizer)
            cached = spec.train.cache != "none"
            method = build_method(clip, spec.method, spec.options, texts, spec.train.precision, spec.seed, cached)
            meter.method = method
            text_cache = 0 if method.frozen_text is None else method.frozen_text.nbytes
            probe_setup(method, spec.train.precision, meter)
            trainer = None
            if trained_parameters(method):
                trainer = self._train(spec, method, labels, meter, torch.device(device))
            trained = trained_parameters(method)
            about = {"id": spec.id, "spec": spec.settings()}
            found = Estimate(
                classes=len(texts),
                train_images=len(labels),
                batch_size=spec.train.batch_size,
                device=device,
                phases={},
                total_parameters=sum(parameter.numel() for parameter in method.parameters()),
                trainable_parameters=sum(parameter.numel() for parameter in trained.values()),
                train_flops_per_image=trainer.flops["train"] if trainer else None,
                cache_flops_per_image=trainer.flops["cache"] if trainer else None,
                cache_location=trainer.images.location if trainer else None,
                cache_bytes=int(trainer.images.facts()["cache_bytes"] or 0) if trainer else 0,
                text_cache_bytes=text_cache,
                checkpoint_bytes=saved_bytes(trained_state(method), about) if trained else 0,
                is_bound=False,
                stand_ins=(),
            )
            meter.images = trainer = None
            self._evaluate(spec, method, classes, meter)
        names = dict.fromkeys([spec.data.dataset, *(item.dataset for item in spec.evaluate)])
        root = spec.runtime.find_data_root()
        stand_ins = tuple(name for name in names if not is_here(name, root))
        phases = {phase: meter.peaks[phase] for phase in PHASES if phase in meter.peaks}
        return replace(found, phases=phases, is_bound=known.assumed, stand_ins=stand_ins)

    def _clip(self, spec: RunSpec) -> tuple[CLIP, Tokenizer]:
        """The backbone as the precision stores it, nothing of it trainable, and its tokenizer."""
        key = (spec.backbone, spec.train.precision == "half")
        if key not in self._clips:
            clip = store_clip(build_without_weights(spec.backbone), spec.train.precision)
            self._clips[key] = clip, clip.tokenizer
        clip, tokenizer = self._clips[key]
        return clip.requires_grad_(False), tokenizer

    def _train(
        self, spec: RunSpec, method: Method, labels: list[int], meter: KindMeter, device: torch.device
    ) -> Trainer:
        """Probe the caching pass and the training step."""
        runtime = spec.runtime
        pictures = BlankPictures(labels, method.clip.image_size, meter.label_inputs)
        place = NoPlace(device, runtime.cache_gpu_mib, runtime.cache_host_mib, Path())
        images = OneBatchOfImages(
            method.clip, pictures, as_it_is, method.image_start, spec.train, spec.seed, meter, place=place
        )
        meter.images = images
        trainer = Trainer(method, images, spec, meter)
        images.prepare(0)
        trainer.probe(0, first_batch(spec, labels))
        return trainer

    def _evaluate(self, spec: RunSpec, method: Method, classes: int | None, meter: KindMeter) -> None:
        for item in spec.evaluate:
            seen = find_classes(spec, item.dataset, item.classes, classes)
            number = sum(sum(seen.counts[split]) for split in item.splits)
            blank = [0] * min(number, spec.runtime.eval_batch_size)
            pictures = BlankPictures(blank, method.clip.image_size, meter.label_inputs)
            texts = prompt_texts(spec, item.dataset, seen.names)
            Classifier(method, pictures, texts, as_it_is, spec.train.precision, spec.runtime.eval_batch_size).probe(
                meter
            )


def first_batch(spec: RunSpec, labels: Sequence[int]) -> list[int]:
    """Positions of a batch: of one class where the recipe asks for that, else of as many classes as possible.

    Raises:
        UserError: there are too few pictures for a batch.
    """
    size = spec.train.batch_size
    rank, seen = [], Counter[int]()
    for label in labels:
        rank.append(seen[label])
        seen[label] += 1
    if spec.train.batches == "same_class" and spec.data.shots >= SAME_CLASS_SHOTS:
        largest = max(seen, key=lambda label: seen[label], default=0)
        order = [position for position, label in enumerate(labels) if label == largest]
        what = "of one class"
    else:
        order = sorted(range(len(labels)), key=lambda position: rank[position])
        what = "in all"
    if len(order) < size:
        raise UserError(f"train.batch_size={size} is more than the {len(order)} training pictures {what}: lower it")
    return order[:size]
