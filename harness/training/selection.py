"""What a run chooses on validation images: the candidates of `Method.search`, and the epoch that is kept.

A method sees no image here: it says what it may choose, and receives the accuracy of each candidate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.data.loader import PictureSet, Transform, normalise
from harness.training.inference import classify_features, encode_texts, run_frozen
from methods.base import Candidate, Method


@dataclass(frozen=True)
class Validation:
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
    method: Method, pictures: PictureSet, transform: Transform, precision: str, batch_size: int, workers: int = 0
) -> Validation:
    """Run the frozen stages of validation images.

    Args:
        method: at whose `image_start` they are wanted.
        pictures: with labels among the training classes.
        transform: of testing.
        precision: as in training.
        batch_size: images per batch.
        workers: number of processes that decode images.

    Raises:
        UserError: an image cannot be read.
    """
    clip = method.clip
    indices = pictures.in_order(batch_size)
    batches = pictures.batches(transform, indices, workers=workers, pin_memory=clip.device.type == "cuda")
    pixels = (normalise(batch, clip.mean, clip.std, clip.device) for batch in batches)
    x = torch.cat([run_frozen(clip, batch, method.image_start, precision) for batch in pixels])
    return Validation(x, pictures.labels.to(clip.device), precision, batch_size)


def choose(method: Method, score: Callable[[Method], float]) -> Choice:
    """Run a method's search, and let it use what it chose.

    Args:
        method: trained, its training classes set.
        score: the accuracy of a method on validation images, percent.
    """
    candidates: list[Candidate] = []
    accuracies: list[float] = []
    search = method.search()
    try:
        candidate = next(search)
        while True:
            method.use(candidate)
            candidates.append(candidate)
            accuracies.append(score(method))
            candidate = search.send(accuracies[-1])
    except StopIteration as end:
        chosen: Candidate = end.value
    method.use(chosen)
    accuracy = next((found for tried, found in zip(candidates, accuracies, strict=True) if tried == chosen), None)
    return Choice(chosen, accuracy, candidates, accuracies)


def is_better(accuracy: float, so_far: Sequence[float], rule: str) -> bool:
    """Whether an epoch takes the place of the best of those before it.

    Args:
        accuracy: of the epoch, percent.
        so_far: of the best epoch before it; empty if there is none.
        rule: first_best or last_best.
    """
    highest = max(so_far, default=float("-inf"))
    return accuracy >= highest if rule == "last_best" else accuracy > highest
