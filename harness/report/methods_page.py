"""The part of docs/methods.md that lists the methods: their cards and their options, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

import methods
from harness.errors import UserError
from harness.experiment.axes import text_of
from harness.experiment.cards import KNOWLEDGE, SELECTION, MethodCard, card_of, card_path
from harness.experiment.recipes import recipe_variants
from harness.experiment.registry import method_class, method_names
from harness.report.card_notes import NO_CARD, NO_CODE, card_facts

BEGIN = "<!-- From here on written by `make docs`, from the cards and classes in methods/. -->"
END = "<!-- To here. -->"
GITHUB = "https://github.com"
ARXIV = "https://arxiv.org/abs"
# More than a few validation images.
EMPHASISED = ("test", "all_validation")


def with_methods(page: str) -> str:
    """The page with its list of methods as it is now; what stands around it is kept.

    Args:
        page: with the lines `BEGIN` and `END`.

    Raises:
        UserError: the page lacks one of these lines, or a method's file or card cannot be read.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"the page has no lines '{BEGIN}' and '{END}': the list of methods is written between them")
    parts = [overview(), *(section(name) for name in project_methods())]
    return before + begin + "\n\n" + "\n\n".join(parts) + "\n\n" + end + after


def project_methods() -> list[str]:
    """Names of the methods that come with the project, whatever SKIPBENCH_METHODS adds."""
    folder = Path(methods.__file__ or "").parent
    return [name for name in method_names() if card_path(name).parent == folder]


def overview() -> str:
    """A table of all methods."""
    rows = ["| method | name | published | official code selects on | set for single data sets | extra knowledge |"]
    rows.append("|---|---|---|---|---|---|")
    for name in project_methods():
        card = card_of(name)
        cells = [NO_CARD, "", "", "", ""] if card is None else cells_of(card)
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def cells_of(card: MethodCard) -> list[str]:
    """The cells of a method in the overview."""
    return [
        f"[{card.title}](#{anchor(card.title)})",
        f"{card.venue} {card.year}",
        selects_on(card),
        ", ".join(item.setting for item in card.per_dataset_settings) or "nothing",
        ", ".join(KNOWLEDGE[item] for item in card.extra_knowledge) or "none",
    ]


def selects_on(card: MethodCard) -> str:
    """The images on which official code chooses, for a cell."""
    kind = card.official_selection.kind
    text = SELECTION[kind] if card.repository else NO_CODE
    return f"**{text}**" if kind in EMPHASISED else text


def anchor(title: str) -> str:
    """The anchor that a forge makes of a heading."""
    kept = "".join(character for character in title.lower() if character.isalnum() or character in " -_")
    return kept.replace(" ", "-")


def section(name: str) -> str:
    """All facts about one method, and its options."""
    card = card_of(name)
    recipes = ", ".join(f"`{recipe}`" for recipe in recipe_variants(name))
    lines = [f"### {card.title if card else name}", "", f"`{name}`, recipes {recipes or 'none'}."]
    if card:
        facts = {**card_facts(card, linked_places), "paper": linked_paper(card), "code": linked_code(card)}
        lines += ["", *(f"- **{fact[:1].upper()}{fact[1:]}:** {text}" for fact, text in facts.items())]
    if options := options_of(name):
        lines += ["", "| option | default | what it is |", "|---|---|---|", *options]
    return "\n".join(lines)


def options_of(name: str) -> list[str]:
    """A row of a table for each option of a method."""
    rows = []
    for field, info in method_class(name).Config.model_fields.items():
        default = text_of(info.get_default(call_default_factory=True))
        rows.append(f"| `{name}.{info.alias or field}` | `{default}` | {in_cell(info.description or '')} |")
    return rows


def in_cell(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|")


def linked_paper(card: MethodCard) -> str:
    """The paper with a link to the preprint."""
    title = f"[{card.paper}]({ARXIV}/{card.arxiv})" if card.arxiv else card.paper
    return f"{title}, {card.venue} {card.year}"


def linked_code(card: MethodCard) -> str:
    """The official repository with a link to its commit."""
    if card.repository is None:
        return NO_CODE
    link = f"{GITHUB}/{card.repository}/tree/{card.commit}"
    return f"[{card.repository}@{card.commit}]({link}), licence: {card.licence}"


def linked_places(card: MethodCard, places: Sequence[str]) -> str:
    """Places in official code with links to their lines."""
    return ", ".join(linked_place(card, place) for place in places)


def linked_place(card: MethodCard, place: str) -> str:
    """A place with a link to its lines."""
    *other, file, lines = place.split(":")
    repository, _, commit = other[0].partition("@") if other else (card.repository or "", "", card.commit or "")
    first, _, last = lines.partition("-")
    shown = f"{repository}: {file}:{lines}" if other else f"{file}:{lines}"
    return f"[{shown}]({GITHUB}/{repository}/blob/{commit}/{file}#L{first}{f'-L{last}' if last else ''})"
