"""How a check ends other than well: with something broken, with a remark, or with nothing to check."""

import traceback
from pathlib import Path

from harness.errors import UserError, first_line


class Broken(Exception):  # noqa: N818 - the property is broken, not the program
    """The property does not hold; the message says what is wrong, where, and what to do."""


class Remark(Exception):  # noqa: N818
    """The property holds in substance; the message says what should be looked at."""


class NothingToCheck(Exception):  # noqa: N818
    """The property has no meaning for this method, or cannot be checked here; the message says why."""


def explain(error: Exception, file: Path) -> str:
    """What an exception says to the author of a file: its message, and the last line of the file that led to it."""
    if isinstance(error, (Broken, UserError)):
        return str(error)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if is_same(frame.filename, file)]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {first_line(error)}"


def is_same(filename: str, file: Path) -> bool:
    """Whether a traceback's name of a file means a file."""
    return Path(filename).resolve() == file.resolve()
