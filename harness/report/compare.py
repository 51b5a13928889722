"""What differs between two runs, or between the runs of two experiments: configuration, accuracy, costs."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from harness.errors import UserError, nearest
from harness.report.method_table import COST_COLUMNS
from harness.report.paper_tables import in_order
from harness.report.runs import DONE, done_row, groups, labelled
from harness.report.statistics import harmonic_mean, harmonic_means, with_spread

KEYS = ("method", "dataset", "shots")
COLUMNS = ("protocol", "backbone", "method", "recipe", "dataset", "shots", "seed", "device", "versions", "template")
MOST_VALUES = 6
SHORTEST_PREFIX = 3


def find_run(results: Path, prefix: str) -> pd.DataFrame:
    """The finished run whose id begins so, as a frame of one row.

    Raises:
        UserError: there is none, or there are several.
    """
    ids = sorted(path.parent.name for path in (results / "runs").glob("*/result.json"))
    found = [run_id for run_id in ids if run_id.startswith(prefix)]
    if not found or len(prefix) < SHORTEST_PREFIX:
        raise UserError(
            f"'{prefix}' is neither an experiment file nor the id of a finished run in '{results}'."
            f"{nearest(prefix, ids)}"
        )
    if len(found) > 1:
        raise UserError(f"'{prefix}' is the beginning of {len(found)} runs: {', '.join(found[:5])}")
    return labelled(pd.DataFrame([done_row(results / "runs" / found[0])]))


def configuration_differences(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Settings in which two sets of runs differ.

    Returns:
        Columns setting, A, B: the values that occur; a dash where a side has no such setting.
    """
    left, right = values_of(a), values_of(b)
    rows = [
        {"setting": name, "A": left.get(name, "–"), "B": right.get(name, "–")}
        for name in dict.fromkeys([*left, *right])
        if left.get(name) != right.get(name)
    ]
    return pd.DataFrame(rows, columns=["setting", "A", "B"])


def values_of(runs: pd.DataFrame) -> dict[str, str]:
    """Setting -> the values that occur in some runs."""
    found: dict[str, list[str]] = {name: in_order(runs[name].dropna()) for name in COLUMNS if name in runs}
    for settings in runs["settings"]:
        for name, value in settings.items():
            several = found.setdefault(name, [])
            if str(value) not in several:
                several.append(str(value))
    return {
        name: "; ".join(several[:MOST_VALUES]) + (f"; ... ({len(several)})" if len(several) > MOST_VALUES else "")
        for name, several in found.items()
    }


def number_differences(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Accuracies and costs of two sets of finished runs side by side.

    Two single runs are compared whatever their methods; of more runs those of the same method, data set and shots,
    averaged over seeds.

    Returns:
        Columns method, dataset, shots, metric, A, B (mean ± sample std), difference (B - A) and ratio (B / A) of costs.

    Raises:
        UserError: nothing in common.
    """
    a, b = (runs[runs["state"] == DONE] for runs in (a, b))
    if len(a) == 1 and len(b) == 1:
        pairs = [(("", "", ""), a, b)]
    else:
        left, right = dict(groups(a, *KEYS)), dict(groups(b, *KEYS))
        pairs = [(key, left[key], right[key]) for key in left if key in right]
    rows = []
    for key, ours, theirs in pairs:
        for name, value, mean, digits in measures(pd.concat([ours, theirs])):
            one, other = value(ours).dropna(), value(theirs).dropna()
            if len(one) and len(other):
                x, y = (mean(runs) if mean else seeds.mean() for runs, seeds in ((ours, one), (theirs, other)))
                rows.append(
                    {
                        **dict(zip(KEYS, map(str, key), strict=True)),
                        "metric": name,
                        "A": with_spread(x, one, digits),
                        "B": with_spread(y, other, digits),
                        "difference": f"{y - x:+.{digits}f}",
                        "ratio": f"{y / x:.2f}x" if digits != 2 and x else "",
                    }
                )
    if not rows:
        raise UserError("the two have no method, data set and shots in common of which both have finished runs")
    frame = pd.DataFrame(rows)
    return frame.drop(columns=[key for key in KEYS if (frame[key] == "").all()])


Measure = tuple[str, Callable[[pd.DataFrame], pd.Series], Callable[[pd.DataFrame], float] | None, int]


def measures(runs: pd.DataFrame) -> list[Measure]:
    """What is compared: name, values over seeds, their mean if it is not the plain one, and digits."""

    def accuracy(name: str) -> Callable[[pd.DataFrame], pd.Series]:
        return lambda group: pd.to_numeric(group[name]) if name in group else pd.Series(dtype=float)

    names = [name for name in map(str, runs) if name.startswith("accuracy.") and runs[name].notna().any()]
    found: list[Measure] = [(name.removeprefix("accuracy."), accuracy(name), None, 2) for name in names]
    base, new = accuracy("accuracy.base"), accuracy("accuracy.new")
    if {"accuracy.base", "accuracy.new"} <= set(names):
        found.append(
            (
                "H",
                lambda group: harmonic_means(base(group), new(group)),
                lambda group: harmonic_mean(base(group).mean(), new(group).mean()),
                2,
            )
        )
    return found + [(column.title, column.value, None, column.digits) for column in COST_COLUMNS]
