"""Differences between two runs, or between the runs of two experiments: configuration, accuracy, costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.experiment.axes import NO_VALUE, text_of
from harness.report.labels import shortened
from harness.report.marks import REFUSED_MARK, mark_in, marked
from harness.report.method_table import Column, cost_columns, score_columns
from harness.report.run_notes import choice_notes
from harness.report.runs import groups, in_order, stored_run_row
from harness.report.statistics import signed, with_spread
from harness.results.folder import DONE
from harness.results.index import find_run

KEYS = ("method", "dataset", "shots")
COLUMNS = ("protocol", "backbone", "method", "recipe", "dataset", "shots", "seed", "device", "versions", "template")
MOST_VALUES = 6
SHORTEST_PREFIX = 3


def find_finished_run(results: Path, prefix: str) -> pd.DataFrame:
    """The finished run whose id begins with `prefix`, as a frame of one row.

    Raises:
        UserError: there is none, there are several, or the run is not finished.
    """
    if len(prefix) < SHORTEST_PREFIX:
        raise UserError(
            f"'{prefix}' is neither an experiment file nor an id: give at least {SHORTEST_PREFIX} characters"
        )
    run = find_run(results, prefix)
    if run.result is None:
        why = f"{run.state}: {run.reason}" if run.reason else run.state
        raise UserError(f"run {run.id} cannot be compared ({why}): only finished runs can be")
    return stored_run_row(run)


def configuration_differences(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Settings in which two sets of runs differ.

    Returns:
        Columns setting, A, B: the values of each side; a dash if a side has no such setting.
    """
    left, right = values_of(a), values_of(b)
    rows = []
    for name in dict.fromkeys([*left, *right]):
        one, other = left.get(name, []), right.get(name, [])
        short = shortened([*one, *other])
        if [text_of(value) for value in one] != [text_of(value) for value in other]:
            rows.append({"setting": name, "A": listed_values(one, short), "B": listed_values(other, short)})
    return pd.DataFrame(rows, columns=["setting", "A", "B"])


def values_of(runs: pd.DataFrame) -> dict[str, list[Any]]:
    """Setting -> its different values in some runs."""
    found: dict[str, list[Any]] = {name: list(in_order(runs[name].dropna())) for name in COLUMNS if name in runs}
    for settings in runs["settings"]:
        for name, value in settings.items():
            several = found.setdefault(name, [])
            if text_of(value) not in map(text_of, several):
                several.append(value)
    return found


def listed_values(values: Sequence[Any], short: Mapping[str, str]) -> str:
    """Values as text, the first of many, rounded to what tells them apart; a dash for none."""
    texts = [short[text_of(value)] for value in values]
    more = f"; ... ({len(texts)})" if len(texts) > MOST_VALUES else ""
    return "; ".join(texts[:MOST_VALUES]) + more if texts else NO_VALUE


def number_differences(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Accuracies and costs of two sets of finished runs side by side.

    Two single runs are compared whatever their methods are. Otherwise, runs of the same method, data set and shots are
    compared, averaged over seeds.

    Returns:
        Columns method, dataset, shots, metric, A, B (mean ± sample std), difference (B - A) and ratio (B / A) of costs.

    Raises:
        UserError: the two have nothing in common.
    """
    a, b = (runs[runs["state"] == DONE] for runs in (a, b))
    if len(a) == 1 and len(b) == 1:
        pairs = [(("", "", ""), a, b)]
    else:
        left, right = dict(groups(a, *KEYS)), dict(groups(b, *KEYS))
        pairs = [(key, left[key], right[key]) for key in left if key in right]
    rows = []
    for key, ours, theirs in pairs:
        for column, is_cost in measures(pd.concat([ours, theirs])):
            sides = [side_text(column, runs, is_cost) for runs in (ours, theirs)]
            if all(sides) and set(sides) != {REFUSED_MARK}:
                x, y = value_of(column, ours), value_of(column, theirs)
                rows.append(
                    {
                        **dict(zip(KEYS, map(str, key), strict=True)),
                        "metric": column.title,
                        "A": sides[0],
                        "B": sides[1],
                        "difference": signed(y - x, column.digits) if x is not None and y is not None else "",
                        "ratio": f"{y / x:.2f}x" if is_cost and x and y is not None else "",
                    }
                )
    if not rows:
        raise UserError("the two have no method, data set and shots in common of which both have finished runs")
    frame = pd.DataFrame(rows)
    return frame.drop(columns=[key for key in KEYS if (frame[key] == "").all()])


def value_of(column: Column, runs: pd.DataFrame) -> float | None:
    """What a column shows of some runs; None if it was not measured."""
    values = column.values(runs).dropna()
    if values.empty:
        return None
    return float(column.mean(runs) if column.mean else values.mean())


def side_text(column: Column, runs: pd.DataFrame, is_cost: bool) -> str:
    """A cell of one side: mean, deviation and mark; empty if it was not measured."""
    value = value_of(column, runs)
    if value is None:
        return REFUSED_MARK if column.refused(runs) else ""
    mark = column.mark(runs) if is_cost else mark_in(runs)
    return marked(with_spread(value, column.values(runs).dropna(), column.digits), mark)


def comparison_notes(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """What the marks of the numbers mean, one sentence each."""
    both = pd.concat([a, b])
    return choice_notes(both[both["state"] == DONE])


def measures(runs: pd.DataFrame) -> list[tuple[Column, bool]]:
    """The columns that are compared, each with whether it is a cost."""
    return [*((column, False) for column in score_columns(runs)), *((column, True) for column in cost_columns(runs))]
