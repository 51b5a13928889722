"""Accuracy after epochs of a training, on validation images; no test image is looked at.

Where a protocol evaluates no test images, its own evaluations are repeated. Where it tests, the training classes are
classified on the validation images that a run may choose by. The frozen stages of all these images are run once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.clip.prompts import Prompts
from harness.clip.towers import RAW
from harness.data.loader import PictureSet, Transform, normalise
from harness.errors import UserError
from harness.experiment.place import MOST_EVALUATED
from harness.experiment.spec import RunSpec
from harness.machine.costs import VALIDATE
from harness.machine.meter import Meter
from harness.machine.units import MIB
from harness.results.record import Refusal
from harness.training.evaluate import Classifier, cause_of_overflow, score
from harness.training.inference import classify_features, encode_texts, run_frozen, set_classes
from harness.training.refusals import served
from harness.training.run_data import FewShotData, RunData
from harness.training.shared_features import SharedFeatures
from methods.base import Method

VALIDATION = "val"
"""What the accuracy is called of a run whose protocol evaluates test images only."""
Validate = Callable[[Method], dict[str, float]]
"""Accuracies of a method after an epoch, percent; its classes are left as they were."""


@dataclass
class Part:
    """Images that are classified after epochs.

    Attributes:
        name: of the accuracy.
        class_names: C names.
        classifier: of the images among these classes.
        prompts: of the classes.
        kept: the images at the method's stage, in host memory; None runs all stages every time.
    """

    name: str
    class_names: list[str]
    classifier: Classifier
    prompts: Prompts
    kept: Tensor | None


class Validation:
    """What a run is validated on while it trains, prepared when it is needed first.

    Args:
        spec: the run.
        sample: its few-shot sample.
        transform: of testing.
        meter: receives the costs of the phase `validate`.
        refusals: evaluations that the method cannot take part in.
        tell: takes a line if there is nothing to validate on.
        workers: number of processes that decode images.
        shared: where features of the whole tower come from; None computes them here.
    """

    def __init__(
        self,
        spec: RunSpec,
        sample: FewShotData,
        transform: Transform,
        meter: Meter,
        refusals: Sequence[Refusal] = (),
        tell: Callable[[str], None] = lambda line: None,
        workers: int = 0,
        shared: SharedFeatures | None = None,
    ) -> None:
        self.spec = spec
        self.sample = sample
        self.transform = transform
        self.meter = meter
        self.refusals = refusals
        self.tell = tell
        self.workers = workers
        self.shared = shared
        self.data = RunData(spec, tests=False)
        self._parts: list[Part] | None = None

    @torch.no_grad()
    def __call__(self, method: Method) -> dict[str, float]:
        """Accuracies of a method, percent; its training classes are set, and are again in the end.

        Raises:
            UserError: an image cannot be read, or the logits are not finite.
        """
        training, precision = method.prompts, self.spec.train.precision
        with self.meter.phase(VALIDATE):
            if self._parts is None:
                self._parts = self._prepare(method)
            found = {part.name: self._accuracy(method, part) for part in self._parts}
            if method.prompts.texts != training.texts:
                set_classes(method, training, precision)
        return found

    def _prepare(self, method: Method) -> list[Part]:
        """The parts of the run."""
        data, spec = self.data, self.spec
        items = [item for item in served(spec.evaluate, self.refusals) if "test" not in item.splits]
        if items:
            splits = {item.dataset: data.read(item.dataset) for item in items}
            return [
                self._part(
                    method,
                    item.name,
                    data.picture_set(
                        splits[item.dataset].folder, data.evaluated_pictures(item, splits[item.dataset])[0]
                    ),
                    item.dataset,
                    item.classes,
                )
                for item in items
            ]
        try:
            pictures = data.validation_pictures(self.sample, "val")
        except UserError as error:
            self.tell(f"nothing is validated during the training: {error}")
            return []
        picture_set = data.picture_set(self.sample.splits.folder, pictures)
        return [self._part(method, VALIDATION, picture_set, spec.data.dataset, spec.data.classes)]

    def _part(self, method: Method, name: str, pictures: PictureSet, dataset: str, classes: str) -> Part:
        spec = self.spec
        texts, names = self.data.texts(dataset, classes), self.data.class_names(dataset, classes)
        size, precision = spec.runtime.eval_batch_size or MOST_EVALUATED, spec.train.precision
        classifier = Classifier(method, pictures, texts, self.transform, precision, size, self.workers, self.shared)
        return Part(name, names, classifier, method.clip.tokenize(texts), self._kept(classifier))

    def _kept(self, classifier: Classifier) -> Tensor | None:
        """Images at the method's stage, if they fit into memory and the stage is not that of pixels."""
        if features := classifier.features():
            return features.rows
        method, pictures = classifier.method, classifier.pictures
        if method.image_start == RAW:
            return None
        clip, precision, batches = method.clip, self.spec.train.precision, pictures.in_order(classifier.batch_size)
        found: list[Tensor] = []
        limit = self.spec.runtime.cache_host_mib * MIB
        for batch in pictures.batches(self.transform, batches, workers=self.workers):
            pixels = normalise(batch, clip.mean, clip.std, clip.device)
            found.append(run_frozen(clip, pixels, method.image_start, precision).cpu())
            if found[0].nbytes / len(found[0]) * len(pictures) > limit:
                return None
        return torch.cat(found)

    def _accuracy(self, method: Method, part: Part) -> float:
        precision = self.spec.train.precision
        if part.kept is None:
            logits = part.classifier.logits()
        else:
            if method.prompts.texts != part.prompts.texts:
                set_classes(method, part.prompts, precision)
            text, device = encode_texts(method, precision), method.clip.device
            rows = part.kept.split(part.classifier.batch_size)
            logits = torch.cat([classify_features(method, x.to(device), text, precision).cpu() for x in rows])
        if not logits.isfinite().all():
            raise UserError(
                f"{self.spec.method} gives logits that are not finite: {cause_of_overflow(method, precision)}"
            )
        return score(logits, part.classifier.pictures.labels, part.class_names).accuracy
