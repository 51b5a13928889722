"""What methods are called in figures: Skip Tuning for `skip`, followed by whatever a label says beside the method."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from harness.experiment.cards import title_of
from harness.experiment.registry import method_names

Drawing = TypeVar("Drawing")
# Of a figure: its file, and how it is drawn.
KEPT = ("name", "kind")


def display_name(method: str) -> str:
    """The title of a method's card; its own name if it has none, or is unknown here."""
    return title_of(method) if method in method_names() else method


def shown_label(label: str, methods: Iterable[str]) -> str:
    """A label of runs with the display name in place of the method that it begins with.

    Args:
        label: a method, and what tells its runs apart: settings, a number, marks.
        methods: that there are.
    """
    known = sorted(methods, key=len, reverse=True)
    found = next((name for name in known if re.match(rf"{re.escape(name)}(?![\w.])", label)), None)
    return label if found is None else display_name(found) + label[len(found) :]


def with_display_names(figure: Drawing, methods: Iterable[str]) -> Drawing:
    """The same figure with display names wherever a label stands: in legends, on axes, above panels.

    Args:
        figure: a dataclass of whichever kind.
        methods: whose runs it shows.
    """
    names = tuple(methods)
    kept = {field.name: getattr(figure, field.name) for field in fields(figure) if field.name in KEPT}  # type: ignore[arg-type]
    shown: Drawing = replace(_shown(figure, names), **kept)
    return shown


def _shown(value: Any, methods: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return shown_label(value, methods)
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: _shown(getattr(value, field.name), methods) for field in fields(value)}
        return replace(value, **found)
    if isinstance(value, tuple):
        return tuple(_shown(item, methods) for item in value)
    if isinstance(value, Mapping):
        return {_shown(key, methods): _shown(item, methods) for key, item in value.items()}
    return value
