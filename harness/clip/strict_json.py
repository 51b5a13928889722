"""Reads JSON into records without converting a value or ignoring a key; a mistake is one line that names its key."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UserError, first_line, nearest

SHOWN = 40
MIB = 1 << 20


class Part(BaseModel):
    """An object of JSON: no value is converted, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


AnyPart = TypeVar("AnyPart", bound=Part)


def read_json(path: Path, where: str, expected: str, most: int = MIB) -> dict[str, Any]:
    """The object in a JSON file. Not more of the file is read than such a file can have.

    Args:
        path: the file.
        where: what it is, for messages.
        expected: what it should be, for messages.
        most: bytes; no file of a model's description is larger.

    Raises:
        UserError: it cannot be read, is larger, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or first_line(error)}") from None
    if len(content) > most:
        raise UserError(f"{where} is larger than {most // MIB} MiB, so it is not {expected}")
    return parse_json(content, where, expected)


def parse_json(content: bytes, where: str, expected: str) -> dict[str, Any]:
    """An object in JSON.

    Args:
        content: the file's.
        where: what it is, for the message.
        expected: what it should be, for the message.

    Raises:
        UserError: it is not JSON, holds a key twice or a number that JSON does not know, or is no object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
            raise ValueError(f"the key {shown(twice)} stands twice")
        return found

    def no_number(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        data = json.loads(content, object_pairs_hook=once, parse_constant=no_number)
    except RecursionError:
        raise UserError(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {first_line(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{where} is a {type(data).__name__}, not {expected}")
    return data


def check(part: type[AnyPart], data: dict[str, Any], where: str) -> AnyPart:
    """Validate a part of a configuration.

    Args:
        part: which.
        data: as JSON holds it.
        where: what it is, for the message.

    Raises:
        UserError: the first key that is wrong.
    """
    try:
        return part.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error, part, data)}") from None


def describe(error: ValidationError, part: type[Part], data: dict[str, Any]) -> str:
    """The first problem of a validation in one line: the key, what is wrong with it, and the nearest right one."""
    problems = error.errors(include_url=False, include_context=False)
    # In a union of types, each type complains; the part of the path that names a type is none of the file's keys.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return "it holds text that is no Unicode"
    path: list[str] = []
    inner: Any = data
    known: Any = part
    for step in first["loc"]:
        last = step == first["loc"][-1] and first["type"] in ("missing", "extra_forbidden")
        if not last and not (isinstance(inner, dict | list) and (isinstance(step, int) or step in inner)):
            break
        if last:
            known_names = list(known.model_fields) if known is not None else []
            hint = nearest(str(step), known_names) if first["type"] == "extra_forbidden" else ""
            key = shown(".".join([*path, str(step)]))
            return f"unknown key {key}.{hint}" if first["type"] == "extra_forbidden" else f"the key {key} is missing"
        path.append(str(step))
        inner = inner[step]
        # A place in a list holds the part that the list is of.
        if isinstance(step, str):
            field = known.model_fields.get(step) if known is not None else None
            known = part_of(field.annotation) if field else None
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = "" if first["type"] == "value_error" else f", not {shown(inner)}"
    # A check over several keys has no path, and its message names them.
    return f"{shown('.'.join(path))}: {message}{value}" if path else message


def part_of(annotation: Any) -> type[Part] | None:
    """The part of a configuration that a field holds, if it holds one."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next((kind for kind in options if isinstance(kind, type) and issubclass(kind, Part)), None)


def shown(value: object) -> str:
    """A value for a message: in one line, printable anywhere, and short."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
