"""One tidy table of everything: a row for each evaluation of each finished run."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.results.files import Json
from harness.results.record import read_result, result_files

FORMATS = ("csv", "parquet")
# Too long for a cell.
LISTS = ("per_class",)


def flat(value: Json, prefix: str = "") -> Json:
    """Nested settings with dotted keys; lists as text."""
    cells: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            cells.update(flat(inner, f"{prefix}{key}."))
        else:
            cells[prefix + key] = ",".join(map(str, inner)) if isinstance(inner, list) else inner
    return cells


def rows_of(result: Json) -> list[Json]:
    """The rows of one result."""
    spec = {key: value for key, value in result["spec"].items() if key not in ("evaluate", "runtime", "wandb")}
    about = {
        "id": result["id"],
        "name": result["name"],
        **flat(spec),
        **flat(result["costs"], "costs."),
        **flat(result["method_facts"], "facts."),
        **flat(result["sample"], "sample."),
        **flat(result["environment"], "environment."),
        "interruptions": result["interruptions"],
    }
    evaluations = [{key: value for key, value in item.items() if key not in LISTS} for item in result["evaluations"]]
    return [{**about, **flat(item, "evaluation.")} for item in evaluations]


def tidy_table(results: Path) -> pd.DataFrame:
    """All finished runs of a results folder.

    Returns:
        Columns id, name, the spec's keys (`data.shots`, `skip.depth`, ...), costs.*, facts.*, sample.*, environment.*,
        interruptions and evaluation.* (name, dataset, accuracy in percent, ...).

    Raises:
        UserError: a result is damaged.
    """
    return pd.DataFrame([row for path in result_files(results) for row in rows_of(read_result(path))])


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format that the file's name ends with.

    Raises:
        UserError: another format, parquet without pyarrow, or a file that cannot be written.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise UserError(f"'{path}' must end in {' or '.join('.' + name for name in FORMATS)}")
    try:
        if kind == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
    except ImportError:
        raise UserError("parquet needs pyarrow: pip install 'skipbench[parquet]', or write .csv") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror or error}") from error
