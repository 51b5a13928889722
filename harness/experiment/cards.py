"""Cards of methods: what each is, who published it, and what its official code chooses its settings on.

A card is a YAML file beside the method: `methods/<name>.yaml`. Nothing is registered. A method outside the project may
have one beside its file, too; without one it works all the same.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

import methods
from harness.clip.strict_json import Part, check
from harness.experiment.registry import check_method
from harness.experiment.settings import read_yaml

Knowledge = Literal["llm_texts", "teacher_model", "unlabelled_images", "new_class_images"]
"""What a method uses beside the shots, the class names and its backbone. The untouched backbone is no teacher model."""
SelectionKind = Literal["nothing", "few_shot_validation", "all_validation", "test"]
"""The images on which official code chooses settings or an epoch; the last of them that applies to any data set."""
Checked = Literal["code", "paper", "remembered"]
"""How the facts of a card are known: read in the code, read in the paper, or neither."""

KNOWLEDGE: Mapping[str, str] = {
    "llm_texts": "texts of a language model",
    "teacher_model": "another model as a teacher",
    "unlabelled_images": "unlabelled images",
    "new_class_images": "images of new classes",
}
"""Name of extra knowledge -> the same in words."""
SELECTION: Mapping[str, str] = {
    "nothing": "nothing",
    "few_shot_validation": "as few validation images as there are shots",
    "all_validation": "all validation images",
    "test": "test images",
}
"""Kind of selection -> the same in words."""
CHECKED: Mapping[str, str] = {
    "code": "read in the code",
    "paper": "read in the paper, not in code",
    "remembered": "remembered: neither code nor paper was read again",
}
"""How facts are known -> the same in words."""
NO_LICENCE = "none"

COMMIT = re.compile(r"[0-9a-f]{7,40}")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
ARXIV = re.compile(r"\d{4}\.\d{4,5}")
# Of another repository than the card's: owner/name@commit:file:lines.
PLACE = re.compile(r"(?:[\w.-]+/[\w.-]+@[0-9a-f]{7,40}:)?[^\s:]+:\d+(?:-\d+)?")


def matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    """A validator: the whole text matches a pattern."""

    def validated(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"'{text}' is {what}")
        return text

    return AfterValidator(validated)


Words = Annotated[str, Field(min_length=1), matching(re.compile(r"\S(?:.*\S)?"), "empty, or more than one line")]
Place = Annotated[str, matching(PLACE, "no place: write FILE:LINE or FILE:FIRST-LAST")]


class Selection(Part):
    """What the official code chooses settings on.

    Attributes:
        kind: the images.
        what: what is chosen on them, a sentence.
        where: places in the official repository, `file:line` each.
    """

    kind: SelectionKind
    what: Words
    where: tuple[Place, ...] = ()


class DatasetSetting(Part):
    """A setting that the official code does not keep the same for all data sets.

    Attributes:
        setting: what it is.
        range: its values, and for which data sets.
        where: places in the official repository, `file:line` each.
    """

    setting: Words
    range: Words
    where: tuple[Place, ...] = ()


class MethodCard(Part):
    """The facts about a method.

    Attributes:
        title: its display name.
        paper: title of the paper.
        year: of the venue, or of the first version of a preprint.
        venue: where it was published.
        arxiv: number of the preprint; None if there is none.
        repository: the official one at GitHub, owner/name; None if the authors published no code for CLIP.
        commit: of the repository, that the places of this card refer to.
        licence: of the repository, or "none".
        trains: what it trains, a sentence.
        extra_knowledge: what it uses beside shots, class names and backbone.
        official_selection: what the official code chooses settings on.
        per_dataset_settings: what the official code sets for single data sets.
        ours: what our recipes do about both, one or two sentences.
        checked: how the facts are known.
    """

    title: Words
    paper: Words
    year: int = Field(ge=2015, le=2100)
    venue: Words
    arxiv: Annotated[str, matching(ARXIV, "no number of arXiv, such as '2412.11509'")] | None
    repository: Annotated[str, matching(REPOSITORY, "no repository: write owner/name")] | None
    commit: Annotated[str, matching(COMMIT, "no commit: write its first 7 to 40 digits in quotes")] | None
    licence: Words
    trains: Words
    extra_knowledge: tuple[Knowledge, ...]
    official_selection: Selection
    per_dataset_settings: tuple[DatasetSetting, ...]
    ours: Words
    checked: Checked

    @model_validator(mode="after")
    def _says_where(self) -> "MethodCard":
        if (self.repository is None) != (self.commit is None):
            raise ValueError("repository and commit belong together: give both, or null for both")
        places = [self.official_selection.where, *(item.where for item in self.per_dataset_settings)]
        if self.checked == "code" and (self.repository is None or not all(places)):
            raise ValueError("checked: code needs a repository, and FILE:LINE in every 'where'; else write paper")
        return self


def card_of(method: str) -> MethodCard | None:
    """The card of a method; None for a method outside the project that has none.

    Raises:
        UserError: no such method; or its card cannot be read, or says something that no card can say.
    """
    path = card_path(check_method(method))
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


def title_of(method: str) -> str:
    """The display name of a method: its card's title, or its own name."""
    card = card_of(method)
    return card.title if card else method


def card_path(method: str) -> Path:
    """Where the card of a method is, or would be: beside the file that is imported as the method."""
    folders = [Path(folder) for folder in methods.__path__]
    return next((folder for folder in folders if (folder / f"{method}.py").is_file()), folders[0]) / f"{method}.yaml"


@cache
def _read(path: Path, _changed: int) -> MethodCard:
    return check(MethodCard, read_yaml(path), f"'{path}'")
