"""Numbers, truth values and texts keep the type that they are written in: true is no number, and 2.0 no whole one."""

import json
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from harness.errors import UserError
from harness.experiment.yaml_values import FRACTION, WHOLE

LONGEST = 60
"""Longer values are cut in messages."""


def written(value: Any) -> str:
    """A value for a message: as in YAML, but texts in quotes; cut if it is long."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def check_scalars(model: type[BaseModel], settings: Any, where: str) -> None:
    """Check the types of the scalars in settings; everything else is left to the model.

    Args:
        model: their model.
        settings: plain data.
        where: what the settings are of, for the message; '' or ending in '.', such as `skip.`.

    Raises:
        UserError: a number, truth value or list item has another type than it is written in.
    """
    if not isinstance(settings, Mapping):
        return
    # What a model reads in its own way, such as 30m for a time, it checks itself.
    own = {
        name
        for decorator in model.__pydantic_decorators__.field_validators.values()
        if decorator.info.mode == "before"
        for name in decorator.info.fields
    }
    for name, info in model.model_fields.items():
        for key in {name, info.alias or name} & settings.keys():
            if name not in own:
                check_value(info.annotation, settings[key], f"{where}{key}")


def check_value(annotation: Any, value: Any, key: str) -> None:
    """Check a value against the type of its setting; arguments and errors as `check_scalars`."""
    if problem := problem_with(annotation, value, key):
        raise UserError(f"{key}={written(value)}: {problem}")


def problem_with(annotation: Any, value: Any, key: str) -> str | None:
    """What is wrong with a value, or with one in it; None if nothing is."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return problem_with(inner[0], value, key)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        problems = [problem_with(part, value, key) for part in inner if part is not type(None)]
        return problems[0] if all(problems) else None
    if origin in (tuple, list, set, frozenset) and isinstance(value, list | tuple):
        check_items(inner, value, key)
    elif origin is dict and isinstance(value, Mapping):
        for name, item in value.items():
            check_value(inner[1], item, f"{key}.{name}")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        check_scalars(annotation, value, f"{key}.")
    return problem_with_scalar(annotation, value)


def check_items(inner: Sequence[Any], values: Sequence[Any], key: str) -> None:
    """Check the items of a list against their types; arguments and errors as `check_scalars`."""
    kinds = [*inner[:1]] * len(values) if len(inner) != len(values) or Ellipsis in inner else inner
    for place, (kind, item) in enumerate(zip(kinds, values, strict=False)):
        check_value(kind, item, f"{key}.{place}")


def problem_with_scalar(kind: Any, value: Any) -> str | None:
    """What is wrong with a value for a simple type; None for all other types."""
    if kind is bool:
        return None if isinstance(value, bool) else "write true or false"
    if kind is int:
        if isinstance(value, float) and value.is_integer():
            return f"a whole number is needed, write {value:.0f}"
        fine = isinstance(value, int) or (isinstance(value, str) and WHOLE.fullmatch(value))
        return None if fine and not isinstance(value, bool) else "a whole number is needed"
    if kind is float:
        fine = isinstance(value, int | float) or (isinstance(value, str) and FRACTION.fullmatch(value))
        return None if fine and not isinstance(value, bool) else "a number is needed"
    if kind is str and isinstance(value, bool | int | float):
        return "a text is needed, put it in quotes"
    return None
