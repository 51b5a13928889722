"""What is written of a class: one prompt, or several."""

from collections.abc import Iterable

Text = str | tuple[str, ...]
"""What is written of one class: its prompt, or its several prompts."""
MOST_OF_A_CLASS = 512
"""Prompts that one class may have."""


def as_text(prompts: Iterable[str]) -> Text:
    """The prompts of one class, of which a single one stands for itself."""
    several = tuple(prompts)
    return several[0] if len(several) == 1 else several


def prompts_of(text: Text) -> tuple[str, ...]:
    """The prompts of one class."""
    return (text,) if isinstance(text, str) else text
