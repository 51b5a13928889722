"""What a section of the self-check is asked, and what it finds."""

import math
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Asked:
    """What is to be checked.

    Attributes:
        device: that computes.
        methods: those that were asked for; empty: those of `experiments/selfcheck.yaml`, or all.
        quick: look at a little of everything.
        folder: where the self-check may write.
    """

    device: torch.device
    methods: tuple[str, ...]
    quick: bool
    folder: Path

    @property
    def is_gpu(self) -> bool:
        """Whether a GPU computes."""
        return self.device.type == "cuda"


# What a device that lacks something, or a number of the wrong shape, may raise.
FAILURES = (UserError, RuntimeError, ValueError, OSError, AssertionError)


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
