"""What a reader must know of the methods of a board, from their cards and from why runs are in their tracks."""

from dataclasses import dataclass

import pandas as pd

from harness.errors import UserError
from harness.experiment.cards import CHECKED, KNOWLEDGE, SELECTION, MethodCard, card_of
from harness.results.folder import DONE

UNREMARKABLE = "nothing"


@dataclass(frozen=True)
class MethodFacts:
    """One method of a board.

    Attributes:
        method: its name.
        card: of it; None if it has none, or is no method of this installation.
        notes: what a reader must know before comparing it, one sentence each; empty for most.
    """

    method: str
    card: MethodCard | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its display name with year and venue."""
        return f"{self.card.title} ({self.card.venue} {self.card.year})" if self.card else self.method


def facts_of(methods: list[str]) -> list[MethodFacts]:
    """The facts about some methods, in their order."""
    return [MethodFacts(method, card, tuple(notes_of(card))) for method in methods for card in [card_if_any(method)]]


def card_if_any(method: str) -> MethodCard | None:
    """The card of a method; None if it has none, or is unknown here, as in a file of others."""
    try:
        return card_of(method)
    except UserError:
        return None


def notes_of(card: MethodCard | None) -> list[str]:
    """What the published numbers of a method were chosen on, and what it knows beside the shots."""
    if card is None:
        return ["No card: nothing is known of how its settings were chosen."]
    notes = []
    if card.extra_knowledge:
        notes.append(f"Knows beside the shots: {', '.join(KNOWLEDGE[name] for name in card.extra_knowledge)}.")
    selection = card.official_selection
    if selection.kind != UNREMARKABLE:
        where = f" ({'; '.join(selection.where)})" if selection.where else ""
        notes.append(f"The official code chooses on {SELECTION[selection.kind]}: {selection.what}{where}")
    for item in card.per_dataset_settings:
        notes.append(f"The official code sets {item.setting} by data set: {item.range}.")
    if notes:
        notes += [f"Ours: {card.ours}", f"Checked: {CHECKED[card.checked]}."]
    return notes


def reasons(runs: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(protocol and track, methods, why they are not in a cleaner one), for runs of which that is known."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    done = runs[runs["state"] == DONE]
    cells = zip(done["protocol"], done["track"], done["label"], done["track_reasons"], strict=True)
    for protocol, track, label, several in cells:
        for reason in several:
            found.setdefault((f"{protocol}, {track}", str(reason)), {})[str(label)] = None
    return [(place, ", ".join(labels), why) for (place, why), labels in found.items()]
