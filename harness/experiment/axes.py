"""Axes: settings that are tried at several values, such as `skip.depth=0..12` or `train.precision=fp32,bf16`.

One grammar for the command line, experiment files and the search spaces of sweeps; `docs/experiments.md` describes it.
What a written value stands for depends on the type of the setting, so that free text with commas stays one value.
"""

import itertools
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.errors import UserError
from harness.experiment.settings import Settings, flat_settings
from harness.experiment.yaml_values import parse_yaml, plain_value

MOST_VALUES = 10_000
"""A range with more values is taken for a mistake."""

NO_VALUE = "–"
"""Stands in tables for the value of a setting that a method does not have."""

BLOCKS = "blocks"
NUMBER = r"-?(?:0|[1-9]\d{0,17})(?:\.\d+)?(?:[eE][-+]?\d{1,2})?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER}|{BLOCKS})(?:\.\.({NUMBER}))?")
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
NO_COMMA = "no comma"
Word = Annotated[str, NO_COMMA]
"""The type of a setting that is a text in which a comma cannot occur, such as a name."""

Blocks = Callable[[], int | None]
"""The number of blocks of the backbone; None where it is not known."""


class Kind(Enum):
    """What the type of a setting makes of a written value."""

    NUMBER = "ranges, comma lists and YAML lists are several values"
    WORD = "comma lists and YAML lists are several values"
    TEXT = "free text, which may hold commas: only a YAML list is several values"
    TEXTS = "free text or a YAML list of texts is one value, a YAML list that holds lists is several"
    LIST = "a YAML list is one value, a YAML list of lists is several"
    WHOLE = "always one value"


@dataclass(frozen=True)
class Range:
    """Evenly spaced numbers, both ends included if the step meets the last one.

    Attributes:
        first: the first number.
        last: the bound.
        step: their distance.
    """

    first: int | float
    last: int | float
    step: int | float

    def values(self) -> tuple[int | float, ...]:
        """All numbers."""
        # Half a billionth of a step makes up for rounding, so that 0..0.3..0.1 holds 0.3.
        count = int((self.last - self.first) / self.step + 1e-9) + 1
        numbers = (self.first + index * self.step for index in range(count))
        return tuple(number if isinstance(number, int) else round(number, 12) for number in numbers)


def kind_of(annotation: Any, metadata: Sequence[Any] = ()) -> Kind:
    """The kind of a setting by its type."""
    atoms = list(atoms_of(annotation, NO_COMMA in metadata))
    if any(atom in (list, tuple, set, frozenset) for atom in atoms):
        return Kind.TEXTS if str in atoms else Kind.LIST
    if any(atom not in (int, float, bool, str, NO_COMMA, Literal, type(None)) for atom in atoms):
        return Kind.WHOLE
    if str in atoms:
        return Kind.TEXT
    return Kind.NUMBER if bool not in atoms and (int in atoms or float in atoms) else Kind.WORD


def atoms_of(annotation: Any, is_word: bool = False) -> Iterator[Any]:
    """The simple types that an annotation is made of; text without commas as NO_COMMA."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        yield from atoms_of(inner, NO_COMMA in metadata)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from atoms_of(part, is_word)
    else:
        atom = origin or annotation
        yield NO_COMMA if atom is str and is_word else atom


def kind_at(model: type[BaseModel], path: Sequence[str]) -> Kind | None:
    """The kind of the setting at a path of sections; None if there is no such setting."""
    name, *rest = path
    for field, info in model.model_fields.items():
        if name == (info.alias or field):
            if not rest:
                return kind_of(info.annotation, info.metadata)
            sections = [atom for atom in atoms_of(info.annotation) if is_section(atom)]
            return kind_at(sections[0], rest) if sections else None
    return None


def is_section(atom: Any) -> bool:
    """Whether a type is a section of settings."""
    return isinstance(atom, type) and issubclass(atom, BaseModel)


def values_of(key: str, written: Any, kind: Kind, blocks: Blocks = lambda: None) -> tuple[Any, ...]:
    """The values that a written value stands for, each once, in the order in which they are written.

    Args:
        key: the setting, for messages.
        written: what stands on the command line or in YAML, after YAML was read.
        kind: of the setting.
        blocks: what `blocks` means as the end of a range.

    Raises:
        UserError: an empty list or range, or a text that is neither.
    """
    if kind is Kind.WHOLE:
        return (written,)
    if kind is Kind.LIST:
        if isinstance(written, str) and "," in written:
            raise UserError(f"'{key}' is a list: write it in brackets, {key}=[{written}]")
        several = isinstance(written, list) and bool(written) and all(isinstance(item, list) for item in written)
        found = list(written) if several else [written]
    elif kind is Kind.TEXTS:
        several = isinstance(written, list) and any(isinstance(item, list) for item in written)
        found = list(written) if several else [written]
    elif isinstance(written, Sequence) and not isinstance(written, str):
        found = list(written)
    elif isinstance(written, str) and "," in written and kind is not Kind.TEXT:
        found = split(key, written)
    else:
        found = [written]
    if kind in (Kind.NUMBER, Kind.WORD):
        found = [value for item in found for value in expand_item(key, item, kind, blocks)]
    if not found:
        raise UserError(f"{key}=[]: give at least one value")
    return tuple({repr(value): value for value in found}.values())


def split(key: str, text: str) -> list[Any]:
    """The items of a comma list: a YAML list without its brackets."""

    def fault(_line: int, problem: str) -> UserError:
        is_list = not problem.startswith("not valid YAML")
        return UserError(f"{key}={text}: {problem if is_list else f'this is no list of values, such as {key}=A,B'}")

    return list(parse_yaml(f"[{text}]", fault))


def expand_item(key: str, item: Any, kind: Kind, blocks: Blocks) -> Sequence[Any]:
    """The values of one item of a list: those of a range, or itself."""
    if kind is Kind.NUMBER and isinstance(item, str):
        if ".." in item:
            return parse_range(key, item, blocks).values()
        try:
            item = plain_value(item.strip())
        except ValueError as error:
            raise UserError(f"{key}: {error}") from None
    if kind is Kind.NUMBER and isinstance(item, bool):
        raise UserError(f"{key}={json.dumps(item)}: a number is needed")
    return (item,)


def to_number(item: Any) -> Any:
    """A number for a text such as 1e-3, which YAML 1.1 does not take for one; anything else as it is."""
    return float(item) if isinstance(item, str) and EXPONENT.fullmatch(item) else item


def parse_range(key: str, text: str, blocks: Blocks = lambda: None) -> Range:
    """A range FIRST..LAST or FIRST..LAST..STEP.

    Raises:
        UserError: another form, or a range without values.
    """
    match = RANGE.fullmatch(text.strip())
    if not match:
        raise UserError(f"{key}={text}: a range is FIRST..LAST or FIRST..LAST..STEP, such as 0..12 or 0..1..0.25")
    first = number(match[1])
    last = known_blocks(key, text, blocks) if match[2] == BLOCKS else number(match[2])
    if match[3] is None and not (isinstance(first, int) and isinstance(last, int)):
        raise UserError(f"{key}={text}: a range of fractions needs a step, such as {first}..{last}..0.1")
    step = number(match[3] or "1")
    if step <= 0:
        raise UserError(f"{key}={text}: the step of a range must be above 0")
    if last < first:
        raise UserError(f"{key}={text}: the range is empty: write the smaller number first, such as {last}..{first}")
    if (last - first) / step >= MOST_VALUES:
        raise UserError(f"{key}={text}: the range has {int((last - first) / step) + 1:,} values: use a larger step")
    return Range(first, last, step)


def number(text: str) -> int | float:
    """A number: whole where it is written so."""
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def known_blocks(key: str, text: str, blocks: Blocks) -> int:
    """The number of blocks of the backbone.

    Raises:
        UserError: it is not known before the weights are read.
    """
    found = blocks()
    if found is None:
        raise UserError(f"{key}={text}: how many blocks this backbone has is not known: write the number")
    return found


def read_axes(
    settings: Settings, kind: Callable[[str], Kind | None], blocks: Blocks = lambda: None
) -> dict[str, tuple[Any, ...]]:
    """Settings by their dotted keys -> the values that each stands for; unknown keys are left out.

    Args:
        settings: nested settings as they are written.
        kind: gives the kind of a setting by its dotted key; None for an unknown setting.
        blocks: what `blocks` means as the end of a range.
    """
    found = {}
    for key, written in flat_settings(settings).items():
        known = kind(key)
        if known is not None:
            found[key] = values_of(key, written, known, blocks)
    return found


def points(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of values; the last axis changes fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def text_of(value: Any) -> str:
    """A value as it may be written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)
