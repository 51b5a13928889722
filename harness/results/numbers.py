"""Numbers that may stand in files of results: finite, and in the range of what they count or measure."""

import json
from typing import Annotated, Any

from pydantic import Field

LARGEST = 2**63 - 1

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1 + 1e-6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
"""Seconds, learning rates, operations."""
Number = (
    Annotated[int, Field(ge=-LARGEST, le=LARGEST)] | Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
)


def check_json(text: str | bytes) -> None:
    """Raise a ValueError if a JSON text has a key twice in one object, or a number that is none."""
    read_json(text)


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, has a key twice in one object, or a number that is none.
    """
    return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_number)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' stands there twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
