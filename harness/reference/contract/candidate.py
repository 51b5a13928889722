"""A method under check: built, trained and asked for logits on a few images of the embedded benchmark."""

import ast
import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

import methods
from harness.clip.load import load_backbone
from harness.clip.texts import Text
from harness.clip.towers import CLIP
from harness.data.loader import PictureSet, load_pixels
from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import check_method, method_class
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import SelectSpec
from harness.machine.meter import Meter
from harness.reference.contract.verdicts import NothingToCheck
from harness.reference.contract.ways import (
    CHANGEABLE,
    CPU,
    DATASET,
    OTHER,
    PLAIN,
    SEEN,
    SETTINGS,
    SHOTS,
    TEST_IMAGES,
    VIEWS,
    Trained,
    Way,
    all_tensors,
)
from harness.results.epochs import EpochRecord
from harness.training.build import build_method
from harness.training.feature_cache import TrainingImages
from harness.training.fitting import fit_method
from harness.training.inference import classify, encode_texts, set_classes
from harness.training.precision import store_clip
from harness.training.run import Run
from harness.training.run_data import FewShotData, RunData
from harness.training.trainer import Trainer
from methods.base import Method, OtherClassesError, Shots


class Candidate:
    """A method under check.

    Args:
        name: of the method.
        backbone: a backbone in the notation of `harness.clip.backbones`.
        words: settings as KEY=VALUE: options of the method, learning rates.
        vectors: folder of reference vectors of official implementations, if there is one.

    Raises:
        UserError: there is no such method, or a setting that cannot be changed here.
    """

    def __init__(
        self, name: str, backbone: str = "clip-emoji", words: Sequence[str] = (), vectors: Path | None = None
    ) -> None:
        self.name = check_method(name)
        self.backbone = backbone
        self.words = tuple(words)
        self.vectors = vectors
        self._shots: dict[tuple[str, int], Shots] = {}
        for word in words:
            key = word.partition("=")[0]
            if not key.startswith(f"{name}.") and key not in CHANGEABLE:
                raise UserError(
                    f"'{key}' is set by the check: change options of the method ({name}.OPTION) or "
                    f"{', '.join(CHANGEABLE)}"
                )

    def prepare(self) -> None:
        """Load the backbone and read the settings, so that a mistake in the command does not count as the method's.

        Raises:
            UserError: a backbone that cannot be loaded, an option that the method does not have.
        """
        _ = self._backbone
        if self.words and self._can_be_imported:
            _ = self.spec

    @property
    def _can_be_imported(self) -> bool:
        try:
            return bool(self.cls)
        except UserError:
            return False

    @property
    def files(self) -> list[Path]:
        """All files of this name in the folders of methods; the first one is the method."""
        found = [Path(folder) / f"{self.name}.py" for folder in methods.__path__]
        return [path for path in found if path.is_file()]

    @cached_property
    def source(self) -> str:
        """The text of the method's file."""
        return self.files[0].read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """The method's file, parsed."""
        return ast.parse(self.source)

    @cached_property
    def cls(self) -> type[Method]:
        """The method's class.

        Raises:
            UserError: the file cannot be imported, or does not define exactly one method.
        """
        return method_class(self.name)

    @cached_property
    def spec(self) -> RunSpec:
        """A run of the method on the embedded benchmark, with the backbone's own recipe where there is one.

        Raises:
            UserError: an option that the method does not have or that does not fit the backbone.
        """
        grid = {"methods": [self.name], "datasets": [DATASET], "shots": [SHOTS], "seeds": [1]}
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", {**grid, "backbone": self.backbone})
        epochs = [] if self.cls.trains else ["train.epochs=0"]
        specs = expand(experiment, parse_overrides([*SETTINGS, *epochs, *self.words]))
        if len(specs) > 1:
            raise UserError(f"{' '.join(self.words)}: a check takes one value of each setting")
        train = specs[0].train
        views = {"views": train.views and VIEWS, "fit_views": VIEWS if self.cls.is_fitted() else train.fit_views}
        return specs[0].model_copy(
            update={"evaluate": (SEEN, OTHER), "train": train.model_copy(update=views), "select": SelectSpec()}
        )

    def run(self, way: Way = PLAIN) -> Run:
        """The run of a way to train; it is not executed, and nothing is written."""
        changes = {"precision": way.precision, "cache": "fresh" if way.cached else "none"}
        train = self.spec.train.model_copy(update=changes)
        return Run(self.spec.model_copy(update={"seed": way.seed, "train": train}), Path())

    @cached_property
    def data(self) -> RunData:
        """What the run reads of the embedded data set."""
        return self.run().data

    @cached_property
    def few_shot(self) -> FewShotData:
        """The images to train on."""
        return self.data.few_shot()

    @cached_property
    def texts(self) -> list[Text]:
        """Prompts of the classes to train on."""
        return self.data.texts(DATASET, SEEN.classes)

    @cached_property
    def other_texts(self) -> list[Text]:
        """Prompts of other classes, another number of them."""
        return self.data.texts(DATASET, OTHER.classes)

    @cached_property
    def test_pixels(self) -> Tensor:
        """A few other images, (TEST_IMAGES, 3, H, W)."""
        splits = self.few_shot.splits
        every = len(splits.val) // TEST_IMAGES
        pixels, _ = load_pixels(self._backbone, splits.folder, splits.val[::every][:TEST_IMAGES])
        return pixels

    @cached_property
    def _backbone(self) -> CLIP:
        return load_backbone(self.backbone)

    def original_weights(self) -> dict[str, Tensor]:
        """Name in a method -> weight of the backbone as it is loaded."""
        return {f"clip.{name}": value for name, value in self._backbone.named_parameters()}

    def build_unfitted(self, way: Way = PLAIN, texts: Sequence[Text] | None = None) -> Method:
        """The method on a CLIP of its own, not yet fitted.

        Args:
            way: how it will train.
            texts: prompts to train on; None: `texts`.
        """
        clip = copy.deepcopy(self._backbone, {id(self._backbone.tokenizer): self._backbone.tokenizer})
        if not way.speedups:
            clip.speedups.switch_off()
        store_clip(clip, way.precision)
        chosen = self.texts if texts is None else texts
        return build_method(clip, self.name, self.spec.options, chosen, way.precision, way.seed, way.cached)

    def build(self, way: Way = PLAIN, texts: Sequence[Text] | None = None, shots: Shots | None = None) -> Method:
        """The method as its training begins: fitted, if it is one that is fitted.

        Args:
            way: how it will train.
            texts: prompts to train on; None: `texts`.
            shots: to be fitted to; None: those of the way's precision and seed.
        """
        method = self.build_unfitted(way, texts)
        if self.cls.is_fitted():
            fit_method(method, shots or self.shots(way), way.precision, way.seed)
        return method

    def shots(self, way: Way = PLAIN) -> Shots:
        """The shots that a method is fitted to: their own tensors every time, the same numbers with all speed-ups.

        Args:
            way: says precision and seed.
        """
        key = way.precision, way.seed
        if key not in self._shots:
            plain = Way(precision=way.precision, seed=way.seed)
            images = self.images(self.build_unfitted(plain), plain)
            self._shots[key] = Shots(images.first_views(VIEWS), images.pictures.labels, SHOTS)
        found = self._shots[key]
        return replace(found, x=found.x.clone(), labels=found.labels.clone())

    def images(self, method: Method, way: Way = PLAIN, meter: Meter | None = None) -> TrainingImages:
        """The training images at a method's stage.

        Args:
            method: at whose stage.
            way: says precision, seed and what is cached.
            meter: takes the costs.
        """
        run = self.run(way)
        pictures = PictureSet(self.few_shot.splits.folder, self.data.training_pictures(self.few_shot))
        transform, stage = run.data.train_transform(method.clip), method.image_start
        view = method.frozen_view
        return TrainingImages(
            method.clip, pictures, transform, stage, run.spec.train, way.seed, meter or Meter(CPU), frozen_view=view
        )

    def trainer(self, way: Way = PLAIN) -> Trainer:
        """A trainer of the method, as a run has one, that measures nothing."""
        method = self.build(way)
        trainer = Trainer(method, self.images(method, way), self.run(way).spec, Meter(CPU))
        # As in a run that is continued. Measuring a step takes longer than both epochs.
        trainer.flops = {"train": 0.0, "cache": 0.0}
        return trainer

    def train(self, way: Way = PLAIN) -> Trained:
        """Train from the first epoch to the last.

        Raises:
            DivergedError: the loss or a weight is no longer finite.
        """
        trainer, records = self.trainer(way), list[EpochRecord]()
        before = all_tensors(trainer.method)
        trainer.train(0, records.append)
        return Trained(trainer.method, [record.loss for record in records], before, trainer.state())

    @cached_property
    def trained(self) -> Trained:
        """The method after the plain training, which others are compared with.

        Raises:
            NothingToCheck: the method trains nothing.
        """
        if not self.cls.trains:
            raise NothingToCheck("the class says trains = False")
        return self.train()

    @property
    def last_step(self) -> str:
        """The last of its functions before training."""
        return "fit" if self.cls.is_fitted() else "build"

    @property
    def finished(self) -> Method:
        """The method as it is evaluated: trained, or just fitted where nothing trains; not what it chooses."""
        return self.trained.method if self.cls.trains else self.build()

    def logits(
        self, method: Method, texts: Sequence[Text], pixels: Tensor | None = None, precision: str = "fp32"
    ) -> Tensor:
        """Logits of images among the classes of some prompts, as evaluation takes them.

        Args:
            method: its classes are set to these.
            texts: C prompts.
            pixels: (B, 3, H, W); None: the test images.
            precision: as in training.
        """
        set_classes(method, method.clip.tokenize(texts), precision)
        return classify(
            method, self.test_pixels if pixels is None else pixels, encode_texts(method, precision), precision
        )

    def refusal(self, method: Method) -> str | None:
        """Why a method cannot be used for other classes, as it says before training; None if it can."""
        try:
            method.check_classes(tuple(self.other_texts))
        except OtherClassesError as error:
            return str(error)
        return None
