"""How a trial is judged: by executing its runs, on validation pictures."""

import statistics
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from harness.errors import UserError, first_line
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.machine.units import MIB
from harness.report.statistics import harmonic_mean
from harness.results.files import Json
from harness.results.folder import RunFolder
from harness.results.record import read_result
from harness.schedule import run_all
from harness.tune.sweep import Sweep, is_better_higher

HOLDER, FAILURE, METRICS, RUNS = "holder", "failure", "metrics", "runs"


class StoppedError(Exception):
    """The sweep was stopped; the trial is to be retried by the next start."""


class TrialFailedError(Exception):
    """A trial whose runs failed; told by its first reason."""


def metrics_of(results: list[Json]) -> dict[str, float]:
    """What a trial is judged by: accuracies in percent and costs, means over its runs; H of the mean accuracies.

    peak_memory is the highest peak over all phases, train_memory over caching and training, MiB: of live tensor bytes
    on the CPU, of the allocator on a GPU.
    """
    accuracies: dict[str, list[float]] = {}
    for result in results:
        for item in result["evaluations"]:
            accuracies.setdefault(item["name"], []).append(item["accuracy"])
    means = {name: statistics.fmean(values) for name, values in accuracies.items()}

    def mean(cost: Callable[[Json], float]) -> float:
        return statistics.fmean(cost(result["costs"]) for result in results)

    metrics = {f"accuracy.{name}": value for name, value in means.items()}
    metrics["accuracy"] = statistics.fmean(means.values())
    if {"base", "new"} <= means.keys():
        metrics["H"] = main_of(means)
    metrics["peak_memory"] = mean(lambda costs: peak_mib(costs, tuple(costs["phases"])))
    metrics["train_memory"] = mean(lambda costs: peak_mib(costs, ("cache", "train")))
    metrics["train_seconds"] = mean(seconds_of)
    metrics["train_flops"] = mean(flops_of)
    main = "H" if "H" in metrics else "accuracy"
    of_runs = [main_of({item["name"]: item["accuracy"] for item in result["evaluations"]}) for result in results]
    if len(of_runs) > 1:
        metrics[f"{main}.std"] = statistics.stdev(of_runs)
    return metrics


def main_of(accuracies: dict[str, float]) -> float:
    """H of base and new, or the mean where these are not what a run is evaluated on."""
    if {"base", "new"} <= accuracies.keys():
        return float(harmonic_mean(accuracies["base"], accuracies["new"]))
    return sum(accuracies.values()) / len(accuracies)


def seconds_of(costs: Json) -> float:
    """Seconds of a whole training, with filling the cache."""
    return float(sum(phase["seconds"] for name, phase in costs["phases"].items() if name in ("cache", "train")))


def flops_of(costs: Json) -> float:
    """Floating point operations of a whole training, with filling the cache."""
    return sum(
        (costs[f"{phase}_flops_per_image"] or 0) * costs["phases"][phase]["images"]
        for phase in ("cache", "train")
        if phase in costs["phases"]
    )


def peak_mib(costs: Json, names: tuple[str, ...]) -> float:
    """Highest peak of memory over some phases of a run, MiB."""
    phases = [costs["phases"][name] for name in names if name in costs["phases"]]
    keys = ("peak_tensor_bytes", "peak_allocated_bytes")
    return float(max((phase.get(key) or 0 for phase in phases for key in keys), default=0)) / MIB


class Objective:
    """Judges a trial by executing its runs.

    Args:
        sweep: the search.
        results: the results folder.
        schedule: where this worker's runs are executed.
        stop: set to make it stop.
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
            trial.set_user_attr(FAILURE, first_line(error))
            raise TrialFailedError(first_line(error)) from error

    def _judge(self, trial: optuna.Trial) -> tuple[float, ...] | float:
        specs = self.sweep.specs(self.sweep.suggest(trial))
        trial.set_user_attr(RUNS, [spec.id for spec in specs])
        pruning = Pruning(trial, self.sweep, specs) if self.sweep.pruner != "none" else None
        # One after the other, so that the epochs of all trials are compared in the same order.

        def on_news(spec: RunSpec, news: dict[str, Any]) -> None:
            if self.stop.is_set():
                raise StoppedError
            if pruning:
                pruning.on_news(spec, news)

        for group in [[spec] for spec in specs] if pruning else [specs]:
            failed = run_all(group, self.results, self.schedule, on_news)
            if failed:
                raise TrialFailedError(failed[0].failure.reason)
        metrics = metrics_of([read_result(RunFolder(self.results, spec.id).result_file) for spec in specs])
        trial.set_user_attr(METRICS, metrics)
        missing = [name for name in (*self.sweep.objectives, *self.sweep.limits) if name not in metrics]
        if missing:
            raise UserError(f"protocol '{self.sweep.protocol}' has no metric '{missing[0]}', only {', '.join(metrics)}")
        for name, limit in self.sweep.limits.items():
            # Optuna takes what is above 0 for a violation.
            sign = -1.0 if is_better_higher(name) else 1.0
            trial.set_constraint(name, sign * (metrics[name] - limit))
        values = tuple(metrics[name] for name in self.sweep.objectives)
        return values if len(values) > 1 else values[0]


class Pruning:
    """Stops a trial whose accuracy after an epoch is behind that of others.

    Args:
        trial: the trial.
        sweep: the search.
        specs: the trial's runs, in the order in which they are executed.
    """

    def __init__(self, trial: optuna.Trial, sweep: Sweep, specs: list[RunSpec]) -> None:
        self.trial = trial
        self.metric = sweep.objectives[0]
        self.offsets = {spec.id: index * (spec.train.epochs + 1) for index, spec in enumerate(specs)}

    def on_news(self, spec: RunSpec, news: dict[str, Any]) -> None:
        """Take news of a run; raises optuna.TrialPruned to stop it."""
        accuracies = {
            key.removeprefix("accuracy."): value
            for key, value in news.get("record", {}).items()
            if key.startswith("accuracy.")
        }
        if not accuracies:
            return
        self.trial.report(self._value(accuracies), self.offsets[spec.id] + news["epoch"])
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def _value(self, accuracies: dict[str, float]) -> float:
        if self.metric == "H":
            return main_of(accuracies)
        if self.metric == "accuracy":
            return statistics.fmean(accuracies.values())
        return accuracies[self.metric.removeprefix("accuracy.")]
