"""What an accuracy is held against: zero-shot CLIP in the same evaluation.

The reference is any run of the table in which nothing was learned or chosen, so it is found by what a run did and
not by its name.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.clip.texts import OneOrMore, prompts_of
from harness.machine.costs import FIT, SELECT
from harness.report.marks import BELOW_MARK
from harness.report.statistics import SAME_DIGITS
from harness.results.record import Result

if TYPE_CHECKING:  # pandas takes a second to import, and showing one run does not need it
    import pandas as pd

Key = TypeVar("Key", bound=Hashable)
_KNOWN: dict["tuple[Evaluated, ...]", "tuple[Evaluated, ...]"] = {}
BELOW_NOTE = f"{BELOW_MARK}: below zero-shot CLIP in the same evaluation (backbone, templates and images)."


@dataclass(frozen=True)
class Evaluated:
    """What an accuracy is of: two accuracies can be compared if they agree in all of it.

    Attributes:
        name: of the evaluation, such as base.
        backbone: as the run names it.
        weights: SHA-256 of its file; None: no file, or unknown.
        trained_on: the training data set, which decides what the name of an evaluation means.
        dataset, classes, splits: that were evaluated on.
        asked: the prompt templates as the run asks for them. A method that learns its context begins from other
            words of the same request.
        prompts: the templates that were used; None if unknown.
        pictures: hash of the images, their labels and the class names; None if unknown.
    """

    name: str
    backbone: str
    weights: str | None
    trained_on: str
    dataset: str
    classes: str
    splits: tuple[str, ...]
    asked: OneOrMore
    prompts: tuple[str, ...] | None
    pictures: str | None

    def is_like(self, other: "Evaluated") -> bool:
        """Whether both are the same evaluation; what an earlier version did not record is taken to agree."""
        same = ("name", "backbone", "trained_on", "dataset", "classes", "splits")
        if any(getattr(self, key) != getattr(other, key) for key in same):
            return False
        if not all(_agree(getattr(self, key), getattr(other, key)) for key in ("weights", "pictures")):
            return False
        return self.asked == other.asked or (self.prompts is not None and self.prompts == other.prompts)


def _agree(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def evaluated(result: Result) -> tuple[Evaluated, ...]:
    """What each accuracy of a run is of; the same object for all runs that share it, as thousands do."""
    spec = result.spec
    found = tuple(
        Evaluated(
            item.name,
            spec.backbone,
            result.weights_sha256,
            spec.data.dataset,
            item.dataset,
            item.classes,
            item.splits,
            spec.data.templates,
            None if item.template is None else tuple(prompts_of(item.template)),
            item.pictures_hash,
        )
        for item in result.evaluations
    )
    return _KNOWN.setdefault(found, found)


def is_zero_shot(result: Result) -> bool:
    """Whether a run is CLIP as it is: no epochs, nothing that could train, nothing fitted or chosen."""
    learns = result.spec.train.epochs > 0 or result.costs.trainable_parameters > 0
    return not learns and result.costs.seconds(FIT, SELECT) == 0 and result.selection is None


def reference_of(own: "pd.DataFrame", groups: Iterable[tuple[Key, "pd.DataFrame"]]) -> Key | None:
    """Key of the zero-shot runs that some runs can be held against: those with all of their evaluations.

    Args:
        own: finished runs with the columns of `experiment_runs`.
        groups: key -> finished runs, of which those are taken that are all zero-shot.

    Returns:
        The first of these keys; None if there is none.
    """
    ours = _evaluations(own)
    for key, group in groups if ours else ():
        known = _evaluations(group) if "zero_shot" in group and (group["zero_shot"] == True).all() else []  # noqa: E712
        if known and all(any(item.is_like(other) for other in known) for item in ours):
            return key
    return None


def _evaluations(runs: "pd.DataFrame") -> list[Evaluated]:
    several = {id(found): found for found in runs.get("evaluated", []) if isinstance(found, tuple)}
    return list(dict.fromkeys(item for found in several.values() for item in found))


def is_below(mean: float, level: float) -> bool:
    """Whether a mean is below that of zero-shot CLIP; means over different seeds may differ in their last bits."""
    return round(mean, SAME_DIGITS) < round(level, SAME_DIGITS)
