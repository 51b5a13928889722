"""Evaluation of a method on a split of a data set: accuracy, accuracy per class, calibration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.clip.texts import Text
from harness.data.loader import PictureSet, Transform, normalise
from harness.errors import UserError
from harness.experiment.place import MOST_EVALUATED
from harness.machine.meter import Meter
from harness.results.metrics import CALIBRATION_BINS
from harness.results.record import Prediction
from harness.training.inference import classify, classify_features, encode_texts, run_frozen, set_classes
from harness.training.precision import FULL_TYPES
from harness.training.shared_features import Features, SharedFeatures, fill_up, in_memory, is_shareable
from methods.base import Method

EXAMPLES = 12


@dataclass(frozen=True)
class Scores:
    """Result of classifying some images.

    Attributes:
        accuracy: percent of images whose highest logit is the right class.
        ece: expected calibration error in percent, 15 equal bins of confidence (Guo et al., ICML 2017).
        per_class: class name -> accuracy in percent, for classes that have images.
        images: number of images.
    """

    accuracy: float
    ece: float
    per_class: dict[str, float]
    images: int


@dataclass(frozen=True)
class Classifier:
    """A method that classifies some images among some classes.

    Attributes:
        method: trained; its classes are set to these.
        pictures: the images.
        template_texts: of each of C classes its prompt, or its prompts.
        transform: of testing.
        precision: as in training.
        batch_size: images per batch.
        workers: number of processes that decode images.
        shared: where features of the whole tower come from; None computes them here.
        device: whose memory is measured; None: that of the method.
    """

    method: Method
    pictures: PictureSet
    template_texts: Sequence[Text]
    transform: Transform
    precision: str
    batch_size: int
    workers: int = 0
    shared: SharedFeatures | None = None
    device: torch.device | None = None

    def features(self) -> Features | None:
        """The images at the method's stage, if they are features that runs share.

        Raises:
            UserError: an image cannot be read.
        """
        stage = self.method.image_start
        if self.shared is None or not is_shareable(stage):
            return None
        return self.shared.of(self.pictures, self.transform, stage, self.batch_size, workers=self.workers)

    @torch.no_grad()
    def logits(self, features: Features | None = None) -> Tensor:
        """Logits (N, C) of all images, on the CPU; texts are encoded once.

        Args:
            features: of the images; None computes them from pixels.

        Raises:
            UserError: an image cannot be read.
        """
        text = self._encode_texts()
        if features:
            device, parts = self.method.clip.device, features.rows.split(self.batch_size)
            return torch.cat([classify_features(self.method, x.to(device), text, self.precision).cpu() for x in parts])
        indices = self.pictures.in_order(self.batch_size)
        pin = self.method.clip.device.type == "cuda"
        batches = self.pictures.batches(self.transform, indices, workers=self.workers, pin_memory=pin)
        return torch.cat([self._classify(batch, text).cpu() for batch in batches])

    @torch.no_grad()
    def probe(self, meter: Meter, on_gpu: bool = False) -> None:
        """Measure the peak memory of what is computed at the same time, on a GPU only if asked: there the phase itself
        is measured."""
        resident = [*self.method.parameters(), *self.method.buffers()]
        meter.probe("evaluate", self._first_batch, resident, on_gpu)

    def _first_batch(self) -> None:
        text, stage, clip = self._encode_texts(), self.method.image_start, self.method.clip
        number = in_memory(self.device or clip.device, stage, self.batch_size)
        for batch in self.pictures.batches(self.transform, self.pictures.in_order(number)[:1]):
            if not is_shareable(stage):
                self._classify(batch, text)
                continue
            # Fewer pictures go through the tower at the same time than features are classified together.
            features = run_frozen(clip, normalise(batch, clip.mean, clip.std, clip.device), stage, self.precision)
            rows = fill_up(features, min(self.batch_size, len(self.pictures)))
            classify_features(self.method, rows, text, self.precision)

    def _encode_texts(self) -> Tensor:
        set_classes(self.method, self.method.clip.tokenize(self.template_texts), self.precision)
        return encode_texts(self.method, self.precision)

    def _classify(self, batch: Tensor, text: Tensor) -> Tensor:
        clip = self.method.clip
        pixels = normalise(batch, clip.mean, clip.std, clip.device)
        return classify(self.method, pixels, text, self.precision)


@torch.no_grad()
def evaluate(
    method: Method,
    pictures: PictureSet,
    class_names: Sequence[str],
    template_texts: Sequence[Text],
    transform: Transform,
    meter: Meter,
    precision: str,
    batch_size: int = MOST_EVALUATED,
    workers: int = 0,
    shared: SharedFeatures | None = None,
) -> tuple[Scores, list[Prediction], Tensor]:
    """Classify images among exactly the given classes; texts are encoded once.

    Args:
        method: trained; its classes are set to these.
        pictures: the images, with labels that index `class_names`.
        class_names: C names.
        template_texts: of each of C classes its prompt, or its prompts.
        transform: of testing.
        meter: receives the costs of the phase `evaluate`.
        precision: as in training.
        batch_size: images per batch.
        workers: number of processes that decode images.
        shared: where features of the whole tower come from; None computes them here.

    Returns:
        The scores, predictions for a few of the images, the same ones for every method and seed, and the logits
        (N, C) of all images, on the CPU.

    Raises:
        UserError: the logits are not finite, or an image cannot be read.
    """
    classifier = Classifier(method, pictures, template_texts, transform, precision, batch_size, workers, shared)
    with meter.phase("evaluate", images=len(pictures)) as phase:
        features = classifier.features()
        logits = classifier.logits(features)
        phase.share(features.shared_seconds if features else pictures.take_spared())

    if not logits.isfinite().all():
        raise UserError(
            f"{method.__class__.__name__} gives logits that are not finite: {cause_of_overflow(method, precision)}"
        )

    classifier.probe(meter, on_gpu=features is not None)
    return score(logits, pictures.labels, class_names), predictions(logits, pictures, class_names), logits


def cause_of_overflow(method: Method, precision: str) -> str:
    """What may have made logits infinite or NaN, and what to do; the backbone's weights were finite when loaded."""
    if any(parameter.requires_grad for parameter in method.parameters()):
        lower = "training diverged, lower train.lr"
        return lower if precision in FULL_TYPES else f"{lower} or use another train.precision than {precision}"
    if precision in FULL_TYPES:
        return f"nothing was trained, so the weights of backbone '{method.clip.name}' are too large: use others"
    return f"nothing was trained, so use another train.precision than {precision}"


def predictions(logits: Tensor, pictures: PictureSet, class_names: Sequence[str]) -> list[Prediction]:
    """Predictions for a few evenly spaced images.

    Args:
        logits: (N, C).
        pictures: the N images, in the same order.
        class_names: C names.
    """
    names = distinct(class_names)
    found = []
    for position in sorted({round(step * (len(logits) - 1) / (EXAMPLES - 1)) for step in range(EXAMPLES)}):
        confidence, predicted = logits[position].softmax(dim=-1).max(dim=-1)
        picture = pictures.pictures[position]
        found.append(
            Prediction(
                path=picture.path,
                label=names[picture.label],
                predicted=names[int(predicted)],
                confidence=round(confidence.item(), 4),
            )
        )
    return found


def score(logits: Tensor, labels: Tensor, class_names: Sequence[str]) -> Scores:
    """Scores of logits (N, C) against labels (N,)."""
    confidence, predicted = logits.softmax(dim=-1).max(dim=-1)
    right = (predicted == labels).double()
    totals = torch.bincount(labels, minlength=len(class_names))
    hits = torch.bincount(labels, weights=right, minlength=len(class_names))
    return Scores(
        accuracy=100 * right.mean().item(),
        ece=100 * expected_calibration_error(confidence.double(), right),
        per_class={
            name: 100 * (hit / total).item()
            for name, hit, total in zip(distinct(class_names), hits, totals, strict=True)
            if total
        },
        images=len(labels),
    )


def distinct(names: Sequence[str]) -> list[str]:
    """Names of classes; the label is added to names that several classes have."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} (label {label})" for label, name in enumerate(names)]


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error (Guo et al., ICML 2017), from 0 to 1.

    It is the mean over all images of the distance between mean confidence and accuracy of the image's confidence bin.
    It is computed here because none of our dependencies has it.

    Args:
        confidence: probability (N,) of the predicted class.
        right: (N,), 1 if the prediction is right, otherwise 0.
        bins: number of equal bins of (0, 1].
    """
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=confidence.dtype).index_add_(0, which, right - confidence)
    return gap.abs().sum().item() / len(confidence)
