"""One tidy table of all results: one row per evaluation of each finished run, refused ones included."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.results.files import Json
from harness.results.folder import DAMAGED
from harness.results.index import runs_if_any
from harness.results.metrics import evaluation_metrics, metric_values, run_metrics, summary_metrics
from harness.results.record import Evaluation, Result

FORMATS = ("csv", "parquet")
NO_SETTINGS = {"evaluate", "runtime", "tracking", "wandb"}
# Too long for a cell.
LISTS = {"per_class"}


def flat_cells(value: Json, prefix: str = "") -> Json:
    """Nested values with dotted keys; lists as text."""
    cells: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            cells.update(flat_cells(inner, f"{prefix}{key}."))
        else:
            cells[prefix + key] = ",".join(map(str, inner)) if isinstance(inner, list) else inner
    return cells


def rows_of(result: Result) -> list[Json]:
    """The rows of one result."""
    values = metric_values(result)
    about = {
        "id": result.id,
        "name": result.name,
        **flat_cells({key: value for key, value in result.spec.settings().items() if key not in NO_SETTINGS}),
        **flat_cells(result.costs.model_dump(mode="json"), "costs."),
        **flat_cells(result.method_facts, "facts."),
        **flat_cells(result.sample.model_dump(mode="json") if result.sample else {}, "sample."),
        **flat_cells(result.selection.model_dump(mode="json") if result.selection else {}, "selection."),
        **flat_cells(result.environment.model_dump(mode="json"), "environment."),
        "interruptions": result.interruptions,
        **{f"metrics.{metric.name}": values.get(metric.name) for metric in (*summary_metrics(), *run_metrics())},
    }
    rows = [{**about, **flat_cells(evaluation_cells(item), "evaluation.")} for item in result.evaluations]
    refused = [{"evaluation.name": item.evaluation, "evaluation.refused": item.reason} for item in result.refusals]
    return rows + [{**about, **cells} for cells in refused]


def evaluation_cells(item: Evaluation) -> Json:
    """The cells about one evaluation: its description and every metric of single evaluations."""
    values = {metric.name: metric.value(item) for metric in evaluation_metrics()}
    return {**item.model_dump(mode="json", exclude=LISTS), **values}


def tidy_table(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """All finished runs of a results folder, and why others are damaged.

    Returns:
        Columns id, name, the spec's keys (`data.shots`, `skip.depth`, ...), costs.*, facts.*, sample.*, selection.*,
        environment.*, interruptions, metrics.* and evaluation.* (name, dataset, accuracy in percent, ...). An
        evaluation that the method cannot take part in has a row with its name and the reason.
    """
    rows, damage = [], []
    for run in runs_if_any(results):
        if run.state == DAMAGED:
            damage.append(run.reason)
        if run.result is not None:
            rows += rows_of(run.result)
    return pd.DataFrame(rows), damage


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format that the file's name ends with.

    Raises:
        UserError: another format, or a file that cannot be written.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise UserError(f"'{path}' must end in {' or '.join('.' + name for name in FORMATS)}")
    try:
        if kind == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror or error}") from error
