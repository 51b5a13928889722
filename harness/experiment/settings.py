"""Settings as plain data: reading, merging and validating them, with errors that name the nearest key."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UserError, nearest
from harness.experiment.scalar_types import check_scalars, written
from harness.experiment.yaml_values import DEEPEST, parse_yaml, read_text

Settings = dict[str, Any]
"""Nested settings as they stand in YAML: {"train": {"epochs": 10}}."""

TYPE_IN_LOCATION = re.compile(r"constrained-\w+|int|float|bool|str|none|(literal|tuple|list|function)\W.*")
"""How pydantic names one of several types of a setting."""
TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false"}
"""Kind of a problem of pydantic -> the values of that type."""


class Section(BaseModel):
    """A part of a spec: no unknown keys, no changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validate(model: type[BaseModel], settings: Mapping[str, Any], where: str) -> Any:
    """Validate settings against a model.

    Args:
        model: a pydantic model.
        settings: plain data.
        where: what the settings are of, for the message; '' or ending in '.', such as `skip.`.

    Raises:
        UserError: the first thing that is wrong, with the nearest known key where a key is unknown.
    """
    check_scalars(model, settings, where)
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise UserError(explain(error, model, where)) from None


def explain(error: ValidationError, model: type[BaseModel], where: str = "") -> str:
    """The first problem of a validation error as one line."""
    problem = error.errors()[0]
    location = [str(part) for part in problem["loc"]]
    key = where + ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'.{key_hint(key, location, model)}"
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    place = within_sections(location, model)
    several = [item for item in error.errors() if within_sections(map(str, item["loc"]), model) == place]
    key = where + ".".join(place)
    # A check over several keys has no location, and its message names them.
    return f"{key}={written(problem['input'])}: {message_of(several)}" if place else message_of(several)


def within_sections(location: Iterable[str], model: type[BaseModel]) -> list[str]:
    """The part of a location that a user knows: behind a setting of several types pydantic names one of these."""
    found: list[str] = []
    for part in location:
        if TYPE_IN_LOCATION.fullmatch(part) and part not in known_keys(model, found):
            break
        found.append(part)
    return found


def message_of(problems: Sequence[Any]) -> str:
    """What is wrong with one setting, given a problem with each of its types."""
    # With the right type, only that one's problem is of interest.
    first = next((item for item in problems if type_needed(item) is None), problems[0])
    needed = [type_needed(item) for item in problems]
    if len(problems) > 1 and all(needed):
        return f"use {', or '.join(map(str, needed))}"
    if first["type"] == "tuple_type":
        return "a list is needed, in brackets"
    message = str(first["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def type_needed(problem: Any) -> str | None:
    """The values of the type that a value is not of; None if the type is not the problem."""
    if problem["type"] == "literal_error":
        return str(problem["ctx"]["expected"])
    kind, _, trouble = str(problem["type"]).partition("_")
    return TYPES.get(kind) if trouble in ("type", "parsing") else None


def key_hint(key: str, location: list[str], model: type[BaseModel]) -> str:
    """A hint that ends an error line about an unknown key: the nearest in its section, else what it means."""
    known = known_keys(model, location[:-1])
    hint = nearest(location[-1], known)
    section = key.partition(".")[0]
    if "." in key and not hint.startswith(" Did you mean"):
        # They need these functions, and a method's options take seconds to import.
        from harness.experiment.known_keys import meant_settings
        from harness.experiment.registry import method_names

        for methods in ([section] if section in method_names() else [], method_names()):
            if found := meant_settings(key, methods):
                return f" Did you mean {' or '.join(map(repr, found))}?"
    return hint


def known_keys(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """Keys that a model accepts at a path of sections; positions in a list of sections are numbers."""
    for part in path:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        inner = next(iter(get_args(annotation)), annotation)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def parse_overrides(pairs: Iterable[str]) -> Settings:
    """`key=value` pairs as nested settings; values are YAML, and of several for one key the last counts.

    Raises:
        UserError: a word that is no pair, or a value that is no YAML.
    """
    settings: Settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"'{pair}' is not of the form key=value, such as train.epochs=10")
        settings = merge(settings, nest({key: parse_value(pair, text)}))
    return settings


def parse_value(pair: str, text: str) -> Any:
    """A value as YAML, or as a YAML list without its brackets where only that is valid, such as `[1, 2], [3, 4]`."""

    def fault(_line: int, problem: str) -> UserError:
        return UserError(f"{pair}: {problem}")

    if not text.strip():
        raise UserError(f"{pair}: give a value, or {pair.strip()}null for none")
    try:
        return parse_yaml(text, fault)
    except UserError:
        if "," not in text:
            raise
    return parse_yaml(f"[{text}]", fault)


def nest(flat: Mapping[str, Any]) -> Settings:
    """Settings by dotted keys as nested settings: {"train.epochs": 3} -> {"train": {"epochs": 3}}.

    Raises:
        UserError: two of the keys give one setting, or a key has an empty part.
    """
    settings: Settings = {}
    leaves: set[str] = set()
    for key, value in flat.items():
        parts = key.split(".")
        if not all(parts) or len(parts) > DEEPEST:
            raise UserError(f"'{key}' is no key: write a section and a key in it, such as train.epochs")
        added = set(flat_settings({key: value}))
        if twice := sorted(added & leaves):
            raise UserError(f"'{twice[0]}' is given twice")
        leaves |= added
        for part in reversed(parts):
            value = {part: value}
        settings = merge(settings, value)
    return settings


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """Nested settings by dotted keys: {"train": {"epochs": 3}} -> {"train.epochs": 3}."""
    found: Settings = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found.update(flat_settings(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


def by_sections(settings: Any) -> Any:
    """Settings of a YAML file, whose keys may be dotted, as nested settings; anything but a mapping as it is.

    Raises:
        UserError: a key that is no text.
    """
    return nest(check_keys(settings)) if isinstance(settings, Mapping) else settings


def check_keys(settings: Mapping[Any, Any]) -> Mapping[str, Any]:
    """The settings, if all keys are texts.

    Raises:
        UserError: a key is none, as commas between braces make it: {depth: 2, 4} has the keys `depth` and 4.
    """
    for key, value in settings.items():
        if not isinstance(key, str):
            raise UserError(f"{key!r} is no key: between braces, several values need brackets: {{depth: [2, 4]}}")
        if isinstance(value, Mapping):
            check_keys(value)
    return settings


def merge(*layers: Mapping[str, Any]) -> Settings:
    """Nested settings, later layers over earlier ones, section by section."""
    result: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def read_yaml(path: Path) -> Settings:
    """Settings of a YAML file.

    Raises:
        UserError: missing, unreadable, or not a mapping.
    """

    def fault(line: int, problem: str) -> UserError:
        return UserError(f"'{path}' line {line}: {problem}")

    value = parse_yaml(read_text(path), fault)
    if not isinstance(value, dict):
        raise UserError(f"'{path}' must hold keys and values, such as `method: skip`")
    return value
