"""The files of published numbers: one row is one number of one source, checked when it is read."""

import csv
from collections.abc import Hashable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.clip.backbones import QUICK, names_a_file
from harness.errors import UserError, nearest
from harness.experiment.protocols import PROTOCOLS

PUBLISHED = Path(__file__).parent / "published_numbers"
# What papers call a model with OpenAI's weights is this model of ours with this tag, or with a file of the user's.
OPENAI = "openai"
NOT_STATED = "not stated"


class Kind(StrEnum):
    """How a number came about.

    Attributes:
        PRINTED: stands in the source.
        COMPUTED: computed from printed numbers, such as a mean over data sets.
        DIGITISED: measured from a figure.
        RERUN: printed by others who ran the method again.
        SECOND_HAND: read in a list or a note about the paper, not in it.
    """

    PRINTED = "printed"
    COMPUTED = "computed"
    DIGITISED = "digitised"
    RERUN = "rerun"
    SECOND_HAND = "second_hand"


class PublishedNumber(BaseModel):
    """What accuracies and costs have in common.

    Attributes:
        protocol: name of the protocol; empty if the source does not say.
        backbone: as papers write it, such as ViT-B/16, with OpenAI's weights.
        shots: training images of a class; 0: the method needs none; None if the source does not say.
        dataset: training data set, or the name of an average.
        method: our name of the method where we have one, else the paper's.
        variant: what sets several values of one method apart, such as who ran it again.
        metric: what was measured.
        value: in percent, or in `unit`.
        kind: how the number came about.
        doubt: why the number may be wrong; empty for most.
        source: where it was read.
        note: what a reader must know to compare it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    protocol: str = ""
    backbone: str = ""
    shots: int | None = Field(default=None, ge=0)
    dataset: str = ""
    method: str
    variant: str = ""
    metric: str
    value: float
    kind: Kind
    doubt: str = ""
    source: str
    note: str = ""

    def identity(self) -> Hashable:
        """What no second number of a file may share."""
        return tuple(sorted(self.model_dump(exclude={"value", "error", "kind", "doubt", "note"}).items()))


class PublishedAccuracy(PublishedNumber):
    """One published accuracy in percent; `error`: by how much a digitised one may be wrong, in points."""

    protocol: str
    backbone: str
    shots: int = Field(ge=0)
    dataset: str
    value: float = Field(ge=0, le=100)
    error: float | None = Field(default=None, gt=0)


class PublishedCost(PublishedNumber):
    """One published cost.

    Attributes:
        classes: number of classes that were trained on; None if it is not known.
        unit: of the value.
        precision: as the source names it; empty if it does not.
        batch: images of a step, as the source says; empty if it does not.
        hardware: that it was measured on; empty if the source does not say.
    """

    classes: int | None = Field(default=None, gt=0)
    unit: str
    value: float = Field(ge=0)
    precision: str = ""
    batch: str = ""
    hardware: str = ""


Row = TypeVar("Row", bound=PublishedNumber)


def read_rows(file: Path, form: type[Row]) -> pd.DataFrame:
    """The numbers of a file, a column for each attribute of `form`.

    Raises:
        UserError: the file is not there, or a row cannot be right; names file, line and column.
    """
    try:
        lines = list(csv.reader(file.read_text(encoding="utf-8").splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read published numbers '{file}': {error}") from None
    header = lines[0] if lines else []
    if set(header) != set(form.model_fields) or len(header) != len(set(header)):
        raise UserError(f"'{file}', line 1: the columns must be {', '.join(form.model_fields)}")
    found: dict[Hashable, int] = {}
    rows: list[Row] = []
    for number, cells in enumerate(lines[1:], start=2):
        where = f"'{file}', line {number}"
        row = read_row(cells, header, form, where)
        if row.protocol and row.protocol not in PROTOCOLS:
            raise UserError(f"{where}: unknown protocol '{row.protocol}'.{nearest(row.protocol, PROTOCOLS)}")
        if (first := found.setdefault(row.identity(), number)) != number:
            raise UserError(f"{where} is the same number as line {first}: remove one, or give it a variant")
        rows.append(row)
    return frame_of(rows, form)


def frame_of(rows: Sequence[Row], form: type[Row]) -> pd.DataFrame:
    """Numbers as a frame: a column for each attribute of `form`."""
    found = [row.model_dump() | {"kind": row.kind.value} for row in rows]
    frame = pd.DataFrame(found, columns=list(form.model_fields))
    return frame.astype({name: "Int64" for name in ("shots", "classes") if name in frame})


def read_row(cells: Sequence[str], header: Sequence[str], form: type[Row], where: str) -> Row:
    """One row; an empty cell is a value that the source does not give."""
    if len(cells) != len(header):
        raise UserError(f"{where} has {len(cells)} cells instead of {len(header)}")
    given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    try:
        return form.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        shown = f"{name} '{given[name]}'" if name in given else name
        raise UserError(f"{where}: {shown}: {problem['msg'][:1].lower()}{problem['msg'][1:]}") from None


def is_backbone(ours: str, published: str) -> bool:
    """Whether a backbone of ours is the one that a paper means by its name.

    Papers write ViT-B/16 for the model with OpenAI's weights, whose activation is QuickGELU. A file that is named with
    such a model is taken for these weights.
    """
    model, _, source = ours.partition(":")
    right_weights = source in ("", OPENAI) or names_a_file(source)
    return model == f"{published.replace('/', '-')}{QUICK}" and right_weights


def kind_text(kind: str) -> str:
    """A kind as readers see it."""
    return {Kind.RERUN: "re-run", Kind.SECOND_HAND: "second hand"}.get(Kind(kind), str(kind))
