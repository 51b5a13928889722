"""What methods are called in figures: Skip Tuning for `skip`, followed by whatever a label says beside the method."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from harness.experiment.cards import title_of
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.registry import method_names

Drawing = TypeVar("Drawing")
# Of a figure: its file, and how it is drawn; sentences, which name methods anywhere.
KEPT = ("name", "kind")
SENTENCES = ("note", "marks")
NO_LABELS: Mapping[str, str] = {}


def display_name(method: str) -> str:
    """The title of a method's card; its own name if it has none, or is unknown here."""
    return title_of(method) if method in method_names() else method


def with_protocols(title: str) -> str:
    """A title with protocols as papers call them: base-to-new for `base_to_new`."""
    return re.sub(r"\w+", lambda found: found[0].replace("_", "-") if found[0] in PROTOCOLS else found[0], title)


def shown_label(label: str, methods: Iterable[str]) -> str:
    """A label of runs with the display name in place of the method that it begins with.

    Args:
        label: a method, and what tells its runs apart: settings, a number, marks.
        methods: that there are.
    """
    known = sorted(methods, key=len, reverse=True)
    found = next((name for name in known if re.match(rf"{re.escape(name)}(?![\w.])", label)), None)
    return label if found is None else display_name(found) + label[len(found) :]


def with_display_names(figure: Drawing, methods: Iterable[str], labels: Mapping[str, str] = NO_LABELS) -> Drawing:
    """The same figure with display names wherever a label stands: in legends, on axes, above panels, in notes.

    Args:
        figure: a dataclass of whichever kind.
        methods: whose runs it shows.
        labels: name of a method or data set -> what is shown instead, wherever the name stands as a word of its own.
    """
    names = Names.of(methods, labels)
    own = {field.name: getattr(figure, field.name) for field in fields(figure)}  # type: ignore[arg-type]
    kept = {name: value for name, value in own.items() if name in KEPT}
    told = {name: _shown(value, names.of_sentences()) for name, value in own.items() if name in SENTENCES}
    titles = {name: with_protocols(_shown(value, names)) for name, value in own.items() if name == "title"}
    shown: Drawing = replace(_shown(figure, names), **kept, **told, **titles)
    return shown


@dataclass(frozen=True)
class Names:
    """Methods with the names of their cards, and names that a user gave."""

    methods: tuple[str, ...]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, methods: Iterable[str], labels: Mapping[str, str]) -> "Names":
        """Those of some methods; a name that a user gave goes before that of a card."""
        return cls(tuple(name for name in methods if name not in labels), labels)

    def of_sentences(self) -> "Names":
        """The same, where a name may stand anywhere in a text and not only at its beginning."""
        return Names((), {**{name: display_name(name) for name in self.methods}, **self.labels})

    def shown(self, text: str) -> str:
        """A text with the names to show."""
        text = shown_label(text, self.methods)
        known = "|".join(re.escape(name) for name in sorted(self.labels, key=len, reverse=True))
        return (
            re.sub(rf"(?<![\w.-])(?:{known})(?![\w.-])", lambda found: self.labels[found[0]], text) if known else text
        )


def _shown(value: Any, names: Names) -> Any:
    if isinstance(value, str):
        return names.shown(value)
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: _shown(getattr(value, field.name), names) for field in fields(value)}
        return replace(value, **found)
    if isinstance(value, tuple):
        return tuple(_shown(item, names) for item in value)
    if isinstance(value, Mapping):
        return {_shown(key, names): _shown(item, names) for key, item in value.items()}
    return value
