"""Trains a method as simply as possible, in float64: no cache, no speed-up, texts of full length, steps written out.

It shares with the harness what a method computes, the towers with every speed-up off, the settings of a run, and the
rules by which images are chosen at random. It knows nothing of the trainer, of cached features, of torch's optimizers.
What it ends with is stored by `tests.store_trainings`.
"""

import copy
import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.clip.load import load_backbone
from harness.clip.towers import RAW
from harness.data.fewshot import class_subset
from harness.data.pictures import read_picture
from harness.data.readers import Picture
from harness.data.sampler import BATCHES, all_view_batches
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.training.run_data import RunData
from methods.base import Method, Shots
from tests.plain_steps import Weight

SHOTS, MOST_VIEWS = 2, 2
# Steps in and after the warm-up, and while the rate falls. Some methods do something every tenth epoch.
EPOCHS, EPOCHS_OF_ONE_STEP = 3, 12
WORDS = (
    "data.classes=base.base.base",
    "train.iterations_per_shot=null",
    "train.precision=fp32",
    "runtime.device=cpu",
    "wandb.mode=disabled",
)
OPTIONS: dict[str, tuple[str, ...]] = {
    # Four thousand candidates are too many to compute one by one.
    "tip_adapter": ("tip_adapter.search_step=[5,4]",),
    "tip_adapter_f": ("tip_adapter_f.search_step=[5,4]",),
}
"""Method -> settings beside those of its recipe."""
State = dict[str, Tensor]
View = tuple[int | None, int]
"""Which view of an image, None for the image as it is, and the image's position."""


def is_checked(name: str) -> bool:
    """Whether a method learns anything."""
    cls = method_class(name)
    return cls.trains or cls.is_fitted()


def spec_of(name: str) -> RunSpec:
    """A run of a few steps by the recipe that a method has for the embedded backbone."""
    words = [*WORDS, *OPTIONS.get(name, ())]
    recipe = _expand(name, words).train
    whole = recipe.batch_size is None
    words += [f"train.epochs={EPOCHS_OF_ONE_STEP if whole else EPOCHS}"]
    words += [] if whole else ["train.batch_size=4"]
    words += ["train.warmup_epochs=1"] if recipe.warmup_epochs else []
    for key, views in (("views", recipe.views), ("fit_views", recipe.fit_views)):
        words += [f"train.{key}={MOST_VIEWS}"] if views and views > MOST_VIEWS else []
    return _expand(name, words)


def _expand(name: str, words: Sequence[str]) -> RunSpec:
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": [name], "shots": [SHOTS], "seeds": [1]})
    (spec,) = expand(experiment, parse_overrides(list(words)))
    return spec


class Seen:
    """A transform that is a function (image, key) -> image."""

    is_fixed = False
    decode = "exact"

    def __init__(self, see: Callable[[Image.Image, str], Image.Image]) -> None:
        self._see = see

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        return self._see(image, key)


def view_of(image: Image.Image, key: str) -> Image.Image:
    """An image moved by a few pixels, half of the times mirrored: arithmetic that no other version rounds otherwise."""
    number = zlib.crc32(key.encode())
    pixels = np.roll(np.array(image), (number % 7 - 3, number // 7 % 7 - 3), axis=(0, 1))
    return Image.fromarray(np.ascontiguousarray(pixels[:, ::-1] if number // 49 % 2 else pixels))


@dataclass(frozen=True)
class Sample:
    """The training images of a run: the first of every class.

    Attributes:
        data: of the run.
        pictures: with labels among the training classes.
        labels: (N,).
    """

    data: RunData
    pictures: list[Picture]
    labels: Tensor

    @classmethod
    def of(cls, spec: RunSpec) -> "Sample":
        """The sample of a run."""
        data = RunData(spec)
        splits = data.read(spec.data.dataset)
        pictures = []
        for place, label in enumerate(class_subset(len(splits.class_names), spec.data.classes)):
            of_class = [picture for picture in splits.train if picture.label == label]
            pictures += [Picture(picture.path, place) for picture in of_class[: spec.data.shots]]
        return cls(data, pictures, torch.tensor([picture.label for picture in pictures]))

    @property
    def texts(self) -> list[Any]:
        """The prompts of the training classes."""
        spec = self.data.spec
        return self.data.texts(spec.data.dataset, spec.data.classes)


class PlainTraining:
    """One training, written out.

    Args:
        spec: of the run.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.recipe = spec.train
        self.sample = Sample.of(spec)
        self.clip = load_backbone(spec.backbone).double()
        self.clip.speedups.switch_off()
        self.untouched = copy.deepcopy(self.clip, {id(self.clip.tokenizer): self.clip.tokenizer})
        cls = method_class(spec.method)
        torch.manual_seed(spec.seed)
        config = cls.Config(**spec.options)
        self.method: Method = cls(self.clip, config, self.clip.tokenize(self.sample.texts), cache_text=False).double()

    def run(self) -> tuple[State, State]:
        """What the method knows before the first step and after all steps and choices."""
        if self.method.is_fitted():
            self.fit()
        before = self.state()
        if self.method.trains:
            weights = self.weights()
            for epoch in range(self.recipe.epochs):
                self.train_epoch(epoch, weights)
        if self.method.selects():
            self.search()
        return before, self.state()

    def state(self) -> State:
        """Parameters that train, and what else the method keeps."""
        found = {name: value for name, value in self.method.named_parameters() if value.requires_grad}
        buffers = {name: value for name, value in self.method.named_buffers() if not name.startswith("clip.")}
        return {name: value.detach().clone() for name, value in {**found, **buffers}.items()}

    @torch.no_grad()
    def fit(self) -> None:
        torch.manual_seed(seed_of(f"fit/{self.spec.seed}"))
        everything = range(len(self.sample.labels))
        views = range(self.recipe.fit_views or self.recipe.views or 1)
        x = torch.stack([self.images([(view, position) for position in everything]) for view in views])
        self.method.fit(Shots(x, self.sample.labels, self.spec.data.shots))
        self.method.double()

    @torch.no_grad()
    def images(self, chosen: Sequence[View]) -> Tensor:
        """Images at the method's stage."""
        return self.clip.image.run(self.pixels(chosen), RAW, self.method.image_start)

    def pixels(self, chosen: Sequence[View], key: str = "") -> Tensor:
        """Normalised pixels (B, 3, H, W), float32.

        Args:
            chosen: the images.
            key: of their random views beside the seed.
        """
        folder = self.sample.data.read(self.spec.data.dataset).folder
        found = []
        for view, position in chosen:
            path = self.sample.pictures[position].path
            image = read_picture(folder, path)
            found.append(np.array(image if view is None else view_of(image, f"{self.spec.seed}{key}/{view}/{path}")))
        x = torch.from_numpy(np.stack(found)).float() / 255
        x = (x - torch.tensor(self.clip.mean)) / torch.tensor(self.clip.std)
        return x.permute(0, 3, 1, 2).contiguous()

    def weights(self) -> list[Weight]:
        recipe, taken = self.recipe, set[int]()
        keys = ("momentum", "weight_decay", "betas", "eps")
        usual = {key: getattr(recipe, key) for key in keys}
        rates = {id(value): recipe.lr for value in self.method.parameters()}
        if recipe.lr_image is not None:
            rates |= {id(value): recipe.lr_image for value in self.clip.image.parameters()}
        found = []
        for group in self.method.parameter_groups():
            values = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
            own = {key: value for key, value in group.items() if key not in ("params", "lr")}
            usual_rates = {rates[id(value)] for value in values}
            lr = float(group["lr"] if "lr" in group else usual_rates.pop() if len(usual_rates) == 1 else recipe.lr)
            found += [Weight(value, lr, lr == 0, usual | own) for value in values]
            taken |= {id(value) for value in values}
        for value in self.method.parameters():
            if value.requires_grad and id(value) not in taken:
                found.append(Weight(value, rates[id(value)], False, usual))
        return found

    def batches(self, epoch: int) -> list[list[View]]:
        """View and position of every image of every batch of an epoch."""
        recipe, labels, views = self.recipe, self.sample.labels.tolist(), self.recipe.views
        view, count = epoch % views if views else epoch, len(labels)
        rng = random.Random(f"batches/{self.spec.seed}/{epoch}")
        # Classes are mixed with so few shots.
        if recipe.batches == "all_views":
            drawn = all_view_batches(labels, recipe.batch_size or count, rng, False, views or 1)
            return [[(row // count if views else view, row % count) for row in batch] for batch in drawn]
        whole = [list(range(count))]
        drawn = BATCHES["random"](labels, recipe.batch_size, rng, False) if recipe.batch_size else whole
        return [[(view, position) for position in batch] for batch in drawn]

    def train_epoch(self, epoch: int, weights: list[Weight]) -> None:
        batches = self.batches(epoch)
        torch.manual_seed(seed_of(f"epoch/{self.spec.seed}/{epoch}"))
        for step, batch in enumerate(batches):
            part = step / len(batches) if self.recipe.schedule == "step" else 0
            labels = self.sample.labels[[position for _, position in batch]]
            self.loss(batch, labels).backward()
            with torch.no_grad():
                self.method.change_gradients()
                self.move(weights, epoch + part)
        with torch.no_grad():
            self.method.after_epoch(epoch, self.recipe.epochs)

    def loss(self, batch: Sequence[View], labels: Tensor) -> Tensor:
        """The loss of a batch; what the untouched CLIP embeds beside it, a CLIP of its own embeds."""
        x = self.images(batch)
        if self.method.frozen_view is None:
            return self.method.loss(x, labels)
        other = "/other" if self.method.frozen_view == "other" else ""
        with torch.no_grad():
            frozen = self.untouched.image.run(self.pixels(batch, other))
        return self.method.loss_beside_frozen(x, labels, frozen)

    def move(self, weights: list[Weight], when: float) -> None:
        """Take one step along the gradients, and forget these."""
        kind = self.recipe.optimizer
        for weight in weights:
            lr = self.rate(weight, when)
            if weight.value.grad is None:
                continue
            if kind == "sgd":
                weight.step_sgd(lr)
            else:
                assert kind in ("adam", "adamw"), f"no step of {kind} is written out in {__name__}"
                weight.step_adam(lr, decoupled=kind == "adamw")
            weight.value.grad = None

    def rate(self, weight: Weight, when: float) -> float:
        """Learning rate at a time, in epochs: the warm-up's, then half a wave of the cosine."""
        recipe = self.recipe
        if weight.is_held:
            return 0.0
        if when < recipe.warmup_epochs:
            return recipe.warmup_lr
        if recipe.schedule == "constant":
            return weight.lr
        wave = math.cos(math.pi * (when - recipe.warmup_epochs) / recipe.epochs)
        return recipe.lr_min + (weight.lr - recipe.lr_min) * (1 + wave) / 2

    @torch.no_grad()
    def search(self) -> None:
        """Choose on the training images as they are, with all logits computed anew for every candidate."""
        x = self.images([(None, position) for position in range(len(self.sample.labels))])
        self.method.use(choose(self.method, lambda: self.accuracy(x)))

    def accuracy(self, x: Tensor) -> float:
        """Percent of images at the method's stage that are classified rightly."""
        right = self.method.logits(x, self.method.text_features()).argmax(dim=1) == self.sample.labels
        return 100 * int(right.sum()) / len(right)


def choose(method: Method, accuracy: Callable[[], float]) -> dict[str, float]:
    """What a method's search returns."""
    search = method.search()
    try:
        candidate = next(search)
        while True:
            method.use(candidate)
            candidate = search.send(accuracy())
    except StopIteration as end:
        return end.value


def seed_of(text: str) -> int:
    """The seed of torch's random numbers that a text stands for."""
    return random.Random(text).getrandbits(63)
