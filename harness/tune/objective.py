"""The objective of a sweep: a trial is judged by executing its runs, on validation images."""

import statistics
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from harness.errors import UserError, first_line
from harness.estimate.estimator import Estimator
from harness.experiment.protocols import find_protocol
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.masking import masked
from harness.results.epochs import EpochRecord
from harness.results.folder import RunFolder
from harness.results.metrics import (
    ACCURACY,
    find_metric,
    is_refused,
    mean_values,
    means_over_evaluations,
    metric_values,
    summary_values,
)
from harness.results.record import Result
from harness.schedule import run_all
from harness.training.events import Event, TrainingProgress
from harness.tune.sweep import Sweep

HOLDER, FAILURE, METRICS, RUNS, SECONDS = "holder", "failure", "metrics", "runs", "seconds"


class StoppedError(Exception):
    """The sweep was stopped; its next start retries the trial."""


class TrialFailedError(Exception):
    """A trial whose runs failed; its message is the reason of the first failure."""


def metrics_of(results: Sequence[Result]) -> dict[str, float]:
    """The metrics of a trial over its runs, and the standard deviation of the headline metric.

    Args:
        results: of the trial's runs, at least one, all of one protocol.

    Returns:
        Metric -> value as `mean_values` gives it; `<headline>.std` is the sample standard deviation over several runs.
    """
    values = mean_values(results)
    headline = headline_of(results[0].spec.protocol, values)
    of_runs = [metric_values(result)[headline] for result in results]
    return {**values, f"{headline}.std": statistics.stdev(of_runs)} if len(of_runs) > 1 else values


def headline_of(protocol: str, values: Mapping[str, float]) -> str:
    """The headline metric of a protocol; accuracy if it is not defined for the evaluations of the runs.

    If the method cannot take part in some of them, it is the accuracy of the first that it takes part in.
    """
    known = (name for name in (find_protocol(protocol).headline, ACCURACY) if name in values)
    return next(known, None) or next(name for name in values if name.startswith(f"{ACCURACY}."))


def check_objectives(sweep: Sweep, spec: RunSpec) -> None:
    """Find out before the first trial whether its runs will have what it is judged by.

    Args:
        sweep: the search.
        spec: a run of a trial that chooses nothing.

    Raises:
        UserError: the method cannot take part in an evaluation that an objective or a limit needs.
    """
    refusals = {item.evaluation: item.reason for item in Estimator().refusals(spec)}
    for name in (*sweep.objectives, *sweep.limits):
        if is_refused(name, refusals):
            evaluation, reason = next(iter(refusals.items()))
            first = next(item.name for item in spec.evaluate if item.name not in refusals)
            raise UserError(
                f"{sweep.method} has no {name} under {sweep.protocol}, since it cannot be evaluated on '{evaluation}' "
                f"({reason}): judge it by accuracy.{first}"
            )


class Objective:
    """Judges a trial by executing its runs.

    Args:
        sweep: the search.
        results: the results folder.
        schedule: where this worker's runs are executed.
        stop: set to stop it.
    """

    def __init__(self, sweep: Sweep, results: Path, schedule: ScheduleSpec, stop: threading.Event) -> None:
        self.sweep = sweep
        self.results = results
        self.schedule = schedule
        self.stop = stop

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...] | float:
        """The values of the objectives."""
        try:
            return self._judge(trial)
        except (UserError, TrialFailedError) as error:
            reason = masked(first_line(error))
            trial.set_user_attr(FAILURE, reason)
            raise TrialFailedError(reason) from error

    def _judge(self, trial: optuna.Trial) -> tuple[float, ...] | float:
        specs = [of_trial(spec, trial.number) for spec in self.sweep.specs(self.sweep.suggest(trial))]
        trial.set_user_attr(RUNS, [spec.id for spec in specs])
        pruning = Pruning(trial, self.sweep, specs) if self.sweep.pruner != "none" else None

        def on_event(spec: RunSpec, event: Event) -> None:
            if self.stop.is_set():
                raise StoppedError
            if pruning and isinstance(event, TrainingProgress) and event.record:
                pruning.on_epoch(spec, event.record)

        # With pruning the runs are executed one by one, so that all trials report their epochs in the same order.
        for group in [[spec] for spec in specs] if pruning else [specs]:
            failed = run_all(group, self.results, self.schedule, on_event)
            if failed:
                raise TrialFailedError(failed[0].failure.reason)
        found = [RunFolder(self.results, spec.id).read_result() for spec in specs]
        trial.set_user_attr(SECONDS, sum(result.costs.seconds(*result.costs.phases) for result in found))
        metrics = metrics_of(found)
        trial.set_user_attr(METRICS, metrics)
        missing = [name for name in (*self.sweep.objectives, *self.sweep.limits) if name not in metrics]
        if missing:
            raise UserError(f"protocol '{self.sweep.protocol}' has no metric '{missing[0]}', only {', '.join(metrics)}")
        for name, limit in self.sweep.limits.items():
            trial.set_constraint(name, violation(name, metrics[name], limit))
        values = tuple(metrics[name] for name in self.sweep.objectives)
        return values if len(values) > 1 else values[0]


def of_trial(spec: RunSpec, number: int) -> RunSpec:
    """A run whose tracking says of which trial it is; its id is the same, and so is the run of another trial."""
    return spec.model_copy(update={"tracking": spec.tracking.model_copy(update={"trial": number})})


def seconds_of(trials: Iterable[FrozenTrial]) -> float:
    """Measured seconds of all phases of the runs of some trials, as if each run were alone; pruned ones have none."""
    return sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in trials)


def violation(metric: str, value: float, limit: float) -> float:
    """By how much a metric breaks its limit; optuna takes what is above 0 for a violation, so the limit is allowed."""
    return limit - value if find_metric(metric).higher_is_better else value - limit


class Pruning:
    """Stops a trial whose accuracy after an epoch is lower than that of other trials.

    Args:
        trial: the trial.
        sweep: the search.
        specs: the trial's runs, in the order in which they are executed.
    """

    def __init__(self, trial: optuna.Trial, sweep: Sweep, specs: list[RunSpec]) -> None:
        self.trial = trial
        self.metric = sweep.objectives[0]
        self.offsets = {spec.id: index * (spec.most_epochs + 1) for index, spec in enumerate(specs)}

    def on_epoch(self, spec: RunSpec, record: EpochRecord) -> None:
        """Report an epoch of a run; raises optuna.TrialPruned to stop the trial."""
        if not record.accuracies:
            return
        values = {f"{ACCURACY}.{name}": accuracy for name, accuracy in record.accuracies.items()}
        values |= {**means_over_evaluations(values), **summary_values(spec.data.dataset, record.accuracies)}
        if self.metric not in values:  # the method cannot take part in an evaluation: the trial will fail
            return
        self.trial.report(values[self.metric], self.offsets[spec.id] + record.epoch + 1)
        if self.trial.should_prune():
            raise optuna.TrialPruned
