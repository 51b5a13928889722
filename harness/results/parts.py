"""Parts of a result: what a run chose on which images, and what it could not be evaluated on."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.results.numbers import Count, Number, Percent

Pictures = Literal["val", "test"]


class Record(BaseModel):
    """A part of a record: immutable, keys of other versions ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Selection(Record):
    """What a run chose by accuracy within itself; all candidates with their accuracies are in `selection.json`.

    Attributes:
        chosen: name of a number -> what `Method.search` chose; empty if the method chooses nothing.
        accuracy: of what was chosen, in percent, on the images of the choice; None if nothing was measured.
        candidates: number of candidates that were tried.
        pictures: what the candidates were tried on.
        images: number of images that choices on validation images were made on, or test images if there are no others.
        shots: of them a class, as `select.shots` says it: a number, shots, all; None: at most 4.
        epoch: 0, 1, ... that was kept by its accuracy; None: the last one was kept without a choice.
        epoch_pictures: what the epochs were judged on.
        epoch_accuracy: of the kept epoch, in percent, on the images of that choice.
    """

    chosen: dict[str, Number] = Field(default_factory=dict)
    accuracy: Percent | None = None
    candidates: Count = 0
    pictures: Pictures = "val"
    images: Count = 0
    shots: Count | Literal["shots", "all"] | None = None
    epoch: Count | None = None
    epoch_pictures: Pictures = "val"
    epoch_accuracy: Percent | None = None


class Refusal(Record):
    """An evaluation of the spec that the method cannot take part in.

    Attributes:
        evaluation: its name, such as new.
        reason: why not, in words.
    """

    evaluation: str
    reason: str
