"""What a run chooses on validation images: the candidates of `Method.search`, and the epoch that is kept.

A method sees no image here: it says what it may choose, and receives the accuracy of each candidate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.data.loader import PictureSet, Transform, normalise
from harness.data.readers import Picture
from harness.experiment.place import MOST_EVALUATED
from harness.experiment.spec import RunSpec
from harness.machine.costs import PhaseCosts
from harness.machine.meter import Meter
from harness.results.progress import Progress
from harness.results.record import Selection
from harness.training.inference import classify_features, encode_texts, run_frozen
from harness.training.precision import autocast
from harness.training.run_data import FewShotData, RunData
from harness.training.shared_features import SharedFeatures, is_shareable
from methods.base import Candidate, Method


@dataclass(frozen=True)
class ValidationImages:
    """Validation images of the training classes, at the stage from which a method trains.

    Attributes:
        x: (N, ...).
        labels: (N,), among the training classes.
        precision: of the computation.
        batch_size: images per batch.
    """

    x: Tensor
    labels: Tensor
    precision: str
    batch_size: int

    @torch.no_grad()
    def accuracy(self, method: Method) -> float:
        """Percent of the images that a method, its training classes set, classifies rightly."""
        text = encode_texts(method, self.precision)
        batches = zip(self.x.split(self.batch_size), self.labels.split(self.batch_size), strict=True)
        right = [
            (classify_features(method, x, text, self.precision).argmax(dim=1) == labels).sum() for x, labels in batches
        ]
        return 100 * int(torch.stack(right).sum()) / len(self.labels)

    @torch.no_grad()
    def scorer(self, method: Method) -> Callable[[Candidate], float]:
        """A function that gives the accuracy, in percent, of one candidate after another that a method uses.

        What does not depend on the candidate is computed once.
        """
        with autocast(self.precision, method.clip.device):
            logits_of = [method.candidate_logits(x) for x in self.x.split(self.batch_size)]

        @torch.no_grad()
        def accuracy(candidate: Candidate) -> float:
            with autocast(self.precision, method.clip.device):
                logits = [of(candidate).float() for of in logits_of]
            right = torch.cat(logits).argmax(dim=1) == self.labels
            return 100 * int(right.sum()) / len(self.labels)

        return accuracy


@dataclass(frozen=True)
class Choice:
    """What a search found.

    Attributes:
        chosen: the candidate.
        accuracy: of it, percent; None if the search tried nothing like it.
        candidates: all that were tried, in order.
        accuracies: of each, percent.
    """

    chosen: Candidate
    accuracy: float | None = None
    candidates: list[Candidate] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)


@torch.no_grad()
def validation_images(
    method: Method,
    pictures: PictureSet,
    transform: Transform,
    precision: str,
    batch_size: int,
    workers: int = 0,
    shared: SharedFeatures | None = None,
    phase: PhaseCosts | None = None,
) -> ValidationImages:
    """Run the frozen stages of validation images.

    Args:
        method: at whose `image_start` they are wanted.
        pictures: with labels among the training classes.
        transform: of testing.
        precision: as in training.
        batch_size: images per batch.
        workers: number of processes that decode images.
        shared: where features of the whole tower come from; None computes them here.
        phase: receives the costs of what is shared.

    Raises:
        UserError: an image cannot be read.
    """
    clip = method.clip
    labels = pictures.labels.to(clip.device)
    if shared and is_shareable(method.image_start):
        found = shared.of(pictures, transform, method.image_start, batch_size, workers=workers)
        if phase:
            phase.share(found.shared_seconds)
        return ValidationImages(found.rows.to(clip.device), labels, precision, batch_size)
    indices = pictures.in_order(batch_size)
    batches = pictures.batches(transform, indices, workers=workers, pin_memory=clip.device.type == "cuda")
    pixels = (normalise(batch, clip.mean, clip.std, clip.device) for batch in batches)
    x = torch.cat([run_frozen(clip, batch, method.image_start, precision) for batch in pixels])
    if phase:
        phase.share(pictures.take_spared())
    return ValidationImages(x, labels, precision, batch_size)


def choose(method: Method, score: Callable[[Candidate], float]) -> Choice:
    """Run a method's search, and let it use what it chose.

    Args:
        method: trained, its training classes set.
        score: the accuracy on validation images of a candidate that the method uses, percent.
    """
    candidates: list[Candidate] = []
    accuracies: list[float] = []
    search = method.search()
    try:
        candidate = next(search)
        while True:
            method.use(candidate)
            candidates.append(candidate)
            accuracies.append(score(candidate))
            candidate = search.send(accuracies[-1])
    except StopIteration as end:
        chosen: Candidate = end.value
    method.use(chosen)
    accuracy = next((found for tried, found in zip(candidates, accuracies, strict=True) if tried == chosen), None)
    return Choice(chosen, accuracy, candidates, accuracies)


def probe_choice(method: Method, images: ValidationImages, candidate: Candidate, meter: Meter) -> None:
    """Measure the memory of using a candidate and of taking its accuracy, as the search does."""

    @torch.no_grad()
    def score() -> None:
        method.use(candidate)
        images.scorer(method)(candidate)

    meter.probe("select", score, [*method.parameters(), *method.buffers(), images.x])


def is_better(accuracy: float, highest: float | None, rule: str) -> bool:
    """Whether an epoch takes the place of the best of those before it.

    Args:
        accuracy: of the epoch, percent.
        highest: of the best epoch before it; None if there is none.
        rule: first_best or last_best.
    """
    return highest is None or accuracy > highest or (rule == "last_best" and accuracy == highest)


class Selector:
    """What a run chooses by: images that it does not train on, at its method's stage, prepared when they are needed.

    Args:
        spec: the run.
        sample: its few-shot sample.
        transform: of testing.
        meter: receives the costs of the phase `select`.
        workers: number of processes that decode images.
        shared: where features of the whole tower come from; None computes them here.
        batch_size: images a batch; None: as the spec says.
    """

    def __init__(
        self,
        spec: RunSpec,
        sample: FewShotData,
        transform: Transform,
        meter: Meter,
        workers: int,
        shared: SharedFeatures | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.spec = spec
        self.sample = sample
        self.transform = transform
        self.meter = meter
        self.workers = workers
        self.shared = shared
        self.batch_size = batch_size or spec.runtime.eval_batch_size or MOST_EVALUATED
        self._validations: dict[str, ValidationImages] = {}

    def validation(self, method: Method, split: str) -> ValidationImages:
        """The images of a split, val or test; where test is not asked for, nothing of it is read.

        Raises:
            UserError: there are none, or an image cannot be read.
        """
        if split not in self._validations:
            data = RunData(self.spec, tests=False)
            pictures = data.picture_set(self.sample.splits.folder, self._pictures(split))
            size = self.batch_size
            with self.meter.phase("select", images=len(pictures)) as phase:
                self._validations[split] = validation_images(
                    method, pictures, self.transform, self.spec.train.precision, size, self.workers, self.shared, phase
                )
        return self._validations[split]

    def _pictures(self, split: str) -> list[Picture]:
        return RunData(self.spec, tests=split == "test").validation_pictures(self.sample, split)

    def _count(self, split: str) -> int:
        """How many images of a split are looked at: a training that ended in an earlier start did so there."""
        known = self._validations.get(split)
        return len(self._pictures(split) if known is None else known.labels)

    def epoch_accuracy(self, method: Method) -> float:
        """Accuracy by which the epoch to keep is chosen, percent.

        Raises:
            UserError: as `validation`.
        """
        images = self.validation(method, self.spec.select.epoch_pictures)
        with self.meter.phase("select"):
            return images.accuracy(method)

    def search(self, method: Method) -> Choice:
        """Let a method choose among the candidates of its search.

        Raises:
            UserError: as `validation`.
        """
        images = self.validation(method, self.spec.select.pictures)
        with self.meter.phase("select"):
            choice = choose(method, images.scorer(method))
        probe_choice(method, images, choice.chosen, self.meter)
        return choice

    def record(self, choice: Choice | None, progress: Progress) -> Selection | None:
        """What was chosen; None if nothing was.

        Args:
            choice: of the search, if there was one.
            progress: of the training.
        """
        if choice is None and progress.kept_epoch is None:
            return None
        select = self.spec.select
        found = choice or Choice({})
        val = self._validations.get("val")
        return Selection(
            chosen=found.chosen,
            accuracy=found.accuracy,
            candidates=len(found.candidates),
            pictures=select.pictures,
            images=self._count(select.pictures) if choice else 0,
            shots=select.shots,
            most=int(val.labels.bincount().max()) if val else None,
            whole=bool(val) and RunData(self.spec, tests=False).is_all_validation(self.sample),
            epoch=progress.kept_epoch,
            epoch_accuracy=progress.kept_accuracy,
            epoch_pictures=select.epoch_pictures,
            epoch_images=self._count(select.epoch_pictures) if progress.kept_epoch is not None else 0,
        )
