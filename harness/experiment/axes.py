"""Settings that are tried at several values: `skip.depth=0..12`, `classes=10,100,1000`."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from harness.errors import UserError

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
Knobs = dict[str, tuple[str, ...]]
"""Key -> the values it is tried at, as text."""


def split_knobs(words: Iterable[str]) -> tuple[list[str], Knobs]:
    """Words of the form key=value, and those among them whose value stands for several.

    A range `a..b` holds both ends. A list has commas; YAML that begins with a bracket, a brace or a quotation mark is
    one value.

    Raises:
        UserError: a range that is empty.
    """
    plain: list[str] = []
    knobs: Knobs = {}
    for word in words:
        key, _, text = word.partition("=")
        values = values_of(word, text)
        if len(values) > 1:
            knobs[key] = values
        else:
            plain.append(f"{key}={values[0]}" if values else word)
    return plain, knobs


def values_of(word: str, text: str) -> tuple[str, ...]:
    """The values that a text stands for; none where it stands for itself."""
    if match := RANGE.fullmatch(text):
        first, last = map(int, match.groups())
        if last < first:
            raise UserError(f"'{word}': a range goes up, such as {last}..{first}")
        return tuple(str(value) for value in range(first, last + 1))
    if "," in text and text[0] not in "[{\"'":
        return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    return ()


def combinations(knobs: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, str]]:
    """Every combination of the knobs' values."""
    for values in itertools.product(*knobs.values()):
        yield dict(zip(knobs, values, strict=True))
