"""Published costs, and ours beside them: without a ratio, for hardware, precision and what is counted differ."""

from collections.abc import Iterator, Set
from pathlib import Path

import pandas as pd

from harness.errors import UserError
from harness.experiment.axes import NO_VALUE
from harness.report.marks import marked
from harness.report.method_table import Column, cost_columns
from harness.report.published_rows import (
    NOT_STATED,
    PUBLISHED,
    PublishedCost,
    is_backbone,
    kind_text,
    read_rows,
)
from harness.report.runs import groups, in_order
from harness.report.statistics import with_spread
from harness.report.table import AVERAGE

FILE = "costs.csv"
KEYS = ("method", "shots", "backbone", "precision")
# What papers publish -> titles of the measured costs of ours that come nearest; the first that a run has.
NEAREST = {
    "train_time": ("adapt s", "train s"),
    "train_memory": ("train MiB",),
    "memory": ("train MiB",),
    "peak_memory": ("run MiB",),
}


def read_costs(folder: Path = PUBLISHED) -> pd.DataFrame:
    """All published costs: the columns of `PublishedCost`.

    Raises:
        UserError: a row of the file is wrong.
    """
    return read_rows(folder / FILE, PublishedCost)


def compare_costs(runs: pd.DataFrame, costs: pd.DataFrame, protocol: str, averaged: Set[str]) -> pd.DataFrame:
    """Our measured costs beside published ones of the same method, data set, backbone, shots and protocol.

    A published cost whose source does not state shots or protocol stands beside ours whatever they are.

    Args:
        runs: finished runs of one experiment.
        costs: as `read_costs` gives them.
        protocol: of the runs.
        averaged: data sets behind published averages.

    Returns:
        Text cells, one row per published number.

    Raises:
        UserError: no cost of ours has a published counterpart.
    """
    mine = costs[costs["protocol"].isin(["", protocol])]
    sources = source_numbers(costs)
    rows = []
    for dataset, group in with_average(runs, averaged):
        method, shots, backbone, precision = (group[key].iloc[0] for key in KEYS)
        theirs = mine[(mine["method"] == method) & (mine["dataset"] == dataset)]
        columns = {column.title: column for column in cost_columns(group)}
        for _, cost in theirs.iterrows():
            titles = NEAREST.get(cost["metric"], ())
            column = next((columns[title] for title in titles if title in columns), None)
            same_shots = pd.isna(cost["shots"]) or cost["shots"] == shots
            if column and same_shots and is_backbone(str(backbone), cost["backbone"]):
                rows.append(
                    {
                        "dataset": dataset,
                        "method": method,
                        "shots": str(shots),
                        "cost": cost["metric"].replace("_", " "),
                        "published": value_text(cost),
                        "published on": hardware_text(cost),
                        "ours": f"{our_text(column, group)} ({column.title})",
                        "ours on": ", ".join([*in_order(group["device"].dropna()), str(precision)]),
                        "kind": kind_text(cost["kind"]),
                        "source": f"[{sources[cost['source']]}]",
                    }
                )
    if not rows:
        raise UserError(no_counterpart(runs, costs))
    return pd.DataFrame(rows)


def with_average(runs: pd.DataFrame, averaged: Set[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The runs of a method on each data set, then on all if these are the ones behind published averages."""
    for _, own in groups(runs, *KEYS):
        for dataset, group in groups(own, "dataset"):
            yield str(dataset), group
        if set(own["dataset"]) == averaged:
            yield AVERAGE, own


def no_counterpart(runs: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Why no cost can be compared: what was published of the methods of these runs."""
    own = costs[costs["method"].isin(set(runs["method"]))]
    named = sorted(
        {f"{row['dataset'] or NOT_STATED} with {row['backbone'] or NOT_STATED}" for _, row in own.iterrows()}
    )
    ours = f"ours are of {', '.join(in_order(runs['dataset']))} with {', '.join(in_order(runs['backbone']))}"
    what = (
        f"published of {'; '.join(named)}" if named else f"none was published of {', '.join(in_order(runs['method']))}"
    )
    return f"no published cost fits: {ours}, {what}"


def our_text(column: Column, runs: pd.DataFrame) -> str:
    """A cost of ours with its mark: mean and deviation over seeds; over data sets only the mean."""
    values = column.values(runs).dropna()
    if values.empty:
        return NO_VALUE
    several = runs["dataset"].nunique() > 1
    text = f"{values.mean():.{column.digits}f}" if several else with_spread(values.mean(), values, column.digits)
    return marked(text, column.mark(runs))


def value_text(cost: pd.Series) -> str:
    """A published cost with its unit, such as 15412 MB."""
    return f"{cost['value']:.10g} {cost['unit']}{'?' if cost['doubt'] else ''}"


def hardware_text(cost: pd.Series) -> str:
    """Hardware, precision, batch size and number of classes behind a published cost."""
    classes = f", {cost['classes']} classes" if not pd.isna(cost["classes"]) else ""
    batch = f", batch {cost['batch']}" if cost["batch"] else ""
    hardware = cost["hardware"] or f"hardware {NOT_STATED}"
    precision = cost["precision"] or f"precision {NOT_STATED}"
    return f"{hardware}, {precision}{batch}{classes}"


def source_numbers(costs: pd.DataFrame) -> dict[str, int]:
    """Source -> number, in the order of the file."""
    return {str(source): number for number, source in enumerate(costs["source"].unique(), start=1)}


def source_notes(costs: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """The sources that a table names, one line each with what their numbers mean."""
    used = set(shown["source"])
    lines = []
    for source, number in source_numbers(costs).items():
        if f"[{number}]" in used:
            notes = [note for note in in_order(costs.loc[costs["source"] == source, "note"]) if "memory" in note]
            lines.append(f"[{number}] {source}" + (f" ({'; '.join(notes)})" if notes else ""))
    return lines
