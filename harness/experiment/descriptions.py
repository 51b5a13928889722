"""Files of class descriptions: the prompts of each class, such as sentences that a language model wrote.

JSON or YAML of the form `{"class name": ["sentence", ...]}`, in which the CuPL project publishes its sentences.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from harness.clip.texts import MOST_OF_A_CLASS
from harness.data.text_files import MOST_NAME, UNREADABLE, parse_json, read_text, short, why_unreadable
from harness.errors import UserError, nearest
from harness.experiment.yaml_values import parse_yaml
from harness.text import counted

ENDINGS = (".json", ".yaml", ".yml")
MOST_BYTES = 32 << 20
"""Bytes of the largest file that is read: 1000 classes with 50 sentences each take about 5 MiB."""
FORM = '{"class name": ["sentence", ...]}'


def is_description_file(templates: Any) -> bool:
    """Whether what `data.templates` names is a file of descriptions."""
    return isinstance(templates, str) and templates.lower().endswith(ENDINGS) and "{}" not in templates


@dataclass(frozen=True)
class Descriptions:
    """What a file says of classes.

    Attributes:
        path: of the file.
        by_class: name of a class, as the file has it -> its sentences.
    """

    path: Path
    by_class: dict[str, tuple[str, ...]]

    @property
    def has_several(self) -> bool:
        """Whether a class has more than one sentence."""
        return any(len(sentences) > 1 for sentences in self.by_class.values())

    def of_classes(self, class_names: Sequence[str]) -> list[tuple[str, ...]]:
        """The sentences of some classes, whose names may differ in case, underscores, hyphens and spaces.

        Raises:
            UserError: the file lacks a class; names the nearest.
        """
        known = {letters(name): sentences for name, sentences in self.by_class.items()}
        missing = [name for name in class_names if letters(name) not in known]
        if missing:
            more = f" (nor of {counted(len(missing) - 1, 'more class', 'more classes')})" if len(missing) > 1 else ""
            raise UserError(
                f"'{self.path}' has no descriptions of class '{missing[0]}'{more}.{nearest(missing[0], self.by_class)}"
            )
        return [known[letters(name)] for name in class_names]

    def stand_ins(self, number: int) -> list[tuple[str, ...]]:
        """Sentences for a number of classes whose names are not known."""
        return list(islice(cycle(self.by_class.values()), number))


def letters(name: str) -> str:
    """The name of a class without what spellings differ in."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def read_descriptions(path: str, key: str = "data.templates") -> Descriptions:
    """The content of a file of descriptions.

    Args:
        path: of the file.
        key: of the setting that names it.

    Raises:
        UserError: it cannot be read, or is no file of descriptions.
    """
    try:
        text = read_text(Path(path), MOST_BYTES)
    except FileNotFoundError:
        raise UserError(f"{key}='{path}' does not exist: name a file of the form {FORM}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{key}='{path}' cannot be read: {why_unreadable(error)}") from None
    return parse_descriptions(Path(path), text)


@lru_cache(maxsize=2)
def parse_descriptions(path: Path, text: str) -> Descriptions:
    """What a text in the form of such a file says; parsed once, because many runs ask for the same.

    Raises:
        UserError: it has another form.
    """
    content = parse(path, text)
    if not isinstance(content, dict) or not content:
        raise UserError(f"'{path}' holds no descriptions: it needs the form {FORM}")
    by_class: dict[str, tuple[str, ...]] = {}
    spellings: dict[str, str] = {}
    for name, sentences in content.items():
        other = spellings.setdefault(letters(name), name)
        if other != name:
            raise UserError(f"'{path}': {short(other)} and {short(name)} are two spellings of one class: keep one")
        by_class[name] = check_sentences(path, name, sentences)
    return Descriptions(path, by_class)


def parse(path: Path, text: str) -> Any:
    """The content of a text in JSON or, by the file's ending, in YAML.

    Raises:
        UserError: it is neither.
    """
    if path.suffix.lower() != ".json":

        def fault(line: int, problem: str) -> UserError:
            return UserError(f"'{path}' line {line}: {problem}")

        return parse_yaml(text, fault)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"'{path}' is no JSON: {error}") from None


def check_sentences(path: Path, name: str, sentences: Any) -> tuple[str, ...]:
    """The sentences of a class, with single spaces between their words.

    Raises:
        UserError: they are no list of texts.
    """
    where = f"'{path}': class {short(name)}"
    if not isinstance(sentences, list) or not sentences:
        raise UserError(f"{where} has no list of sentences: write it in the form {FORM}")
    if len(sentences) > MOST_OF_A_CLASS:
        raise UserError(f"{where} has {len(sentences):,} sentences, at most {MOST_OF_A_CLASS} are possible")
    found = []
    for number, sentence in enumerate(sentences, 1):
        words = " ".join(sentence.split()) if isinstance(sentence, str) else ""
        if not words or UNREADABLE.search(words) or len(words) > MOST_NAME:
            raise UserError(
                f"{where}: sentence {number} is {short(sentence)}: write a text of at most {MOST_NAME:,} characters"
            )
        found.append(words)
    return tuple(found)
