"""A method under check: built, trained and asked for logits on a few images of the embedded benchmark."""

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

import methods
from harness.clip.load import load_backbone
from harness.clip.texts import Text
from harness.clip.towers import CLIP
from harness.data.loader import load_pixels
from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import check_method, method_class
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import EvalSpec, RunSpec
from harness.machine.meter import Meter
from harness.reference.contract.verdicts import NothingToCheck
from harness.results.record import EpochRecord
from harness.training.build import build_method
from harness.training.inference import classify, encode_texts, set_classes
from harness.training.precision import store_clip
from harness.training.run import Run, Setup
from harness.training.run_data import FewShotData, RunData
from harness.training.trainer import Trainer
from methods.base import Method, OtherClassesError

CPU = torch.device("cpu")
DATASET = "emoji"
SEEN, OTHER = (
    EvalSpec(name="seen", dataset=DATASET, classes="base.base.base", splits=("val",)),
    EvalSpec(name="other", dataset=DATASET, classes="new.new.base.base", splits=("val",)),
)
SHOTS, BATCH = 4, 4
TEST_IMAGES = 5
# Two epochs, so that a training can be interrupted between them; no warm-up, so that both train; momentum, which shows
# which parameters got a gradient. The caching pass takes batches of the size of a training step, so that both round
# alike.
SETTINGS = (
    "train.epochs=2",
    "train.warmup_epochs=0",
    "train.momentum=0.9",
    f"train.batch_size={BATCH}",
    f"train.cache_batch_size={BATCH}",
    f"data.classes={SEEN.classes}",
    "runtime.device=cpu",
)
CHANGEABLE = ("train.lr", "train.lr_image", "train.weight_decay", "train.batches")


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        precision: fp32, bf16, fp16 or half.
        cached: whether the frozen stages run once per epoch, or at every step.
        speedups: whether the speed-ups are on.
        seed: of the run.
    """

    precision: str = "fp32"
    cached: bool = True
    speedups: bool = True
    seed: int = 1


PLAIN = Way()


@dataclass(frozen=True)
class Trained:
    """A method after training.

    Attributes:
        method: trained.
        losses: mean loss of each epoch.
        before: every parameter and buffer before the training.
        state: what the trainer would save: trained parameters, buffers, momentum.
    """

    method: Method
    losses: list[float]
    before: dict[str, Tensor]
    state: dict[str, Tensor]


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
        return specs[0].model_copy(update={"evaluate": (SEEN, OTHER)})

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

    def build(self, way: Way = PLAIN, texts: Sequence[Text] | None = None) -> Method:
        """The method on a CLIP of its own.

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

    def trainer(self, way: Way = PLAIN, meter: Meter | None = None) -> Trainer:
        """A trainer of the method, as a run has one.

        Args:
            way: how to train.
            meter: takes the costs; None: nothing is measured.
        """
        method = self.build(way)
        setup = Setup(method.clip, self.few_shot, method)
        trainer = self.run(way).make_trainer(setup, meter or Meter(CPU))
        if meter is None:
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


def all_tensors(method: Method) -> dict[str, Tensor]:
    """Name -> copy of every parameter and buffer of a method."""
    named = [*method.named_parameters(), *method.named_buffers()]
    return {name: value.detach().clone() for name, value in named}
