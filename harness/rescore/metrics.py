"""What can be asked of kept logits, each once: its name, title, unit, and how it is taken from an evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from harness.data.fewshot import class_subset
from harness.errors import UserError, nearest
from harness.experiment.protocols import ALL, BASE
from harness.rescore.calibration import Bin, Temperature, adaptive_bins, calibration_error, confidences, reliability
from harness.rescore.openworld import openworld_auc
from harness.rescore.scores import TOP, Flags, balanced_accuracy, confusion_matrix, is_among_highest, predictions
from harness.results.logits import Floats, KeptLogits, Labels
from harness.results.metrics import ACCURACY, ECE, METRICS, PERCENT
from harness.results.record import Evaluation, Result

VALIDATION_NEEDED = "it needs logits of validation images, which runs keep with runtime.keep_validation_logits=true"


@dataclass(frozen=True)
class Scored:
    """One evaluation with its logits.

    Attributes:
        result: of the run.
        evaluation: as recorded.
        kept: its logits.
        temperature: fitted on the run's validation logits; None if it kept none.
    """

    result: Result
    evaluation: Evaluation
    kept: KeptLogits
    temperature: Temperature | None = None

    @cached_property
    def logits(self) -> Floats:
        """(N, C)."""
        return self.kept.logits

    @property
    def labels(self) -> Labels:
        """(N,)."""
        return self.kept.labels

    @property
    def classes(self) -> int:
        """C."""
        return self.logits.shape[1]

    @cached_property
    def predicted(self) -> Labels:
        """(N,)."""
        return predictions(self.logits)

    @cached_property
    def right(self) -> Flags:
        """(N,): whether the prediction is right."""
        return self.predicted == self.labels

    @cached_property
    def confusion(self) -> Labels:
        """(C, C), as `confusion_matrix` gives it."""
        return confusion_matrix(self.labels, self.predicted, self.classes)

    @cached_property
    def confidence(self) -> Floats:
        """Probability (N,) of the predicted class."""
        return confidences(self.logits)

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """Reliability in equal bins of confidence."""
        return reliability(self.confidence, self.right)


@dataclass(frozen=True)
class RescoreMetric:
    """A metric of kept logits.

    Attributes:
        name: of options and files.
        title: of rows.
        unit: of its values.
        about: one line for documents and `--help`.
        value: of an evaluation; None if it is not defined for that.
        digits: after the decimal point.
        needs: where it is defined, in words; empty: everywhere.
    """

    name: str
    title: str
    unit: str
    about: str
    value: Callable[[Scored], float | None]
    digits: int = 2
    needs: str = ""


def top_accuracy(scored: Scored) -> float | None:
    """Percent of images whose label is among the five highest logits; None for five classes and fewer."""
    if scored.classes <= TOP:
        return None
    return 100 * float(is_among_highest(scored.logits, scored.labels, TOP).mean())


def adaptive_error(scored: Scored) -> float:
    """Calibration error of bins with equally many images, percent."""
    return 100 * calibration_error(adaptive_bins(scored.confidence, scored.right))


def error_after_temperature(scored: Scored) -> float | None:
    """Expected calibration error of logits divided by the temperature, percent; None without one."""
    if scored.temperature is None:
        return None
    confidence = confidences(scored.logits, scored.temperature.value)
    return 100 * calibration_error(reliability(confidence, scored.right))


def openworld(scored: Scored) -> float | None:
    """OpenworldAUC in percent; None unless a run on base classes is evaluated on test images of all classes."""
    spec, evaluation = scored.result.spec, scored.evaluation
    trained_on = (spec.data.dataset, spec.data.classes)
    if trained_on != (evaluation.dataset, BASE) or evaluation.classes != ALL or scored.classes < 2:
        return None
    base = len(class_subset(scored.classes, BASE))
    if not (scored.labels < base).any() or not (scored.labels >= base).any():
        return None
    return 100 * openworld_auc(scored.logits, scored.labels, base)


RESCORE_METRICS: dict[str, RescoreMetric] = {
    metric.name: metric
    for metric in (
        RescoreMetric(
            ACCURACY, METRICS[ACCURACY].title, PERCENT, METRICS[ACCURACY].about,
            lambda scored: 100 * float(scored.right.mean()),
        ),
        RescoreMetric(
            "balanced_accuracy", "balanced accuracy", PERCENT, "mean of the accuracies of the classes",
            lambda scored: 100 * balanced_accuracy(scored.confusion),
        ),
        RescoreMetric("top5", "top-5", PERCENT, "images whose class is among the five highest logits", top_accuracy,
                      needs="it needs more than five classes"),
        RescoreMetric(
            "openworld_auc", "OpenworldAUC", PERCENT,
            "pairs of a base and a new image that are told apart and both classified right (Hua et al., 2025)",
            openworld,
            needs="it needs a protocol that trains on base classes and evaluates all classes together",
        ),
        RescoreMetric(
            ECE, METRICS[ECE].title, PERCENT, METRICS[ECE].about,
            lambda scored: 100 * calibration_error(scored.bins),
        ),
        RescoreMetric(
            "adaptive_ece", "adaptive ECE", PERCENT, "calibration error of bins with equally many images",
            adaptive_error,
        ),
        RescoreMetric(
            "temperature", "temperature", "", "what logits are divided by, fitted on validation images",
            lambda scored: scored.temperature.value if scored.temperature else None, digits=3, needs=VALIDATION_NEEDED,
        ),
        RescoreMetric(
            "ece_after_temperature", "ECE after temperature", PERCENT,
            "expected calibration error of the logits divided by the temperature", error_after_temperature,
            needs=VALIDATION_NEEDED,
        ),
    )
}  # fmt: skip


def find_rescore_metrics(names: list[str]) -> list[RescoreMetric]:
    """The metrics of these names; all if there are none.

    Raises:
        UserError: one is unknown; names the nearest.
    """
    for name in names:
        if name not in RESCORE_METRICS:
            raise UserError(f"unknown metric '{name}'.{nearest(name, RESCORE_METRICS)}")
    return [RESCORE_METRICS[name] for name in names or RESCORE_METRICS]
