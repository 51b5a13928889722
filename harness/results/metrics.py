"""Every metric, once: its name, title, unit, direction, name at W&B, and how it is taken from a result.

Tables, figures, the report page, comparisons, W&B summaries, sweeps and the export read this list. A new metric is one
more entry in `METRICS` and appears in all of them.
"""

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UserError, nearest
from harness.machine.costs import ADAPT, CACHE, FIT, PHASES, SELECT, TRAIN
from harness.machine.units import MIB
from harness.results.record import Evaluation, Result

ACCURACY, ECE, TARGET_ACCURACY = "accuracy", "ece", "target_accuracy"
PERCENT = "%"
CALIBRATION_BINS = 15
"""Equal bins of confidence, (0, 1/15], (1/15, 2/15], ..., of the expected calibration error (Guo et al., ICML 2017)."""


@dataclass(frozen=True)
class Metric:
    """What all metrics have.

    Attributes:
        name: of frames, sweeps and files.
        title: of columns, with its unit where that is not percent.
        unit: of its values.
        about: one line for `--help` and `keys`.
        digits: after the decimal point.
        higher_is_better: its direction.
        wandb: its key in W&B summaries.
        in_tables: whether tables, comparisons and the report show it; sweeps, W&B and the export have every metric.
        scale: factor from its values to the unit of its title.
    """

    name: str
    title: str
    unit: str
    about: str
    digits: int
    higher_is_better: bool
    wandb: str
    in_tables: bool = True
    scale: float = 1.0

    def shown(self, value: float) -> str:
        """A value as tables show it, in the unit of the title."""
        return f"{value * self.scale:.{self.digits}f}"


@dataclass(frozen=True)
class EvaluationMetric(Metric):
    """A metric of single evaluations: `<name>.<evaluation>` in frames and sweeps, `<name>` is their mean.

    Attributes:
        value: of an evaluation; None if it was not measured.
    """

    value: Callable[[Evaluation], float | None] = lambda evaluation: None


@dataclass(frozen=True)
class SummaryMetric(Metric):
    """A metric that sums up the accuracies of a run's evaluations.

    Of several seeds it is taken of the mean accuracies, as this field reports it.

    Attributes:
        of_accuracies: (training data set, evaluation -> accuracy in percent) -> value; None if it is not defined.
    """

    of_accuracies: Callable[[str, Mapping[str, float]], float | None] = lambda source, accuracies: None


@dataclass(frozen=True)
class RunMetric(Metric):
    """A metric of the whole run, such as a cost.

    Attributes:
        value: of a result; None if the run has no such phase or it was not measured.
        phases: whose seconds it sums, those that another run spent on shared features included; empty: it is no time.
        shown_with: tables show it only beside a run that has one of these phases; empty: always.
        axis: title of an axis of accuracy against this metric; None draws no such figure.
        figure: what the title and the file of that figure call the metric; None: its title and its name.
    """

    value: Callable[[Result], float | None] = lambda result: None
    phases: tuple[str, ...] = ()
    shown_with: tuple[str, ...] = ()
    axis: str | None = None
    figure: str | None = None


def harmonic_mean(base: float, new: float) -> float:
    """Harmonic mean of base and new accuracy."""
    return 2 * base * new / (base + new) if base + new else 0.0


def base_new_harmonic_mean(source: str, accuracies: Mapping[str, float]) -> float | None:
    """Harmonic mean of base and new accuracy; None for a run without these evaluations."""
    if not {"base", "new"} <= accuracies.keys():
        return None
    return harmonic_mean(accuracies["base"], accuracies["new"])


def target_accuracy(source: str, accuracies: Mapping[str, float]) -> float | None:
    """Mean accuracy over the data sets other than the training one; None unless the run evaluates several data sets."""
    targets = [value for name, value in accuracies.items() if name != source]
    return statistics.fmean(targets) if source in accuracies and targets else None


def seconds_of(*phases: str, least: float | None = None) -> Callable[[Result], float | None]:
    """Seconds of some phases; None if they are those of several runs that trained as one.

    Args:
        phases: summed.
        least: where none of them took place.
    """

    def value(result: Result) -> float | None:
        of_several = TRAIN in phases and result.costs.together
        return None if of_several else result.costs.seconds(*phases) or least

    return value


def peak_mib_of(*phases: str) -> Callable[[Result], float | None]:
    """Peak memory of some phases in MiB; None if it was not measured."""

    def value(result: Result) -> float | None:
        peak = result.costs.peak_bytes(*phases)
        return None if peak is None else peak / MIB

    return value


def throughput_of(phase: str) -> Callable[[Result], float | None]:
    """Images per second of a phase; None if it did not take place, or was one of several runs that trained as one."""

    def value(result: Result) -> float | None:
        if phase not in result.costs.phases or (phase == TRAIN and result.costs.together):
            return None
        return result.costs.phases[phase].images_per_second

    return value


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        EvaluationMetric(
            ACCURACY, "accuracy", PERCENT, "top-1 accuracy of an evaluation", 2, True, "accuracy",
            value=lambda evaluation: evaluation.accuracy,
        ),
        EvaluationMetric(
            ECE, "ECE", PERCENT, "expected calibration error of an evaluation", 2, False, ECE, in_tables=False,
            value=lambda evaluation: evaluation.ece,
        ),
        SummaryMetric(
            "H", "H", PERCENT, "harmonic mean of the mean base and new accuracy", 2, True, "accuracy/H",
            of_accuracies=base_new_harmonic_mean,
        ),
        SummaryMetric(
            TARGET_ACCURACY, "average of targets", PERCENT, "mean accuracy over the target data sets", 2, True,
            "accuracy/targets", of_accuracies=target_accuracy,
        ),
        RunMetric(
            "steps_seconds", "train s", "s", "time of the training steps, without the caching pass", 1, False,
            "metrics/steps_seconds", value=seconds_of(TRAIN), phases=(TRAIN,),
        ),
        RunMetric(
            "cache_seconds", "cache s", "s", "time of the caching pass", 1, False, "metrics/cache_seconds",
            value=seconds_of(CACHE), phases=(CACHE,),
        ),
        RunMetric(
            "fit_seconds", "fit s", "s", "time of the closed form or cache that follows from the training images", 1,
            False, "metrics/fit_seconds", value=seconds_of(FIT), phases=(FIT,), shown_with=(FIT,),
        ),
        RunMetric(
            "select_seconds", "select s", "s", "time of choosing on validation images", 1, False,
            "metrics/select_seconds", value=seconds_of(SELECT), phases=(SELECT,), shown_with=(SELECT,),
        ),
        RunMetric(
            "train_seconds", "adapt s", "s", "time to adapt: caching, fitting, training and selecting", 1, False,
            "metrics/train_seconds", value=seconds_of(*ADAPT, least=0.0), phases=ADAPT,
            shown_with=(FIT, SELECT), axis="time to adapt (s)", figure="time",
        ),
        RunMetric(
            "steps_throughput", "train img/s", "images/s", "images per second of the training steps", 0, True,
            "metrics/steps_throughput", value=throughput_of(TRAIN),
        ),
        RunMetric(
            "steps_memory", "train MiB", "MiB", "peak memory of the training steps, without the caching pass", 1, False,
            "metrics/steps_memory", value=peak_mib_of(TRAIN),
        ),
        RunMetric(
            "peak_memory", "run MiB", "MiB", "peak memory of the whole run", 1, False, "metrics/peak_memory",
            value=peak_mib_of(*PHASES),
        ),
        RunMetric(
            "train_memory", "adapt MiB", "MiB", "peak memory while adapting: caching, fitting, training and selecting",
            1, False, "metrics/train_memory", in_tables=False, value=peak_mib_of(*ADAPT),
            axis="peak memory while adapting (MiB)", figure="memory",
        ),
        RunMetric(
            "train_flops", "train+cache GFLOP", "FLOP", "operations (FLOP) of training with its caching pass", 1,
            False, "metrics/train_flops", in_tables=False, scale=1e-9,
            value=lambda result: result.costs.training_flops(),
        ),
    )
}  # fmt: skip


def evaluation_metrics() -> tuple[EvaluationMetric, ...]:
    """The metrics of single evaluations."""
    return tuple(metric for metric in METRICS.values() if isinstance(metric, EvaluationMetric))


def summary_metrics() -> tuple[SummaryMetric, ...]:
    """The metrics that sum up accuracies."""
    return tuple(metric for metric in METRICS.values() if isinstance(metric, SummaryMetric))


def run_metrics() -> tuple[RunMetric, ...]:
    """The metrics of whole runs."""
    return tuple(metric for metric in METRICS.values() if isinstance(metric, RunMetric))


def find_metric(name: str) -> Metric:
    """The metric of that name; `accuracy.base` is the metric accuracy of the evaluation base.

    Raises:
        UserError: there is none; names the nearest.
    """
    known = METRICS.get(name)
    if known is None and "." in name:
        known = METRICS.get(name.partition(".")[0])
        known = known if isinstance(known, EvaluationMetric) else None
    if known is None:
        names = [*METRICS, *(f"{metric.name}.NAME" for metric in evaluation_metrics())]
        raise UserError(f"unknown metric '{name}'.{nearest(name, names)}")
    return known


def is_refused(name: str, refused: Collection[str]) -> bool:
    """Whether a run has no such metric, since its method cannot take part in some evaluations.

    Args:
        name: of a metric, such as H or accuracy.new.
        refused: names of these evaluations.
    """
    if not refused or isinstance(find_metric(name), RunMetric):
        return False
    evaluation = name.partition(".")[2]
    return not evaluation or evaluation in refused


def evaluation_values(result: Result) -> dict[str, float]:
    """`<metric>.<evaluation>` -> value, of all metrics of single evaluations that were measured."""
    found: dict[str, float] = {}
    for metric in evaluation_metrics():
        for item in result.evaluations:
            value = metric.value(item)
            if value is not None:
                found[f"{metric.name}.{item.name}"] = value
    return found


def means_over_evaluations(values: Mapping[str, float]) -> dict[str, float]:
    """`<metric>` -> mean over evaluations, from values by `<metric>.<evaluation>`."""
    groups: dict[str, list[float]] = {}
    for name, value in values.items():
        groups.setdefault(name.partition(".")[0], []).append(value)
    return {name: statistics.fmean(several) for name, several in groups.items()}


def accuracies_in(values: Mapping[str, float]) -> dict[str, float]:
    """Evaluation -> accuracy in percent, from values by `<metric>.<evaluation>`."""
    prefix = f"{ACCURACY}."
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def summary_values(source: str, accuracies: Mapping[str, float]) -> dict[str, float]:
    """Metric -> value, of all defined metrics that sum up accuracies.

    Args:
        source: the training data set.
        accuracies: evaluation -> accuracy in percent.
    """
    found = {metric.name: metric.of_accuracies(source, accuracies) for metric in summary_metrics()}
    return {name: value for name, value in found.items() if value is not None}


def run_values(result: Result) -> dict[str, float]:
    """Metric -> value, of all metrics of the whole run that were measured."""
    found = {metric.name: metric.value(result) for metric in run_metrics()}
    return {name: value for name, value in found.items() if value is not None}


def metric_values(result: Result) -> dict[str, float]:
    """All metrics of a result by name; none that sums up evaluations if one of them was refused."""
    return values_together([result], evaluation_values(result), run_values(result))


def mean_values(results: Sequence[Result]) -> dict[str, float]:
    """All metrics over several runs of one protocol, such as the seeds of a trial; at least one run.

    Metrics of evaluations and of runs are means over the runs that have them; metrics that sum up accuracies are taken
    of the mean accuracies, and do not exist where the method refused an evaluation.
    """
    evaluations = mean_by_name(evaluation_values(result) for result in results)
    runs = mean_by_name(run_values(result) for result in results)
    return values_together(results, evaluations, runs)


def values_together(
    results: Sequence[Result], evaluations: Mapping[str, float], runs: Mapping[str, float]
) -> dict[str, float]:
    """`all_values` of some results; only those given if an evaluation was refused, since nothing sums up the others."""
    if any(result.refusals for result in results):
        return {**evaluations, **runs}
    return all_values(results[0].spec.data.dataset, evaluations, runs)


def all_values(source: str, evaluations: Mapping[str, float], runs: Mapping[str, float]) -> dict[str, float]:
    """All metrics by name, from those of single evaluations and those of whole runs.

    Args:
        source: the training data set.
        evaluations: `<metric>.<evaluation>` -> value.
        runs: metric -> value.
    """
    summaries = summary_values(source, accuracies_in(evaluations))
    return {**evaluations, **means_over_evaluations(evaluations), **summaries, **runs}


def mean_by_name(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of the values that share a name."""
    groups: dict[str, list[float]] = {}
    for values in several:
        for name, value in values.items():
            groups.setdefault(name, []).append(value)
    return {name: statistics.fmean(group) for name, group in groups.items()}
