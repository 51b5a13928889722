"""From class names to token ids, cut where nothing is read any more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from harness.errors import UserError


class Tokenizer(Protocol):
    """Texts -> ids (C, context length), padded."""

    def __call__(self, texts: list[str], context_length: int = ...) -> Tensor:
        """Tokenise; another context length than the text tower's shows what was cut."""


@dataclass(frozen=True)
class Prompts:
    """One prompt a class, tokenised.

    Attributes:
        texts: the C prompt texts.
        ids: token ids (C, T), T = longest end-of-text position + 1.
        eot: position of the end-of-text token of each prompt (C,).
        shared: how many tokens all prompts begin with, end-of-text not counted.
    """

    texts: tuple[str, ...]
    ids: Tensor
    eot: Tensor
    shared: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def to(self, device: torch.device) -> "Prompts":
        """The same prompts on another device."""
        return replace(self, ids=self.ids.to(device), eot=self.eot.to(device))


def end_of_text(ids: Tensor) -> Tensor:
    """Position (C,) of the end-of-text token in ids (C, T): CLIP's tokenizers give it the highest id."""
    return ids.argmax(dim=-1)


def tokenize(texts: Sequence[str], tokenizer: Tokenizer, cut: bool = True) -> Prompts:
    """Tokenise prompts and cut them at the longest end-of-text position.

    The text tower is causal and read at the end-of-text token only, so what follows the longest one cannot matter.

    Args:
        texts: C prompts.
        tokenizer: texts -> ids (C, context length), padded.
        cut: False keeps the full context length, as the reference code does.

    Raises:
        UserError: no texts at all, or one that is longer than the text tower takes.
    """
    if not texts:
        raise UserError("there are no classes: a prompt is needed for each class, and none was given")
    ids = tokenizer(list(texts))
    eot = end_of_text(ids)
    filled = (eot == ids.shape[1] - 1).nonzero().flatten().tolist()
    refuse_truncated([texts[row] for row in filled], tokenizer, ids)
    if cut:
        ids = ids[:, : int(eot.max()) + 1]
    return Prompts(tuple(texts), ids, eot, shared_prefix(ids, eot))


def refuse_truncated(texts: Sequence[str], tokenizer: Tokenizer, ids: Tensor) -> None:
    """Raise a UserError if one of some texts, which fill ids (C, T) to the end, was cut by the tokenizer."""
    length = ids.shape[1]
    for text in texts:
        tokens = int(end_of_text(tokenizer([text], context_length=8 * length))[0]) + 1
        if tokens > length:
            raise UserError(
                f"the prompt '{text}' has {tokens} tokens, and the text tower takes {length}: "
                "use fewer context tokens (n_ctx) or a shorter template (data.templates)"
            )


def shared_prefix(ids: Tensor, eot: Tensor) -> int:
    """How many tokens all rows of ids (C, T) begin with, at most up to the first end-of-text position."""
    differs = (ids != ids[0]).any(dim=0).nonzero()
    return min(int(differs[0]) if len(differs) else ids.shape[1], int(eot.min()))


def indefinite_article(name: str) -> str:
    """'an' before a written vowel, otherwise 'a': a rule by letter, so that prompts are the same everywhere."""
    return "an" if name[:1].lower() in {"a", "e", "i", "o", "u"} else "a"


def fill_template(template: str, class_name: str) -> str:
    """Put a class name into a template: `{}` is the name (underscores become spaces), `{article}` its a or an."""
    name = class_name.replace("_", " ")
    return template.replace("{article}", indefinite_article(name)).replace("{}", name)
