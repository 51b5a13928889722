"""Tables and pictures of a finished run, of limited size, from the files that it keeps."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from harness.data.datasets import read_dataset
from harness.data.readers import UNTESTED
from harness.data.thumbnails import small_picture
from harness.errors import UserError
from harness.results.folder import RunFolder
from harness.results.logits import KeptLogits, read_logits
from harness.results.record import DamagedError, Prediction, Result

PICTURE_SIZE = 128
"""Pixels of the longer side of a picture."""
MOST_CLASSES = 200
"""Bars: of more classes those with the lowest accuracy are shown."""
MOST_PAIRS = 1000
"""Pairs of classes in a table of confusions: of more, the most frequent mistakes are shown."""
LARGEST_MATRIX = 50
"""Classes of a confusion matrix as a picture: of more, the table of confusions has to do."""


@dataclass(frozen=True)
class Pictured:
    """A prediction with its picture; None where the data set is not on this machine."""

    prediction: Prediction
    picture: Image.Image | None

    @property
    def caption(self) -> str:
        """What it was taken for."""
        one = self.prediction
        return f"{one.label}, right" if one.label == one.predicted else f"{one.label} taken for {one.predicted}"


@dataclass(frozen=True)
class Confusions:
    """Which classes an evaluation took for which.

    Attributes:
        class_names: C names.
        true, predicted: labels (N,) of its images, and what was predicted.
    """

    class_names: tuple[str, ...]
    true: list[int]
    predicted: list[int]

    def pairs(self) -> list[tuple[str, str, int]]:
        """Class, predicted class and number of images, of mistakes alone, the most frequent first."""
        mistakes = Counter(pair for pair in zip(self.true, self.predicted, strict=True) if pair[0] != pair[1])
        names = self.class_names
        ordered = sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))[:MOST_PAIRS]
        return [(names[label], names[predicted], count) for (label, predicted), count in ordered]

    @property
    def is_small(self) -> bool:
        """Whether a matrix of all classes can be read."""
        return len(self.class_names) <= LARGEST_MATRIX


@dataclass(frozen=True)
class Media:
    """Tables of the evaluations of a run, by their names; empty where nothing is to be shown."""

    predictions: dict[str, list[Pictured]] = field(default_factory=dict)
    confusions: dict[str, Confusions] = field(default_factory=dict)
    classes: dict[str, list[tuple[str, float]]] = field(default_factory=dict)


def media_of(folder: RunFolder, result: Result) -> Media:
    """The media of a finished run. What is damaged or was not kept is left out: it is no reason to track nothing."""
    if not result.spec.tracking.with_media(result.spec.seed):
        return Media()
    try:
        predictions = folder.read_predictions()
    except DamagedError:
        predictions = {}
    root = result.spec.runtime.find_data_root()
    datasets = {item.name: item.dataset for item in result.evaluations}
    places = {name: place_of(name, root) for name in set(datasets.values())}
    return Media(
        {
            name: [Pictured(one, picture_of(places[datasets[name]], one.path)) for one in some]
            for name, some in predictions.items()
            if name in datasets
        },
        {
            item.name: confusions_of(kept)
            for item in result.evaluations
            if (kept := legible_logits(folder, result, item.name))
        },
        {item.name: lowest(item.per_class) for item in result.evaluations if item.per_class},
    )


def place_of(dataset: str, root: str | None) -> Path | None:
    """The folder of a data set's pictures; None if it is not on this machine. No test label is read."""
    try:
        return read_dataset(dataset, root, UNTESTED).folder
    except UserError:
        return None


def picture_of(folder: Path | None, path: str) -> Image.Image | None:
    """A small picture, if it is there."""
    return small_picture(folder, path, PICTURE_SIZE) if folder else None


def legible_logits(folder: RunFolder, result: Result, name: str) -> KeptLogits | None:
    """The logits that an evaluation kept; None without any that can be read."""
    (evaluation,) = (item for item in result.evaluations if item.name == name)
    try:
        return read_logits(folder, evaluation)
    except DamagedError:
        return None


def confusions_of(kept: KeptLogits) -> Confusions:
    """The confusions in logits."""
    return Confusions(kept.facts.class_names, kept.labels.tolist(), kept.rounded.argmax(axis=1).tolist())


def lowest(per_class: dict[str, float]) -> list[tuple[str, float]]:
    """Classes and their accuracies in percent: all, or those with the lowest ones."""
    if len(per_class) <= MOST_CLASSES:
        return list(per_class.items())
    return sorted(per_class.items(), key=lambda item: item[1])[:MOST_CLASSES]
