"""What the cards of methods say, in words: all facts about one method, and footnotes about those of a table."""

from collections.abc import Callable, Iterable, Sequence

from harness.experiment.cards import CHECKED, KNOWLEDGE, SELECTION, MethodCard, card_of
from harness.experiment.registry import method_names

NO_CARD = "no card"
NO_CODE = "none for CLIP"
NOTHING = "nothing"
Places = Callable[[MethodCard, Sequence[str]], str]


def plain_places(card: MethodCard, places: Sequence[str]) -> str:
    """Places in official code as text: `main.py:47, main.py:170`."""
    del card
    return ", ".join(places)


def card_facts(card: MethodCard, written: Places = plain_places) -> dict[str, str]:
    """Name of a fact -> the fact in words, for every fact of a card but its display name.

    Args:
        card: of a method.
        written: how places in the official code are written.
    """

    def with_places(text: str, places: Sequence[str]) -> str:
        return f"{text.removesuffix('.')} ({written(card, places)})" if places else text

    chosen = card.official_selection
    preprint = f", arXiv {card.arxiv}" if card.arxiv and card.venue != "arXiv" else f" {card.arxiv or ''}".rstrip()
    return {
        "paper": f"{card.paper}. {card.venue} {card.year}{preprint}",
        "code": code_of(card),
        "trains": card.trains,
        "extra knowledge": ", ".join(KNOWLEDGE[name] for name in card.extra_knowledge) or "none",
        "official code selects on": with_places(
            f"{SELECTION[chosen.kind]}. {chosen.what}" if card.repository else chosen.what, chosen.where
        ),
        "set for single data sets": "; ".join(
            with_places(f"{item.setting}: {item.range}", item.where) for item in card.per_dataset_settings
        )
        or NOTHING,
        "ours": card.ours,
        "checked": CHECKED[card.checked],
    }


def known_card(name: str) -> MethodCard | None:
    """The card of a method; None also if results come from a method that is not here.

    Raises:
        UserError: the card cannot be read, or says something that no card can say.
    """
    return card_of(name) if name in method_names() else None


def card_line(name: str) -> str:
    """A method's card in one line, for its runs."""
    card = known_card(name)
    if card is None:
        return f"{name}: {NO_CARD}."
    extra = [KNOWLEDGE[item] for item in card.extra_knowledge]
    apart = [item.setting for item in card.per_dataset_settings]
    chosen = f" selects on {SELECTION[card.official_selection.kind]}" if card.repository else f": {NO_CODE}"
    parts = [f"{card.title} ({card.venue} {card.year}). Official code{chosen}"]
    parts += [f"sets for single data sets: {', '.join(apart)}"] if apart else []
    parts += [f"extra knowledge: {', '.join(extra)}"] if extra else []
    return f"{'; '.join(parts)}. Ours: {card.ours}"


def code_of(card: MethodCard) -> str:
    """The official repository with commit and licence, in words."""
    if card.repository is None:
        return NO_CODE
    return f"https://github.com/{card.repository} at {card.commit}, licence: {card.licence}"


def card_notes(names: Iterable[str]) -> list[str]:
    """Footnotes about the published code of the methods of a table, one sentence each.

    On what the official code chooses, where that is more than a few validation images; what it sets for single data
    sets; what it knows beside shots, class names and backbone; which methods have no card.

    Args:
        names: of methods; those that repeat count once.

    Raises:
        UserError: a card cannot be read, or says something that no card can say.
    """
    cards = {name: known_card(name) for name in dict.fromkeys(names)}
    known = [card for card in cards.values() if card]
    notes = []
    for kind in reversed(list(SELECTION)):
        chosen = [f"{card.title}{places_in(card)}" for card in known if card.official_selection.kind == kind]
        if chosen and kind != NOTHING:
            notes.append(f"Official code selects on {SELECTION[kind]}: {'; '.join(chosen)}.")
    apart = [
        f"{card.title}: {', '.join(item.setting for item in card.per_dataset_settings)}"
        for card in known
        if card.per_dataset_settings
    ]
    if apart:
        notes.append(f"Official code sets for single data sets: {'; '.join(apart)}.")
    knowing = [
        f"{card.title}: {', '.join(KNOWLEDGE[item] for item in card.extra_knowledge)}"
        for card in known
        if card.extra_knowledge
    ]
    if knowing:
        notes.append(f"As published, with extra knowledge: {'; '.join(knowing)}.")
    without = [name for name, card in cards.items() if card is None]
    if without:
        notes.append(f"No card: {', '.join(without)}.")
    return notes


def places_in(card: MethodCard) -> str:
    """Where official code selects, in brackets; empty if the card does not say."""
    places = plain_places(card, card.official_selection.where)
    return f" ({card.repository}@{card.commit}: {places})" if places else ""
