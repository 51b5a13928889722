"""Settings as plain data: reading, merging and validating them, with errors that name the nearest key."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UserError, nearest

Settings = dict[str, Any]
"""Nested settings as they stand in YAML: {"train": {"epochs": 10}}."""


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
        return f"unknown key '{key}'.{nearest(location[-1], known_keys(model, location[:-1]))}"
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    # A check over several keys has no location, and its message names them.
    return f"{key}={problem['input']!r}: {message}" if location else message


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
    """`key=value` pairs as nested settings; values are YAML.

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
    for form in (text, f"[{text}]") if "," in text else (text,):
        try:
            return yaml.safe_load(form)
        except yaml.YAMLError:
            continue
    raise UserError(f"'{pair}': the value is not valid YAML")


def nest(flat: Mapping[str, Any]) -> Settings:
    """Settings by dotted keys as nested settings: {"train.epochs": 3} -> {"train": {"epochs": 3}}."""
    settings: Settings = {}
    for key, value in flat.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        settings = merge(settings, value)
    return settings


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """Nested settings by dotted keys: {"train": {"epochs": 3}} -> {"train.epochs": 3}."""
    found: Settings = {}
    for key, value in settings.items():
        found.update(
            flat_settings(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
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
    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read: {error}") from error
    except yaml.YAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""  # type: ignore[attr-defined]
        raise UserError(f"'{path}'{line} is not valid YAML") from None
    if not isinstance(value, dict):
        raise UserError(f"'{path}' must hold keys and values, such as `method: skip`")
    return value
