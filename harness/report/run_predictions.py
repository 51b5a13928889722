"""The part of the report page about single pictures: what runs predicted for every one, from the logits they kept.

The page computes confusion matrices from it, and the pictures that two runs disagree on.
"""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.rescore.calibration import confidences, reliability
from harness.rescore.scores import predictions
from harness.results.folder import RunFolder
from harness.results.logits import KeptLogits, Labels, read_logits
from harness.results.record import DamagedError, Evaluation, Result

# Evaluations with more pictures are left to `skipbench rescore`.
MOST_PICTURES = 5_000
# Disagreements are told for the pictures with the most of them.
MOST_NAMED = 400
TEST = ("test",)


@dataclass(frozen=True)
class Predicted:
    """What the page holds of kept logits.

    Attributes:
        data: `sets` (pictures that were evaluated together), `runs` (id -> evaluation -> its set, predictions and bins)
            and `left_out` (number of runs with logits for which there was no room).
        pictures: path -> data set, of the pictures that runs disagree on, the most disputed first.
        size: bytes of JSON.
    """

    data: dict[str, Any]
    pictures: dict[str, str]
    size: int


class PictureSets:
    """Sets of pictures that were evaluated together, each once, however many runs share it."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, ...], int] = {}
        self.evaluations: list[Evaluation] = []
        self.labels: list[Labels] = []
        self.names: list[tuple[str, ...]] = []
        self.predicted: list[list[Labels]] = []

    def place(self, evaluation: Evaluation, kept: KeptLogits) -> int:
        """Index of the set of an evaluation; pictures of unknown hash are taken for others."""
        order = hashlib.sha256(kept.labels.tobytes()).hexdigest()
        names = kept.facts.class_names
        key = (evaluation.pictures_hash or kept.facts.run, evaluation.dataset, order, *names)
        if key not in self.known:
            self.known[key] = len(self.labels)
            self.evaluations.append(evaluation)
            self.labels.append(kept.labels)
            self.names.append(names)
            self.predicted.append([])
        return self.known[key]

    def described(self, place: int) -> dict[str, Any]:
        """A set: data set, names of its classes, label of every picture."""
        return {
            "dataset": self.evaluations[place].dataset,
            "names": list(self.names[place]),
            "labels": packed(self.labels[place]),
        }


def predicted(folders: Sequence[tuple[RunFolder, Result]], budget: int, damage: list[str]) -> Predicted:
    """What some runs predicted, as far as there is room.

    Args:
        folders: runs with their results, the most important first.
        budget: bytes of JSON that may be used.
        damage: receives why files are damaged.
    """
    sets, runs = PictureSets(), {}
    left_out = size = 0
    for number, (folder, result) in enumerate(folders):
        entries: dict[str, Any] = {}
        before = len(sets.labels)
        for evaluation in result.evaluations:
            kept = legible_logits(folder, evaluation, damage)
            if kept is None or len(kept.labels) > MOST_PICTURES:
                continue
            place = sets.place(evaluation, kept)
            found = predictions(kept.logits)
            entries[evaluation.name] = {"set": place, "predicted": packed(found), "bins": bins_of(kept, found)}
            sets.predicted[place].append(found)
        if not entries:
            continue
        grown = length(entries) + sum(length(sets.described(place)) for place in range(before, len(sets.labels)))
        if size + grown > budget:
            left_out = len(folders) - number
            break
        size += grown
        runs[result.id] = entries
    used = sorted({entry["set"] for entries in runs.values() for entry in entries.values()})
    told: list[dict[str, Any]] = []
    pictures: dict[str, str] = {}
    for place in range(max(used, default=-1) + 1):
        names = disputed_names(sets, place)
        room = budget - size
        names = names if length(names) < room else {}
        size += length(names)
        pictures |= dict.fromkeys(names.values(), sets.evaluations[place].dataset)
        told.append({**sets.described(place), "pictures": names})
    return Predicted({"sets": told, "runs": runs, "left_out": left_out}, pictures, size)


def legible_logits(folder: RunFolder, evaluation: Evaluation, damage: list[str]) -> KeptLogits | None:
    """The logits of an evaluation; None if none were kept, or if they are damaged, which is told."""
    try:
        return read_logits(folder, evaluation)
    except DamagedError as error:
        damage.append(str(error))
        return None


def bins_of(kept: KeptLogits, found: Labels) -> list[list[float]]:
    """Reliability: (mean confidence in percent, right in percent, pictures) of each bin that has pictures."""
    bins = reliability(confidences(kept.logits), found == kept.labels)
    return [[round(100 * one.confidence, 1), round(100 * one.accuracy, 1), one.images] for one in bins if one.images]


def disputed_names(sets: PictureSets, place: int) -> dict[str, str]:
    """Place of a picture (as text) -> its path, for pictures that runs disagree on, the most disputed first.

    Empty where the data set is not on this machine, or holds other pictures than were evaluated.
    """
    if len(sets.predicted[place]) < 2:
        return {}
    votes = np.stack(sets.predicted[place])
    # How many runs say something else than the first one; half of them is the most disputed.
    others = (votes != votes[0]).mean(axis=0)
    order = np.argsort(np.abs(others - 0.5), kind="stable")
    disputed = [int(number) for number in order if others[number]][:MOST_NAMED]
    paths = paths_of(sets.evaluations[place], sets.labels[place], sets.names[place]) if disputed else None
    return {str(number): paths[number] for number in disputed} if paths else {}


def paths_of(evaluation: Evaluation, labels: Labels, names: Sequence[str]) -> list[str] | None:
    """Paths of the pictures of an evaluation in their order; None if the data set is not here, or is another one."""
    if evaluation.splits != TEST or evaluation.pictures_hash is None:
        return None
    # Imported here because only runs with logits need it.
    from harness.data.datasets import read_dataset
    from harness.data.fewshot import class_subset, keep_classes, pictures_hash

    try:
        splits = read_dataset(evaluation.dataset, os.environ.get("DATA"), splits=TEST)
        chosen = keep_classes(splits.test, class_subset(len(splits.class_names), evaluation.classes))
    except UserError:
        return None
    same = pictures_hash(chosen, names) == evaluation.pictures_hash
    return [path for path, _ in chosen] if same and [label for _, label in chosen] == labels.tolist() else None


def packed(numbers: Labels) -> str:
    """Indices of classes as base64 of unsigned 16-bit numbers, the lowest byte first."""
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()


def length(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
