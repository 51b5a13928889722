"""Tables of finished runs: mean and standard deviation over seeds, one row per method."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.machine.costs import ADAPT, COMPILE
from harness.report.marks import BELOW_MARK, REFUSED_MARK, SHARED_MARK, mark_in, marked, refused_in, shared_seconds
from harness.report.run_notes import run_notes
from harness.report.statistics import with_spread
from harness.report.zero_shot import BELOW_NOTE, is_below, reference_of
from harness.results.metrics import (
    ACCURACY,
    PERCENT,
    EvaluationMetric,
    Metric,
    RunMetric,
    SummaryMetric,
    evaluation_metrics,
    run_metrics,
    summary_metrics,
)
from harness.text import counted

KEYS = ["dataset", "tail", "shots", "method", "precision"]
SHORT_PERCENT_DIGITS = 1


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: with its unit.
        values: results of the seeds of a row -> one value per seed, NaN where there is none.
        digits: after the decimal point.
        mean: the row's value, if it is not the mean over seeds.
        refused: whether the method cannot take part in what the column shows.
        is_accuracy: whether zero-shot CLIP's value is one to reach.
        phases: whose seconds it sums.
    """

    title: str
    values: Callable[[pd.DataFrame], pd.Series]
    digits: int
    mean: Callable[[pd.DataFrame], float] | None = None
    refused: Callable[[pd.DataFrame], bool] = lambda runs: False
    is_accuracy: bool = False
    phases: tuple[str, ...] = ()

    def value(self, runs: pd.DataFrame) -> float:
        """The row's value; NaN if there is none."""
        values = self.values(runs).dropna()
        return self.mean(runs) if self.mean and not values.empty else float(values.mean())

    def is_below(self, runs: pd.DataFrame, reference: pd.DataFrame | None) -> bool:
        """Whether the value of some runs is an accuracy below that of zero-shot CLIP's runs."""
        return self.is_accuracy and reference is not None and is_below(self.value(runs), self.value(reference))

    def mark(self, runs: pd.DataFrame) -> str:
        """The mark of seconds of which another run spent a part; empty for all others."""
        return SHARED_MARK if self.phases and (shared_seconds(runs, self.phases) > 0).any() else ""


def numbers_of(runs: pd.DataFrame, name: str) -> pd.Series:
    """A column of some runs as numbers; NaN where there is none."""
    return pd.to_numeric(runs[name]) if name in runs else pd.Series(float("nan"), index=runs.index)


def shown_values(metric: Metric, runs: pd.DataFrame) -> pd.Series:
    """A metric of some runs in the unit of its title; NaN where it was not measured."""
    return numbers_of(runs, metric.name) * metric.scale


def cost_metrics(runs: pd.DataFrame) -> list[RunMetric]:
    """The metrics of whole runs that a table of these runs shows."""

    def has(phase: str) -> bool:
        return bool((numbers_of(runs, f"{phase}.seconds") > 0).any())

    shown = [metric for metric in run_metrics() if metric.in_tables]
    return [metric for metric in shown if not metric.shown_with or any(map(has, metric.shown_with))]


def cost_columns(runs: pd.DataFrame) -> list[Column]:
    """A column for every metric of whole runs that a table of these runs shows."""

    def column(metric: RunMetric) -> Column:
        return Column(metric.title, lambda runs: shown_values(metric, runs), metric.digits, phases=metric.phases)

    return [column(metric) for metric in cost_metrics(runs)]


def evaluations_in(runs: pd.DataFrame, metric: str = ACCURACY) -> list[str]:
    """Names of the evaluations for which some runs have a metric, in their order of appearance; then refused ones."""
    prefix = f"{metric}."
    known = runs.columns[runs.notna().any()]
    names = [str(name).removeprefix(prefix) for name in known if str(name).startswith(prefix)]
    return list(dict.fromkeys([*names, *refused_in(runs)]))


def evaluation_columns(metric: EvaluationMetric, runs: pd.DataFrame, short: bool) -> list[Column]:
    """A column for every evaluation; accuracies are named by their evaluation alone."""

    def column(name: str) -> Column:
        title = name if metric.name == ACCURACY else f"{metric.title} {name}"
        values = f"{metric.name}.{name}"
        return Column(
            title,
            lambda group: numbers_of(group, values) * metric.scale,
            digits_of(metric, short),
            refused=lambda group: name in refused_in(group),
            is_accuracy=metric.name == ACCURACY,
        )

    return [column(name) for name in evaluations_in(runs, metric.name)]


def other_score_columns(runs: pd.DataFrame) -> list[Column]:
    """A column for every evaluation and every metric of evaluations that tables show, except accuracy."""
    others = [metric for metric in evaluation_metrics() if metric.in_tables and metric.name != ACCURACY]
    return [column for metric in others for column in evaluation_columns(metric, runs, short=False)]


def digits_of(metric: Metric, short: bool) -> int:
    """Digits of a score after the decimal point; of percentages fewer in a short form."""
    return SHORT_PERCENT_DIGITS if short and metric.unit == PERCENT else metric.digits


def summary_column(metric: SummaryMetric, evaluations: Sequence[str], short: bool) -> Column:
    """A metric that sums up accuracies: over seeds it is taken of the mean accuracies.

    Args:
        metric: which.
        evaluations: of all runs of the table; a run that lacks one that the metric needs has no value, as means over
            different evaluations cannot be compared.
        short: as in `score_columns`.
    """

    def value(dataset: str, accuracies: Iterable[float]) -> float:
        found = metric.of_accuracies(dataset, dict(zip(evaluations, accuracies, strict=True)))
        return float("nan") if found is None else found * metric.scale

    def accuracies_of(group: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({name: numbers_of(group, f"{ACCURACY}.{name}") for name in evaluations}, dtype=float)

    def of_runs(group: pd.DataFrame) -> pd.Series:
        rows = accuracies_of(group).itertuples(index=False, name=None)
        found = [value(str(dataset), row) for dataset, row in zip(group["dataset"], rows, strict=True)]
        return pd.Series(found, index=group.index, dtype=float)

    def of_means(group: pd.DataFrame) -> float:
        return value(str(group["dataset"].iloc[0]), accuracies_of(group).mean())

    def refused(group: pd.DataFrame) -> bool:
        would_be = metric.of_accuracies(str(group["dataset"].iloc[0]), dict.fromkeys(evaluations, 1.0))
        return bool(refused_in(group)) and would_be is not None

    return Column(metric.title, of_runs, digits_of(metric, short), of_means, refused, metric.higher_is_better)


def score_columns(runs: pd.DataFrame, short: bool = False) -> list[Column]:
    """A column for every evaluation and every metric that sums them up.

    Args:
        runs: finished runs.
        short: with fewer digits of percentages.
    """
    shown_evaluations = [metric for metric in evaluation_metrics() if metric.in_tables]
    columns = [column for metric in shown_evaluations for column in evaluation_columns(metric, runs, short)]
    evaluations = evaluations_in(runs)
    summaries = [summary_column(metric, evaluations, short) for metric in summary_metrics() if metric.in_tables]
    return columns + [column for column in summaries if column.values(runs).notna().any() or column.refused(runs)]


def format_cell(column: Column, runs: pd.DataFrame, reference: pd.DataFrame | None = None) -> str:
    """Mean ± sample standard deviation over seeds; the bare value of a single seed; a dash for nothing measured.

    Seconds of which another run spent a part are marked, and so are accuracies below those of `reference`, the runs of
    zero-shot CLIP; an evaluation that the method cannot take part in has words.
    """
    values = column.values(runs).dropna()
    if values.empty:
        return REFUSED_MARK if column.refused(runs) else "-"
    number = marked(with_spread(column.value(runs), values, column.digits), column.mark(runs))
    return marked(number, BELOW_MARK if column.is_below(runs, reference) else "")


def references_of(runs: pd.DataFrame) -> dict[Hashable, pd.DataFrame]:
    """Row of the table of some runs -> the runs of zero-shot CLIP in the same evaluations, where there are such."""
    groups = dict(iter(runs.groupby(KEYS, sort=False)))
    keys_of = {keys: reference_of(group, groups.items()) for keys, group in groups.items()}
    return {keys: groups[found] for keys, found in keys_of.items() if found is not None}


def method_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The table that `bench` ends with.

    Args:
        runs: finished runs of one protocol, as `results_frame` gives them.

    Returns:
        Text cells, one row for every data set, number of shots, method and precision, in their order of appearance;
        columns of data set and shots only if these differ. A method that chose on too much has a mark (`marks.py`).
    """
    columns = [*score_columns(runs, short=True), *cost_columns(runs)]
    references = references_of(runs)
    rows = []
    for keys, group in runs.groupby(KEYS, sort=False):
        cells = {column.title: format_cell(column, group, references.get(keys)) for column in columns}
        named = dict(zip(KEYS, keys, strict=True))
        named["method"] = marked(str(named["method"]), mark_in(group))
        named["shots"] = named.pop("tail") or named["shots"]
        rows.append({**{key: str(value) for key, value in named.items()}, "seeds": seeds_of(group), **cells})
    table = pd.DataFrame(rows)
    return table.drop(columns=[key for key in ("dataset", "shots") if table[key].nunique() == 1])


def seeds_of(runs: pd.DataFrame) -> str:
    """The number of seeds of a row, and of samples where these are set apart, `3 x 2`, or given, `3 (1 sample)`."""
    seeds, apart = runs["seed"].nunique(), len(runs)
    if "sample_source" in runs and "sample_hash" in runs and (runs["sample_source"].fillna("") != "").all():
        samples = runs["sample_hash"].nunique()
        if seeds == apart and 0 < samples < seeds:
            return f"{seeds} ({counted(samples, 'sample')})"
    return str(apart) if seeds == apart else f"{seeds} x {apart // seeds}" if apart % seeds == 0 else f"{apart} runs"


def caption(runs: pd.DataFrame) -> str:
    """Protocol, data set and shots, as far as all runs of a table share them."""
    parts = [sorted(set(runs[key])) for key in ("protocol", "dataset", "tail", "shots")]
    protocol, dataset, tail, shots = (str(values[0]) if len(values) == 1 else "" for values in parts)
    number = f"{tail} shots" if tail else counted(int(shots), "shot") if shots and len(parts[2]) == 1 else ""
    return ", ".join(part for part in (protocol, dataset, number) if part)


def footnote(runs: pd.DataFrame) -> str:
    """The footnote: what a reader must know to compare the table with another."""
    return (
        f"Accuracy in percent{means_note(runs)}. "
        f"Backbone {listed(runs, 'backbone')}, recipe {listed(runs, 'recipe')}, device {listed(runs, 'device')}. "
        f"{tuned_note(runs)}{' '.join([*below_note(runs), *run_notes(runs), memory_note(runs)])}"
    )


def below_note(runs: pd.DataFrame) -> list[str]:
    """The meaning of the mark of accuracies below zero-shot CLIP, if the table of some runs has any."""
    references, columns = references_of(runs), score_columns(runs)
    found = ((group, references.get(keys)) for keys, group in runs.groupby(KEYS, sort=False))
    return [BELOW_NOTE] if any(column.is_below(*pair) for pair in found for column in columns) else []


def means_note(runs: pd.DataFrame) -> str:
    """How numbers are summed up over seeds, as far as there are several, and metrics that sum up accuracies."""
    if not runs.duplicated(KEYS).any():
        return ""
    evaluations = evaluations_in(runs)
    summaries = [metric for metric in summary_metrics() if metric.in_tables]
    shown = [
        metric.title
        for metric in summaries
        if summary_column(metric, evaluations, short=True).values(runs).notna().any()
    ]
    return ", mean ± sample std over seeds" + (f"; {' and '.join(shown)} of the means" if shown else "")


def tuned_note(runs: pd.DataFrame) -> str:
    """How tuned recipes were found; empty if all recipes are fixed."""
    found = sorted({str(tuned) for tuned in runs["tuned"] if tuned}) if "tuned" in runs else []
    return f"Tuned: {'; '.join(found)}. " if found else ""


def listed(runs: pd.DataFrame, column: str) -> str:
    """Different known values of a column, separated by commas."""
    return ", ".join(sorted({str(value) for value in runs[column].dropna().unique()}))


def memory_note(runs: pd.DataFrame) -> str:
    """The meaning of the columns of memory and training time."""
    on_cpu = set(runs["device"].dropna()) == {"cpu"}
    memory = "exact peak of live tensor bytes" if on_cpu else "allocator peak"
    shared = "alone" in runs and (runs["alone"] == False).any()  # noqa: E712  NaN: not known
    note = " Some runs shared their device: their seconds are not measured alone." if shared else ""
    if "together" in runs and runs["together"].notna().any():
        note += " Some runs trained as one with others: the seconds of their training are left out."
    together = [metric.title for metric in cost_metrics(runs) if metric.phases == ADAPT]
    phases = ", ".join(phase for phase in ADAPT if phase != COMPILE or f"{COMPILE}.seconds" in runs)
    adapt = "".join(f" {title}: {phases} together." for title in together)
    return f"MiB: {memory}, in training and in the whole run; train s is without cache s.{adapt}{note}"
