"""Classifying pictures of one's own with what a finished run has learned."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from harness.clip.texts import Text
from harness.data.fewshot import class_subset
from harness.data.loader import PictureSet
from harness.data.pictures import read_picture
from harness.data.readers import Picture
from harness.errors import UserError
from harness.experiment.place import MOST_EVALUATED
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.machine.device import choose_device
from harness.machine.meter import Meter
from harness.results.files import load_tensors, read_regular
from harness.results.folder import RunFolder
from harness.training.build import build_clip, build_method, prompt_texts
from harness.training.evaluate import Classifier, distinct
from harness.training.fitting import fit_method, shots_of
from harness.training.run import Run
from harness.training.run_data import RunData
from harness.training.state import load_trained_state
from methods.base import Method, OtherClassesError


@dataclass(frozen=True)
class Learned:
    """What is known of a finished run, or of its checkpoint alone.

    Attributes:
        spec: the run.
        checkpoint: tensors that it trained; empty if nothing trained.
        chosen: numbers that its method chose on validation images.
        class_names: label -> name, of the training data set, as its sample names them; empty if that is not there.
    """

    spec: RunSpec
    checkpoint: dict[str, Tensor]
    chosen: dict[str, float]
    class_names: dict[int, str]


def learned_by_run(folder: RunFolder) -> Learned:
    """What a finished run has learned.

    Raises:
        UserError: it is not finished, or a file of it is damaged or missing.
    """
    if not folder.is_complete:
        raise UserError(f"run '{folder.path.name}' is {folder.state}: only a finished run predicts")
    result = folder.read_result()
    tensors: dict[str, Tensor] = {}
    if result.costs.checkpoint_bytes:
        if not folder.checkpoint_file.is_file():
            raise UserError(f"'{folder.checkpoint_file}' is missing: what run '{folder.path.name}' trained is in it")
        tensors = load_tensors(folder.checkpoint_file)[0]
    chosen = {name: float(value) for name, value in result.selection.chosen.items()} if result.selection else {}
    return Learned(result.spec, tensors, chosen, sampled_names(folder.path / "sample.json"))


def learned_in_file(path: Path) -> Learned:
    """What a checkpoint holds; its run's other files are read if they lie beside it.

    Raises:
        UserError: it is no checkpoint of a run.
    """
    if (path.parent / "result.json").is_file():
        return learned_by_run(folder_at(path.parent))
    try:
        tensors, about = load_tensors(path)
        spec = parse_run_spec(about["spec"])
    except (KeyError, TypeError):
        raise UserError(f"'{path}' does not say of which run it is: name the checkpoint.safetensors of a run") from None
    except UserError as error:
        raise UserError(f"'{path}' is no checkpoint of a run: {error}") from None
    return Learned(spec, tensors, {}, sampled_names(path.parent / "sample.json"))


def folder_at(path: Path) -> RunFolder:
    """The run's folder at a path, `<results>/runs/<id>`.

    Raises:
        UserError: it stands elsewhere.
    """
    whole = path.absolute()
    if len(whole.parents) < 2 or whole.parent.name != "runs":
        raise UserError(f"'{path}' is no folder of a run: these are RESULTS/runs/ID")
    return RunFolder(whole.parents[1], whole.name)


def sampled_names(path: Path) -> dict[int, str]:
    """Label -> name of the classes of which a run's sample has pictures; empty if it cannot be read."""
    try:
        rows = json.loads(read_regular(path))["train"]
        return {int(label): str(name) for _, label, name in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def training_names(learned: Learned) -> list[str]:
    """Names of the training classes of a run: as its sample has them, else as the data set on this machine has them.

    Raises:
        UserError: neither is there.
    """
    data, found = learned.spec.data, learned.class_names
    if sorted(found) == list(range(len(found))) and found:
        return [found[label] for label in class_subset(len(found), data.classes)]
    return RunData(learned.spec, tests=False).class_names(data.dataset, data.classes)


class Predictor:
    """A finished run as a classifier of any pictures.

    Args:
        learned: by the run.
        device: name of the device to compute on.
        classes: names to choose among; None: the training classes.

    Attributes:
        class_names: to choose among; a number is added to those that are there twice.

    Raises:
        UserError: the weights cannot be loaded, the training pictures that the method is fitted to are not on this
            machine, or the method cannot be used for these classes.
    """

    def __init__(self, learned: Learned, device: str = "auto", classes: Sequence[str] | None = None) -> None:
        place = {"device": device, "threads": None, "workers": 0}
        self.spec = learned.spec.model_copy(update={"runtime": learned.spec.runtime.model_copy(update=place)})
        self.device = choose_device(device)
        self.method = self._build(learned)
        names = training_names(learned) if classes is None else list(classes)
        self.class_names = distinct(names)
        self._texts = self._texts_of(names)
        try:
            self.method.check_classes(tuple(self.method.clip.tokenize(self._texts).texts))
        except OtherClassesError as error:
            raise UserError(f"{self.spec.method} cannot be used for these classes: {error}") from None

    def _texts_of(self, names: Sequence[str]) -> list[Text]:
        return prompt_texts(self.spec, self.spec.data.dataset, names)

    def _build(self, learned: Learned) -> Method:
        """The run's method as it was after the training."""
        spec = self.spec
        if method_class(spec.method).is_fitted():
            method = self._fitted()
        else:
            clip = build_clip(spec.backbone, spec.train.precision, self.device)
            texts = self._texts_of(training_names(learned))
            precision, caches = spec.train.precision, spec.train.caches
            method = build_method(clip, spec.method, spec.options, texts, precision, spec.seed, caches)
        if learned.checkpoint:
            load_trained_state(method, {name: value.to(self.device) for name, value in learned.checkpoint.items()})
        elif any(parameter.requires_grad for parameter in method.parameters()):
            raise UserError(f"the checkpoint of '{spec.name}' is missing: what it trained is in it")
        if learned.chosen:
            method.use(learned.chosen)
        return method.eval()

    def _fitted(self) -> Method:
        """The run's method, fitted once more to its shots, before it trains."""
        spec = self.spec
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            run = Run(spec, Path(scratch))
            try:
                setup = run.set_up()
            except UserError as error:
                raise UserError(f"{spec.method} is fitted to the training pictures of its run: {error}") from None
            images = run.training_images(setup, Meter(self.device))
            fit_method(setup.method, shots_of(images, spec), spec.train.precision, spec.seed)
        return setup.method

    @torch.no_grad()
    def probabilities(self, paths: Sequence[Path]) -> Tensor:
        """Probabilities (N, C) of the classes for N pictures, on the CPU.

        Raises:
            UserError: a picture cannot be read, or a logit is not finite.
        """
        pictures = PictureSet(Path(), [Picture(str(path), 0) for path in paths], read=read_anywhere)
        transform = RunData(self.spec, tests=False).test_transform(self.method.clip)
        size, precision = self.spec.runtime.eval_batch_size or MOST_EVALUATED, self.spec.train.precision
        logits = Classifier(self.method, pictures, self._texts, transform, precision, size).logits()
        if not logits.isfinite().all():
            raise UserError(f"run '{self.spec.name}' gives logits that are not finite")
        return logits.softmax(dim=-1)


def read_anywhere(_folder: Path, path: str) -> Image.Image:
    """The image in a file, wherever it lies."""
    return read_picture(Path(path).parent, Path(path).name)
