"""Tables of finished runs: mean and standard deviation over seeds, one row per method."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from harness.report.statistics import with_spread
from harness.results.metrics import (
    ACCURACY,
    EvaluationMetric,
    Metric,
    RunMetric,
    SummaryMetric,
    evaluation_metrics,
    run_metrics,
    summary_metrics,
)

KEYS = ["dataset", "shots", "method", "precision"]
PERCENT_DIGITS = 1


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: with its unit.
        values: results of the seeds of a row -> one value per seed, NaN where there is none.
        digits: after the decimal point.
        mean: the row's value, if it is not the mean over seeds.
    """

    title: str
    values: Callable[[pd.DataFrame], pd.Series]
    digits: int = PERCENT_DIGITS
    mean: Callable[[pd.DataFrame], float] | None = None


def numbers_of(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column of some runs as numbers; NaN where there is none."""
    return pd.to_numeric(runs[name]) if name in runs else pd.Series(float("nan"), index=runs.index)


def shown_values(metric: Metric, runs: pd.DataFrame) -> pd.Series:
    """A metric of some runs in the unit of its title; NaN where it was not measured."""
    return numbers_of(runs, metric.name) * metric.scale


def cost_metrics() -> list[RunMetric]:
    """The metrics of whole runs that tables show."""
    return [metric for metric in run_metrics() if metric.in_tables]


def cost_columns() -> list[Column]:
    """A column for every metric of whole runs that tables show."""

    def column(metric: RunMetric) -> Column:
        return Column(metric.title, lambda runs: shown_values(metric, runs), metric.digits)

    return [column(metric) for metric in cost_metrics()]


def evaluations_in(runs: pd.DataFrame, metric: str = ACCURACY) -> list[str]:
    """Names of the evaluations for which some runs have a metric, in their order of appearance."""
    prefix = f"{metric}."
    known = runs.columns[runs.notna().any()]
    return [str(name).removeprefix(prefix) for name in known if str(name).startswith(prefix)]


def evaluation_columns(metric: EvaluationMetric, runs: pd.DataFrame) -> list[Column]:
    """A column for every evaluation; accuracies are named by their evaluation alone."""

    def column(name: str) -> Column:
        title = name if metric.name == ACCURACY else f"{metric.title} {name}"
        return Column(title, lambda group: numbers_of(group, f"{metric.name}.{name}"))

    return [column(name) for name in evaluations_in(runs, metric.name)]


def other_score_columns(runs: pd.DataFrame) -> list[Column]:
    """A column for every evaluation and every metric of evaluations that tables show, except accuracy."""
    others = [metric for metric in evaluation_metrics() if metric.in_tables and metric.name != ACCURACY]
    return [column for metric in others for column in evaluation_columns(metric, runs)]


def summary_column(metric: SummaryMetric) -> Column:
    """A metric that sums up accuracies: over seeds it is taken of the mean accuracies."""

    def of_means(group: pd.DataFrame) -> float:
        means = {name: float(numbers_of(group, f"{ACCURACY}.{name}").mean()) for name in evaluations_in(group)}
        value = metric.of_accuracies(str(group["dataset"].iloc[0]), means)
        return float("nan") if value is None else value

    return Column(metric.title, lambda group: numbers_of(group, metric.name), mean=of_means)


def score_columns(runs: pd.DataFrame) -> list[Column]:
    """A column for every evaluation and every metric that sums them up."""
    columns = [
        column for metric in evaluation_metrics() if metric.in_tables for column in evaluation_columns(metric, runs)
    ]
    defined = [metric for metric in summary_metrics() if metric.in_tables and numbers_of(runs, metric.name).any()]
    return columns + [summary_column(metric) for metric in defined]


def format_cell(column: Column, runs: pd.DataFrame) -> str:
    """Mean ± sample standard deviation over seeds; the bare value of a single seed; a dash for nothing measured."""
    values = column.values(runs).dropna()
    if values.empty:
        return "-"
    return with_spread(column.mean(runs) if column.mean else values.mean(), values, column.digits)


def method_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The table that `bench` ends with.

    Args:
        runs: finished runs of one protocol, as `results_frame` gives them.

    Returns:
        Text cells, one row for every data set, number of shots, method and precision, in their order of appearance;
        columns of data set and shots only if these differ.
    """
    columns = [*score_columns(runs), *cost_columns()]
    rows = []
    for keys, group in runs.groupby(KEYS, sort=False):
        cells = {column.title: format_cell(column, group) for column in columns}
        named = dict(zip(KEYS, keys, strict=True))
        rows.append({**{key: str(value) for key, value in named.items()}, "seeds": str(len(group)), **cells})
    table = pd.DataFrame(rows)
    return table.drop(columns=[key for key in ("dataset", "shots") if table[key].nunique() == 1])


def caption(runs: pd.DataFrame) -> str:
    """What the rows of a table have in common."""
    parts = [sorted(set(runs[key])) for key in ("protocol", "dataset", "shots")]
    protocol, dataset, shots = (str(values[0]) if len(values) == 1 else "" for values in parts)
    return ", ".join(part for part in (protocol, dataset, f"{shots} shots" if shots else "") if part)


def footnote(runs: pd.DataFrame) -> str:
    """What a reader must know to compare the table with another."""
    return (
        "Accuracy in percent, mean ± sample std over seeds; H of the means. "
        f"Backbone {listed(runs, 'backbone')}, recipe {listed(runs, 'recipe')}, device {listed(runs, 'device')}. "
        f"{tuned_note(runs)}{memory_note(runs)}"
    )


def tuned_note(runs: pd.DataFrame) -> str:
    """How tuned recipes were found; empty if all are fixed."""
    found = sorted({str(tuned) for tuned in runs["tuned"] if tuned}) if "tuned" in runs else []
    return f"Tuned: {'; '.join(found)}. " if found else ""


def listed(runs: pd.DataFrame, column: str) -> str:
    """Different known values of a column, separated by commas."""
    return ", ".join(sorted({str(value) for value in runs[column].dropna()}))


def memory_note(runs: pd.DataFrame) -> str:
    """What the columns of memory and of training time hold."""
    on_cpu = set(runs["device"].dropna()) == {"cpu"}
    memory = "exact peak of live tensor bytes" if on_cpu else "allocator peak"
    shared = "alone" in runs and (runs["alone"] == False).any()  # noqa: E712  NaN: not known
    note = " Some runs shared their device: their seconds are not measured alone." if shared else ""
    return f"MiB: {memory}, in training and in the whole run; train s is without cache s.{note}"
