"""The tidy results file: one row a number, in a form that others can merge.

It is the one source of a board: tables, tests and the page are made from its rows, whether they were just written from
a results folder or read from files of several groups.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.clip.texts import prompts_of
from harness.errors import UserError, nearest
from harness.experiment.protocols import PROTOCOLS
from harness.report.runs import impossible_number
from harness.report.tracks import Track, placement_of
from harness.results.metrics import METRICS, EvaluationMetric, evaluation_metrics, metric_values
from harness.results.record import Evaluation, Result

TIDY_SCHEMA = 1
"""Of the tidy file. A later version of SkipBench that adds or changes a column counts on."""
FILE_NAME = "results.csv"
REFUSED = "refused"
"""In place of a metric: the method cannot take part in this evaluation, and there is no number."""
WHY_SEPARATOR = " | "
LARGEST = 1 << 29


class TidyRow(BaseModel):
    """One number of one run.

    Attributes:
        suite: name of the suite.
        protocol: of the run.
        dataset: that the run trains on.
        shots: images a class that were asked for.
        tail: how the shots fall from head to tail (`data.shots=longtail:...`); empty if all classes have as many.
        label_noise: share of the training labels that are wrong.
        seed: of the run.
        sample_seed: that the k-shot sample was drawn with.
        sample: hash of the k-shot sample; empty if unknown.
        method, recipe: names.
        track: name of the track (`harness.report.tracks`).
        heading: under which it is ranked: the track, with the budget or what the method knows beside the shots.
        why: it is not in a cleaner track, reasons with " | " between them; empty if nothing was chosen.
        backbone: as its users name it.
        weights: SHA-256 of the backbone's weights; empty for weights without a file.
        precision: of the training.
        evaluation: name of the evaluation; empty for a number of the whole run.
        evaluated: data set of the evaluation.
        pictures: hash of its pictures' paths and labels and the names of the classes; empty if unknown.
        template: prompt templates of the evaluation; empty if unknown.
        metric: name of a metric (`harness.results.metrics`), or `refused`.
        value: in the unit; None only where the method refused the evaluation.
        unit: of the value.
        run: id of the run.
        device, threads: where it was computed; None where threads are unknown.
        version: of SkipBench.
        schema_version: of this form; the column is called schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    suite: str
    protocol: str
    dataset: str
    shots: int = Field(ge=0)
    tail: str = ""
    label_noise: float = Field(0.0, ge=0, le=1)
    seed: int = Field(ge=0)
    sample_seed: int = Field(ge=0)
    sample: str = ""
    method: str = Field(min_length=1)
    recipe: str = ""
    track: str
    heading: str
    why: str = ""
    backbone: str
    weights: str = ""
    precision: str
    evaluation: str = ""
    evaluated: str = ""
    pictures: str = ""
    template: str = ""
    metric: str
    value: float | None = Field(None, allow_inf_nan=False)
    unit: str = ""
    run: str = Field(min_length=1)
    device: str = ""
    threads: int | None = None
    version: str = ""
    schema_version: int = Field(TIDY_SCHEMA, alias="schema")

    @property
    def is_score(self) -> bool:
        """Whether it says how good a method is, not what it costs: the same run gives the same on every machine."""
        return self.metric == REFUSED or isinstance(METRICS.get(self.metric), EvaluationMetric)

    @property
    def minor_version(self) -> str:
        """Major and minor number of the version: results of the same ones may be compared (CHANGELOG.md)."""
        return ".".join(self.version.split(".")[:2])


COLUMNS = [info.alias or name for name, info in TidyRow.model_fields.items()]
TRACKS = [track.value for track in Track]
ORDER = {name: place for place, name in enumerate([REFUSED, *METRICS])}
"""Metric -> its place in a file."""


@dataclass(frozen=True)
class Place:
    """Where a row stands in a file, whatever it was made from: files are the same whoever wrote them."""

    protocol: int
    dataset: str
    shots: int
    tail: str
    label_noise: float
    method: str
    recipe: str
    precision: str
    seed: int
    sample_seed: int
    run: str
    of_run: bool
    evaluation: str
    metric: int

    @classmethod
    def of(cls, row: TidyRow) -> "Place":
        """The place of a row."""
        protocol = list(PROTOCOLS).index(row.protocol) if row.protocol in PROTOCOLS else len(PROTOCOLS)
        about = (
            row.dataset,
            row.shots,
            row.tail,
            row.label_noise,
            row.method,
            row.recipe,
            row.precision,
            row.seed,
            row.sample_seed,
            row.run,
        )
        metric = ORDER.get(row.metric, len(ORDER))
        return cls(protocol, *about, not row.evaluation, row.evaluation, metric)


def in_order(rows: Iterable[TidyRow]) -> list[TidyRow]:
    """Rows in the order of a file."""
    return sorted(rows, key=lambda row: astuple(Place.of(row)))


def rows_of(suite: str, result: Result) -> list[TidyRow]:
    """The rows of one result.

    Args:
        suite: name of the suite.
        result: of a finished run.

    Raises:
        UserError: it holds a number that no run can have.
    """
    if problem := impossible_number(result):
        raise UserError(f"run {result.id} holds {problem}: remove its folder to compute the run again")
    spec, environment, placement = result.spec, result.environment, placement_of(result)
    about: dict[str, Any] = {
        "suite": suite,
        "protocol": spec.protocol,
        "dataset": spec.data.dataset,
        "shots": spec.data.shots,
        "tail": str(spec.data.long_tail or ""),
        "label_noise": spec.data.label_noise,
        "seed": spec.seed,
        "sample_seed": spec.sample_seed,
        "sample": result.sample.hash if result.sample else "",
        "method": spec.method,
        "recipe": spec.recipe,
        "track": placement.track.value,
        "heading": placement.title,
        "why": WHY_SEPARATOR.join(placement.reasons),
        "backbone": spec.backbone,
        "weights": result.weights_sha256 or "",
        "precision": spec.train.precision,
        "run": result.id,
        "device": environment.device,
        "threads": environment.threads,
        "version": environment.skipbench or "",
    }
    rows = [TidyRow(**about, **cells) for item in result.evaluations for cells in evaluation_cells(item)]
    rows += [TidyRow(**about, evaluation=item.evaluation, metric=REFUSED) for item in result.refusals]
    values = metric_values(result)
    others = [metric for metric in METRICS.values() if not isinstance(metric, EvaluationMetric)]
    of_run = [metric for metric in others if metric.name in values]
    return rows + [TidyRow(**about, metric=one.name, value=values[one.name], unit=one.unit) for one in of_run]


def evaluation_cells(item: Evaluation) -> Iterator[dict[str, Any]]:
    """What the rows of one evaluation say, one for each metric that was measured."""
    about = {
        "evaluation": item.name,
        "evaluated": item.dataset,
        "pictures": item.pictures_hash or "",
        "template": " | ".join(prompts_of(item.template or "")),
    }
    for metric in evaluation_metrics():
        value = metric.value(item)
        if value is not None:
            yield {**about, "metric": metric.name, "value": value, "unit": metric.unit}


def to_csv(rows: Iterable[TidyRow]) -> str:
    """Rows as the text of a file: the same rows give the same bytes, and numbers are not rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in in_order(rows):
        cells = row.model_dump(by_alias=True)
        writer.writerow(["" if cells[name] is None else cells[name] for name in COLUMNS])
    return text.getvalue()


def read_tidy(path: Path) -> list[TidyRow]:
    """The rows of a tidy file, or of the one in the folder of a board.

    Raises:
        UserError: it is none, of a later version, or a row cannot be right; names file, line and column.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        if file.stat().st_size > LARGEST:
            raise UserError(f"'{file}' is larger than {LARGEST >> 20} MiB: it is no tidy results file")
        lines = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline=""), strict=True))
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist: name a board's folder or its {FILE_NAME}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read '{file}': {error}") from None
    header = lines[0] if lines else []
    check_header(file, header, lines[1:])
    return [read_row(file, number, header, cells) for number, cells in enumerate(lines[1:], start=2)]


def check_header(file: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Raise a UserError if a file has other columns; a later version is told apart from damage."""
    if list(header) == COLUMNS:
        return
    place = header.index("schema") if "schema" in header else None
    schemas = {line[place] for line in lines[:1] if len(line) > place} if place is not None else set()
    if any(schema.isdecimal() and int(schema) > TIDY_SCHEMA for schema in schemas):
        raise UserError(
            f"'{file}' was written by a later version of SkipBench (schema {max(schemas)}, this version reads "
            f"{TIDY_SCHEMA}): update SkipBench"
        )
    raise UserError(f"'{file}' is no tidy results file: its columns must be {', '.join(COLUMNS)}")


def read_row(file: Path, number: int, header: Sequence[str], cells: Sequence[str]) -> TidyRow:
    """One row of a tidy file."""
    where = f"'{file}', line {number}"
    if len(cells) != len(header):
        raise UserError(f"{where} has {len(cells)} cells instead of {len(header)}")
    given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    try:
        row = TidyRow.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        shown = f"{name} '{given[name]}'" if name in given else name
        raise UserError(f"{where}: {shown}: {problem['msg'][:1].lower()}{problem['msg'][1:]}") from None
    if row.schema_version > TIDY_SCHEMA:
        raise UserError(f"{where} was written by a later version of SkipBench: update SkipBench")
    if row.track not in TRACKS:
        raise UserError(f"{where}: unknown track '{row.track}'.{nearest(row.track, TRACKS)}")
    if row.metric not in ORDER:
        raise UserError(f"{where}: unknown metric '{row.metric}': update SkipBench, or leave the row out")
    if row.value is None and row.metric != REFUSED:
        raise UserError(f"{where} has no value")
    if row.value is not None and row.unit == "%" and not 0 <= row.value <= 100:
        raise UserError(f"{where}: {row.value:g} % is no {row.metric}")
    return row


def is_same(one: float | None, other: float | None) -> bool:
    """Whether two values are the same number; None is only None."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=1e-9)
