"""What a section of the self-check is asked, and what it finds."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.errors import UserError, first_line

Value = float | str
Say = Callable[[str], None]
"""Takes what is computed next, in words."""


@dataclass(frozen=True)
class Finding:
    """One number that was looked at.

    Attributes:
        section: that found it.
        subject: what it is about: a method, a file of reference vectors, a device.
        quantity: what was measured.
        value: of it; text where no finite number was found.
        unit: of value and limit; empty for none.
        limit: what the value may be at most, or must be equal to, as the section says; None where nothing limits it.
        ok: False if the value is wrong.
    """

    section: str
    subject: str
    quantity: str
    value: Value
    unit: str = ""
    limit: Value | None = None
    ok: bool = True


# What a device that lacks something, or a number of the wrong shape, may raise.
FAILURES = (UserError, RuntimeError, ValueError, OSError, AssertionError)


class Items:
    """The parts of sections that are done, so that a self-check that is killed goes on behind them.

    Args:
        known: section -> subject -> what an earlier self-check found there.
        on_change: called when a part is done.
    """

    def __init__(
        self, known: dict[str, dict[str, list[Finding]]] | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.known = known or {}
        self.on_change = on_change

    def look(self, section: str, subject: str, find: Callable[[], list[Finding]]) -> list[Finding]:
        """What is found of a subject; computed unless it is known and was right.

        Args:
            section: that looks.
            subject: what it looks at, with a name of its own in the section.
            find: finds it; an error in which it ends is what is found, and is wrong.
        """
        of_section = self.known.setdefault(section, {})
        if subject not in of_section or not all(item.ok for item in of_section[subject]):
            of_section[subject] = guarded(section, subject, find)
            self.on_change()
        return of_section[subject]

    def forget(self, section: str) -> None:
        """Forget all parts of a section."""
        self.known.pop(section, None)


@dataclass(frozen=True)
class Asked:
    """What is to be checked.

    Attributes:
        device: that computes.
        methods: those that were asked for; empty: those of `experiments/selfcheck.yaml`, or all.
        quick: look at a little of everything.
        folder: where the self-check may write.
        items: what of the sections is done.
        slots: of a scheduler on this machine, in words.
    """

    device: torch.device
    methods: tuple[str, ...]
    quick: bool
    folder: Path
    items: Items = field(default_factory=Items)
    slots: tuple[str, ...] = ()

    @property
    def is_gpu(self) -> bool:
        """Whether a GPU computes."""
        return self.device.type == "cuda"


def guarded(section: str, subject: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What is found of a subject; where that ends in an error, the error is what is found, and is wrong.

    Args:
        section: that looks.
        subject: what it looks at.
        look: finds it.
    """
    try:
        return look()
    except FAILURES as error:
        return [Finding(section, subject, "ended early", first_line(error), ok=False)]


def finite(value: float) -> Value:
    """A number, or in words what JSON has no number for."""
    return value if math.isfinite(value) else str(value)
