"""The one exception that means: the user can put this right, and here is how."""

import difflib
from collections.abc import Iterable


def one_line(text: str) -> str:
    """A text with its control characters and half characters (surrogates) written as escapes, such as \\n.

    Names of files may hold any of them, and a terminal would obey.
    """
    return "".join(char if char.isprintable() or char == "\u00a0" else ascii(char)[1:-1] for char in text)


class UserError(Exception):
    """A problem with the input or the surroundings, told in one line that the command line prints as it is."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class DivergedError(UserError):
    """Training left the range of numbers; the same seed would do so again."""


class NoSpaceError(UserError):
    """A disk or a quota is full."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that ends an error line: the nearest known name and, if there are few, all of them."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if len(names) <= 20:
        hint += f" Known: {', '.join(names)}."
    return hint
