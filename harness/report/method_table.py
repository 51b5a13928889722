"""Tables of finished runs: mean and standard deviation over seeds, one row a method."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from harness.machine.units import MIB
from harness.report.statistics import harmonic_mean, harmonic_means, with_spread

KEYS = ["dataset", "shots", "method", "precision"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: with its unit.
        value: results of the seeds of a row -> a value for each seed, NaN where there is none.
        digits: behind the decimal point.
        mean: the row's value, if it is not the mean over seeds.
    """

    title: str
    value: Callable[[pd.DataFrame], pd.Series]
    digits: int = 1
    mean: Callable[[pd.DataFrame], float] | None = None


def h_of_seeds(runs: pd.DataFrame) -> pd.Series:
    """H of every seed."""
    return harmonic_means(runs["accuracy.base"], runs["accuracy.new"])


def h_of_means(runs: pd.DataFrame) -> float:
    """H of the accuracies averaged over seeds, as this field reports it."""
    return harmonic_mean(runs["accuracy.base"].mean(), runs["accuracy.new"].mean())


def cost(name: str, scale: float = 1.0) -> Callable[[pd.DataFrame], pd.Series]:
    """A cost of the results, in units of `scale`; zero seconds of a phase that did not take place are no value."""

    def values(runs: pd.DataFrame) -> pd.Series:
        column = pd.to_numeric(runs[name]) if name in runs else pd.Series(float("nan"), index=runs.index)
        return (column / scale).where(column > 0)

    return values


def peak(phases: tuple[str, ...]) -> Callable[[pd.DataFrame], pd.Series]:
    """Peak memory of some phases in MiB: the allocator's on a GPU, live tensor bytes on a CPU."""

    def values(runs: pd.DataFrame) -> pd.Series:
        columns = [f"{phase}.{kind}" for phase in phases for kind in ("peak_allocated_bytes", "peak_tensor_bytes")]
        known = [pd.to_numeric(runs[column]) for column in columns if column in runs]
        return pd.concat(known, axis=1).max(axis=1) / MIB if known else pd.Series(float("nan"), index=runs.index)

    return values


COST_COLUMNS = (
    Column("train s", cost("train.seconds")),
    Column("cache s", cost("cache.seconds")),
    Column("train img/s", cost("train.images_per_second"), digits=0),
    Column("train MiB", peak(("train",))),
    Column("run MiB", peak(("setup", "cache", "train", "evaluate"))),
)


def accuracy_columns(runs: pd.DataFrame) -> list[Column]:
    """A column for every evaluation, and H where there are base and new."""
    names = [column.removeprefix("accuracy.") for column in runs.columns if column.startswith("accuracy.")]

    def accuracy(name: str) -> Callable[[pd.DataFrame], pd.Series]:
        return lambda group: pd.to_numeric(group[f"accuracy.{name}"])

    columns = [Column(name, accuracy(name)) for name in names]
    if {"base", "new"} <= set(names):
        columns.append(Column("H", h_of_seeds, mean=h_of_means))
    sources = set(runs["dataset"])
    targets = [name for name in names if name not in sources]
    # Evaluations on several data sets go by their names, the training one among them.
    if sources <= set(names) and len(targets) > 1:
        of_targets = [f"accuracy.{name}" for name in targets]
        columns.append(Column("average of targets", lambda group: group[of_targets].mean(axis=1, skipna=False)))
    return columns


def format_cell(column: Column, runs: pd.DataFrame) -> str:
    """Mean ± sample standard deviation over seeds; the bare value of a single seed; a dash for nothing measured."""
    values = column.value(runs).dropna()
    if values.empty:
        return "-"
    return with_spread(column.mean(runs) if column.mean else values.mean(), values, column.digits)


def method_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The table that `bench` ends with.

    Args:
        runs: finished runs of one protocol, as `results_frame` gives them.

    Returns:
        Text cells, a row for every data set, shots, method and precision, in the order in which they came; of data
        set and shots only what differs.
    """
    columns = [*accuracy_columns(runs), *COST_COLUMNS]
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
    """How tuned recipes were found; nothing where all are fixed."""
    found = sorted({str(tuned) for tuned in runs["tuned"] if tuned}) if "tuned" in runs else []
    return f"Tuned: {'; '.join(found)}. " if found else ""


def listed(runs: pd.DataFrame, column: str) -> str:
    """Different values of a column, by comma; of runs that are not done nothing is known."""
    return ", ".join(sorted({str(value) for value in runs[column].dropna()}))


def memory_note(runs: pd.DataFrame) -> str:
    """What the columns of memory and of training time hold."""
    on_cpu = set(runs["device"].dropna()) == {"cpu"}
    memory = "exact peak of live tensor bytes" if on_cpu else "allocator peak"
    shared = "alone" in runs and (runs["alone"] == False).any()  # noqa: E712  NaN: not known
    note = " Some runs shared their device: their seconds are not measured alone." if shared else ""
    return f"MiB: {memory}, in training and in the whole run; train s is without cache s.{note}"
