"""From class names to token ids, cut after the last token that is read."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from harness.clip.ends import Ends
from harness.clip.texts import MOST_OF_A_CLASS, Taught, Text, as_text, prompts_of, teacher_of
from harness.errors import UserError

ADVICE = "use fewer context tokens (n_ctx) or a shorter template or description (data.templates)"
ADVICE_OF_TEACHER = "use a shorter template or description of the frozen CLIP (data.teacher_templates)"


class Tokenizer(Protocol):
    """Converts texts to ids (P, context length), padded."""

    def __call__(self, texts: list[str], context_length: int = ...) -> Tensor:
        """Tokenise; a longer context than the text tower's reveals what it cuts off."""


@dataclass(frozen=True)
class Prompts:
    """The tokenised prompts of C classes: P = C if each has one, else P > C, those of a class one after the other.

    Attributes:
        texts: what is written of each of the C classes.
        ids: token ids (P, T), where T is the largest end-of-text position + 1, or the whole context where all of it
            matters.
        eot: position of the end-of-text token of each prompt (P,).
        shared: number of leading tokens that all prompts have in common, without end-of-text.
        counts: number of prompts of each of the C classes; None if each has one.
        teacher: the prompts of the same classes that a frozen teacher reads; None if there is no teacher.
        largest_eot: the end-of-text positions as the host knows them, the largest first; None if it does not.
    """

    texts: tuple[Text, ...]
    ids: Tensor
    eot: Tensor
    shared: int = 0
    counts: tuple[int, ...] | None = None
    teacher: "Prompts | None" = None
    largest_eot: tuple[int, ...] | None = None

    @property
    def ends(self) -> Ends:
        """Where they end, as the device and the host know it."""
        return Ends(self.eot, self.largest_eot)

    def __len__(self) -> int:
        return len(self.texts)

    def first_of_each(self) -> list[int]:
        """The row of the first prompt of each class."""
        return [0, *itertools.accumulate(self.counts or (1,) * len(self))][:-1]

    def unshared(self) -> "Prompts":
        """The same prompts, of which each is computed as a whole."""
        return replace(self, shared=0, teacher=self.teacher and self.teacher.unshared())

    def to(self, device: torch.device) -> "Prompts":
        """The same prompts on another device."""
        teacher = self.teacher and self.teacher.to(device)
        return replace(self, ids=self.ids.to(device), eot=self.eot.to(device), teacher=teacher)


def end_id_of(tokenizer: Tokenizer) -> int | None:
    """Id of a tokenizer's end-of-text token if it says one; None: it is the highest id, as in CLIP's tokenizers."""
    end_id: int | None = getattr(tokenizer, "end_id", None)
    return end_id


def end_of_text(ids: Tensor, end_id: int | None = None) -> Tensor:
    """Position (P,) of the first end-of-text token in ids (P, T).

    Args:
        ids: of texts, padded.
        end_id: its id; None: the highest one of each text.
    """
    return ids.argmax(dim=-1) if end_id is None else (ids == end_id).int().argmax(dim=-1)


def tokenize(
    texts: Sequence[Text | Sequence[str]],
    tokenizer: Tokenizer,
    cut: bool = True,
    of_teacher: bool = False,
    end_id: int | None = None,
) -> Prompts:
    """Tokenise prompts and cut them after the largest end-of-text position.

    The text tower is causal, and only the end-of-text token is read, so the tokens after it do not matter.

    Args:
        texts: of each of C classes its prompt, or its prompts, those of a teacher beside them.
        tokenizer: texts -> ids (P, context length), padded.
        cut: False keeps the full context length, as the reference code does.
        of_teacher: whether these are the prompts of a teacher, which come from a setting of their own.
        end_id: id of the end-of-text token, as in `end_of_text`.

    Raises:
        UserError: there are no texts, a class has no prompts or too many, or one is longer than the context of the text
            tower.
    """
    if not texts:
        raise UserError("there are no classes: a prompt is needed for each class, and none was given")
    classes = tuple(text if isinstance(text, str | Taught) else as_text(text) for text in texts)
    counts = tuple(len(prompts_of(text)) for text in classes)
    for label, count in enumerate(counts):
        if not 1 <= count <= MOST_OF_A_CLASS:
            raise UserError(f"class {label} has {count} prompts: give each class between 1 and {MOST_OF_A_CLASS}")
    prompts = [prompt for text in classes for prompt in prompts_of(text)]
    ids = tokenizer(prompts)
    eot = end_of_text(ids, end_id)
    filled = (eot == ids.shape[1] - 1).nonzero().flatten().tolist()
    advice = ADVICE_OF_TEACHER if of_teacher else ADVICE
    refuse_truncated([prompts[row] for row in filled], tokenizer, ids, advice, end_id)
    shared = shared_prefix(ids, eot)
    if cut:
        ids = ids[:, : int(eot.max()) + 1]
    taught = [teacher_of(text) for text in classes]
    teacher = tokenize(taught, tokenizer, cut, of_teacher=True, end_id=end_id) if any(taught) else None
    several = counts if len(prompts) > len(classes) else None
    # Only one prompt of a class can take part in training steps.
    largest = None if several else tuple(sorted(eot.tolist(), reverse=True))
    return Prompts(classes, ids, eot, shared, several, teacher, largest)


def refuse_truncated(
    texts: Sequence[str], tokenizer: Tokenizer, ids: Tensor, advice: str, end_id: int | None = None
) -> None:
    """Raise a UserError if the tokenizer has cut a text.

    Args:
        texts: those that fill `ids` to the end.
        tokenizer: of the text tower.
        ids: (P, T), of all texts.
        advice: what to do.
        end_id: id of the end-of-text token, as in `end_of_text`.
    """
    length = ids.shape[1]
    for text in texts:
        tokens = int(end_of_text(tokenizer([text], context_length=8 * length), end_id)[0]) + 1
        if tokens > length:
            raise UserError(f"the prompt '{text}' has {tokens} tokens, and the text tower takes {length}: {advice}")


def shared_prefix(ids: Tensor, eot: Tensor) -> int:
    """Number of leading tokens that all rows of ids (P, T) have in common, up to the first end-of-text position."""
    differs = (ids != ids[0]).any(dim=0).nonzero()
    return min(int(differs[0]) if len(differs) else ids.shape[1], int(eot.min()))


def indefinite_article(name: str) -> str:
    """'an' before a vowel letter, otherwise 'a': a rule of spelling, so that prompts are the same everywhere."""
    return "an" if name[:1].lower() in {"a", "e", "i", "o", "u"} else "a"


def fill_template(template: str, class_name: str, keep_underscores: bool = False) -> str:
    """Put a class name into a template: `{}` is the name, with spaces for underscores; `{article}` is its a or an.

    Args:
        template: of the prompt.
        class_name: as the data set has it.
        keep_underscores: leave underscores in the name, as some authors do.
    """
    name = class_name if keep_underscores else class_name.replace("_", " ")
    return template.replace("{article}", indefinite_article(name)).replace("{}", name)
