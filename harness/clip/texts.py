"""What is written of a class: one prompt, or several, and what a frozen teacher reads of it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Taught:
    """What is written of one class where the untouched CLIP, as a teacher, reads other prompts of it.

    Attributes:
        prompts: of the method.
        teacher: of the teacher.
    """

    prompts: tuple[str, ...]
    teacher: tuple[str, ...]


OneOrMore = str | tuple[str, ...]
"""One text, or several."""
Text = OneOrMore | Taught
"""What is written of one class: its prompt, or its several prompts, or these beside those of a teacher."""
MOST_OF_A_CLASS = 512
"""Prompts that one class may have."""


def as_text(prompts: Iterable[str]) -> OneOrMore:
    """The prompts of one class, of which a single one stands for itself."""
    several = tuple(prompts)
    return several[0] if len(several) == 1 else several


def prompts_of(text: Text) -> tuple[str, ...]:
    """The prompts of one class."""
    if isinstance(text, Taught):
        return text.prompts
    return (text,) if isinstance(text, str) else text


def teacher_of(text: Text) -> tuple[str, ...]:
    """The prompts that a teacher reads of one class; empty if there is none."""
    return text.teacher if isinstance(text, Taught) else ()
