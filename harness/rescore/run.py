"""A finished run, rescored from its kept logits; the logits themselves are let go of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.rescore.bootstrap import bootstrap_interval
from harness.rescore.calibration import Bin, Temperature, fit_temperature
from harness.rescore.metrics import RescoreMetric, Scored
from harness.results.folder import RunFolder
from harness.results.logits import Labels, read_logits, read_validation_logits
from harness.results.record import DamagedError, Result
from harness.text import counted


@dataclass(frozen=True)
class RescoredEvaluation:
    """What the kept logits of one evaluation say.

    Attributes:
        name: of the evaluation.
        values: name of a metric -> its value, of those that are defined.
        interval: 95 % bootstrap interval of the accuracy over images, percent.
        class_names: C names.
        confusion: (C, C), as `confusion_matrix` gives it.
        bins: reliability in equal bins of confidence.
    """

    name: str
    values: dict[str, float]
    interval: tuple[float, float]
    class_names: tuple[str, ...]
    confusion: Labels
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class RescoredRun:
    """What the kept logits of a run say.

    Attributes:
        id: of the run.
        evaluations: name -> evaluation, of those whose logits were kept.
        not_kept: names of the others.
        temperature: fitted on validation logits; None if there are none.
        notes: what a reader must know, one line each.
        damage: files that cannot be read, one line each.
    """

    id: str
    evaluations: dict[str, RescoredEvaluation] = field(default_factory=dict)
    not_kept: tuple[str, ...] = ()
    temperature: Temperature | None = None
    notes: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()


def rescore(folder: RunFolder, result: Result, metrics: Sequence[RescoreMetric]) -> RescoredRun:
    """Rescore a finished run; logits that cannot be read are named, and the others are used.

    Args:
        folder: of the run.
        result: of it.
        metrics: which to compute.
    """
    damage, notes, not_kept = [], [], []
    temperature: Temperature | None = None
    try:
        if validation := read_validation_logits(folder):
            temperature = fit_temperature(validation.logits, validation.labels)
    except DamagedError as error:
        damage.append(str(error))
    if temperature and temperature.is_bound:
        notes.append(
            f"run {result.id}: no temperature is best on its {counted(temperature.images, 'validation image')}; the "
            f"bound of the search, {temperature.value:.3g}, was taken"
        )
    found = {}
    for evaluation in result.evaluations:
        try:
            kept = read_logits(folder, evaluation)
        except DamagedError as error:
            damage.append(str(error))
            continue
        if kept is None:
            not_kept.append(evaluation.name)
            continue
        scored = Scored(result, evaluation, kept, temperature)
        notes += difference_note(scored)
        found[evaluation.name] = rescored(scored, metrics)
    return RescoredRun(result.id, found, tuple(not_kept), temperature, tuple(notes), tuple(damage))


def rescored(scored: Scored, metrics: Sequence[RescoreMetric]) -> RescoredEvaluation:
    """What the logits of one evaluation say."""
    values = {metric.name: metric.value(scored) for metric in metrics}
    low, high = bootstrap_interval(scored.right.astype(float))
    return RescoredEvaluation(
        scored.evaluation.name,
        {name: value for name, value in values.items() if value is not None},
        (100 * low, 100 * high),
        scored.kept.facts.class_names,
        scored.confusion,
        scored.bins,
    )


def difference_note(scored: Scored) -> list[str]:
    """A line where the accuracy of kept logits is not the recorded one; empty where it is."""
    images = len(scored.labels)
    right = int(scored.right.sum())
    recorded = round(scored.evaluation.accuracy / 100 * images)
    if right == recorded:
        return []
    return [
        f"run {scored.result.id}, {scored.evaluation.name}: the kept logits get {right} of {images} images right, "
        f"{recorded} were recorded: probabilities that were equal in float32 are not in the logits, or the reverse"
    ]
