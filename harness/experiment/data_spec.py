"""What a run trains on: the data set, the k-shot sample and its labels, the prompts, the augmentation."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from harness.clip.texts import MOST_OF_A_CLASS, OneOrMore
from harness.data.shots import FORM, LongTail, is_long_tail, parse_long_tail
from harness.data.templates import ENSEMBLES, OF_DATA_SETS
from harness.errors import nearest
from harness.experiment.axes import Word
from harness.experiment.descriptions import is_description_file
from harness.experiment.scalar_types import check_value
from harness.experiment.settings import Section
from harness.experiment.yaml_values import LARGEST

DRAWN, DASSL = "hash", "dassl"
"""How samples are drawn: usually, and by the official code."""


class DataSpec(Section):
    """What a run trains on."""

    dataset: str = Field("emoji", description="data set to train on; see `skipbench list`")
    classes: Word = Field("base", description="classes to train on: all, base, new, or halves of halves (base.new)")
    shots: int = Field(
        16,
        ge=1,
        description="training pictures a class; longtail:16..1 falls from 16 of the first class to 1 of the last",
    )
    index: str | None = Field(
        None,
        description="k-shot sample to use instead of drawing one: a file, a path with {dataset}, {shots} and {seed}, "
        "or a folder of samples; null: drawn",
    )
    sampling: Literal["hash", "dassl"] = Field(
        "hash",
        description="how the k-shot sample is drawn: hash, the same on every machine, or dassl, as official code",
    )
    sample_seed: int | None = Field(
        None, ge=0, le=LARGEST, description="seed of the k-shot sample and of label noise; null: that of the run"
    )
    label_noise: float = Field(
        0.0, ge=0, lt=1, description="share of the training labels that are replaced by another class, drawn uniformly"
    )
    skip_broken: bool = Field(False, description="leave out pictures that cannot be read, and count them")
    held_out: Word | None = Field(
        None, description="cross-validation: 1/4 holds the first of 4 parts of every class's shots out of training"
    )
    templates: OneOrMore = Field(
        "zeroshot",
        description="prompt templates: zeroshot, finetune (as the method's authors do), imagenet_7, imagenet_80, "
        "drawings, one with {}, a list of such, or a file of class descriptions (.json, .yaml)",
    )
    teacher_templates: OneOrMore | None = Field(
        None,
        description="prompt templates of the frozen CLIP that a method compares with, as for templates; null: those "
        "of the method's authors",
    )
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="area of training crops, as shares of the picture")
    flip: bool = Field(True, description="mirror half of the training pictures")
    decode: Literal["exact", "fast"] = Field(
        "exact",
        description="exact: pixels as Pillow and the official codes have them; fast: JPEGs are decoded no larger than "
        "needed and resized by torch, other pixels",
    )
    # The other half of `shots`, which is the most of a class: whatever asks for a number of shots gets that.
    _long_tail: LongTail | None = PrivateAttr(None)

    @property
    def long_tail(self) -> LongTail | None:
        """How shots fall over the classes; None: every class has as many."""
        return self._long_tail

    @property
    def fewest_shots(self) -> int:
        """Training pictures of the class with the fewest."""
        return self._long_tail.fewest if self._long_tail else self.shots

    @property
    def shots_text(self) -> str:
        """The shots as they are written, such as 16 or longtail:16..1."""
        return str(self._long_tail or self.shots)

    @model_validator(mode="wrap")
    @classmethod
    def _reads_long_tail(cls, value: Any, handler: ModelWrapValidatorHandler["DataSpec"]) -> "DataSpec":
        tail = None
        if isinstance(value, Mapping) and is_long_tail(value.get("shots")):
            tail = parse_long_tail(value["shots"])
            value = {**value, "shots": tail.most}
            if value.get("index"):
                raise ValueError(f"data.index gives the sample, so that data.shots={tail} cannot be drawn: give one")
            if value.get("sampling") == DASSL:
                raise ValueError(f"data.sampling={DASSL} draws as many of each class, not data.shots={tail}: give one")
        found = handler(value)
        if tail:
            found._long_tail = tail
        return found

    @field_validator("shots", mode="before")
    @classmethod
    def _valid_shots(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.isdigit():
            raise ValueError(f"use a whole number, or {FORM}")
        check_value(int, value, "data.shots")
        return value

    @field_serializer("shots")
    def _as_written(self, value: int) -> int | str:
        return str(self._long_tail) if self._long_tail else value

    @field_validator("templates", "teacher_templates", mode="before")
    @classmethod
    def _known_templates(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name == "teacher_templates":
            return None
        names = (*OF_DATA_SETS, *ENSEMBLES)
        items = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(item, str) for item in items):
            raise ValueError("a text or a list of texts is needed, put numbers in quotes")
        if len(items) == 1:
            item = items[0]
            if item not in names and "{}" not in item and not is_description_file(item):
                also = "a template with {} for the class name, a list of such, or a file of descriptions (.json, .yaml)"
                raise ValueError(f"use {', '.join(names)}, {also}.{nearest(item, names).partition(' Known:')[0]}")
            return item
        if not 1 < len(items) <= MOST_OF_A_CLASS:
            raise ValueError(f"give between 1 and {MOST_OF_A_CLASS} templates")
        for item in items:
            if "{}" not in item:
                several = ",".join(f"[{word}]" for word in items)
                also = f"; for several runs write [{several}]" if item in names or is_description_file(item) else ""
                raise ValueError(f"{item!r} is no template with {{}}, and a list is an ensemble of templates{also}")
        return tuple(items)

    @field_validator("held_out")
    @classmethod
    def _valid_part(cls, value: str | None) -> str | None:
        if value is not None:
            part, _, parts = value.partition("/")
            if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts) and int(parts) > 1):
                raise ValueError("use PART/PARTS, such as 1/4")
        return value

    @field_validator("crop_scale")
    @classmethod
    def _valid_scale(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError("give two numbers, 0 < smallest <= largest <= 1")
        return value
