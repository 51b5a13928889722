"""How far rounding moved one run, as `skipbench stability` keeps it beside the runs: a file for each run."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.results.files import read_problem, read_regular, to_json, write_atomically
from harness.results.numbers import Amount, Count, Percent
from harness.results.record import DamagedError

LARGEST = 1 << 20


class Rounding(BaseModel):
    """How far one run moved when its trained values started one unit in the last place away.

    Attributes:
        schema_version: of the file.
        run: id of the run that was not moved.
        metric: that its protocol ranks methods by, such as H.
        moves: number of moved trainings; at least one.
        threads: of the CPU.
        score: the metric of the training that was not moved, in percent.
        score_moves: largest distance of the metric of a moved training from it, in points.
        accuracy_moves: evaluation -> the same of its accuracy.
        weights_apart: largest distance of the trained values, as a share of how far training moved them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    schema_version: Literal[1] = 1
    run: str
    metric: str
    moves: Count = Field(ge=1)
    threads: Count
    score: Percent
    score_moves: Percent
    accuracy_moves: dict[str, Percent]
    weights_apart: Amount


def rounding_file(results: Path, run_id: str) -> Path:
    """Where a results folder keeps how far rounding moved a run."""
    return results / "stability" / "runs" / f"{run_id}.json"


def save_rounding(results: Path, measured: Rounding) -> None:
    """Keep how far rounding moved a run; an earlier measurement of it is replaced.

    Raises:
        UserError: the disk is full, or writing is not permitted.
    """
    path = rounding_file(results, measured.run)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_json(measured.model_dump()))


def read_rounding(results: Path, run_id: str) -> Rounding | None:
    """How far rounding moved a run; None if that was not measured.

    Raises:
        DamagedError: the file cannot be read, is none of these, or is about another run.
    """
    path = rounding_file(results, run_id)
    advice = "remove it, and measure again with `skipbench stability`"
    try:
        found = Rounding.model_validate_json(read_regular(path, LARGEST))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(read_problem(path, error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedError(f"'{path}' is damaged ({where or 'JSON'}: {first['msg']}): {advice}") from None
    if found.run != run_id:
        raise DamagedError(f"'{path}' is about another run, {found.run}: {advice}")
    return found
