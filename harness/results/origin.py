"""What decided a result besides its spec, read from `result.json` without the rest of it."""

from contextlib import suppress
from typing import NamedTuple

from harness.clip.texts import OneOrMore
from harness.results.record import InputFile, Record, Result


class Origin(NamedTuple):
    """What decided a result besides its spec.

    Attributes:
        inputs: files that the spec does not name.
        templates: data set and prompt template of each evaluation.
        data_root: the folder of the data sets that the spec names; None if it names none.
    """

    inputs: tuple[InputFile, ...]
    templates: tuple[tuple[str, OneOrMore | None], ...]
    data_root: str | None


class _Runtime(Record):
    data_root: str | None = None


class _Spec(Record):
    runtime: _Runtime = _Runtime()


class _Evaluation(Record):
    dataset: str
    template: OneOrMore | None = None


class _Result(Record):
    id: str
    spec: _Spec
    evaluations: tuple[_Evaluation, ...]
    inputs: tuple[InputFile, ...] = ()


def origin_of(result: "Result | _Result") -> Origin:
    """What decided a result."""
    templates = tuple((item.dataset, item.template) for item in result.evaluations)
    return Origin(result.inputs, templates, result.spec.runtime.data_root)


def parse_origin(text: bytes, run_id: str) -> Origin | None:
    """What decided the result of a run, from a text that was legible when it was written; None if it is no longer."""
    with suppress(ValueError):
        found = _Result.model_validate_json(text)
        if found.id == run_id:
            return origin_of(found)
    return None
