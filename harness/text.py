"""Text for people: counted nouns, commands as the reader types them, and what a terminal may show of foreign names."""

import os
import re
import shlex
import shutil
import sys
import unicodedata
from pathlib import Path

PROGRAM = "skipbench"
# Cc: control characters. Cf: what is not seen, such as a byte order mark, or turns the order of what follows. Cs: bytes
# of a file name that are no UTF-8. Zl, Zp: line breaks beside the newline.
HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Between letters of some scripts, and in emoji.
JOINERS = "\u200c\u200d"
# In prose a command stands in backticks; in the examples of help it begins a line, behind variables perhaps.
IN_PROSE = re.compile(r"`skipbench (?=[a-z-])")
IN_EXAMPLE = re.compile(r"(?m)^( +(?:[A-Z_]+=\S+ +)*)skipbench (?=[a-z-])")


def plain(text: str) -> str:
    """Text in one line without effect on a terminal: control characters and line breaks as escapes, such as \\x1b."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in HIDDEN_CATEGORIES and character not in JOINERS
        else character
        for character in text
    )


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """A number with its noun: `1 run`, `2 runs`, `1,200 runs`.

    Args:
        number: how many.
        noun: of one.
        nouns: of several; None appends an s.
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def program() -> str:
    """How the user started this program: `skipbench` where it is found by name, else the path or module that it takes.

    Advice that names a command has to work where the reader is, and `make` leaves a program that is not on PATH.
    """
    started = sys.argv[0] if sys.argv else ""
    if Path(started).name == "__main__.py":
        return f"{python()} -m harness"
    if os.sep not in started:
        return PROGRAM
    found = shutil.which(PROGRAM)
    return PROGRAM if found and same_file(found, started) else shlex.quote(from_here(started))


def python() -> str:
    """The interpreter of this process, as the user has to type it."""
    for name in ("python", "python3"):
        found = shutil.which(name)
        if found and os.path.abspath(found) == os.path.abspath(sys.executable):
            return name
    return shlex.quote(from_here(sys.executable))


def same_file(one: str, other: str) -> bool:
    """Whether two paths lead to the same file."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def from_here(path: str) -> str:
    """A path relative to the current folder, if it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def as_typed(text: str) -> str:
    """Text in which commands in backticks begin as the user has to type them."""
    return IN_PROSE.sub(lambda _: f"`{program()} ", text) if "`skipbench " in text else text


def examples_as_typed(text: str) -> str:
    """Help in which commands, in backticks or at the beginning of a line, begin as the user has to type them."""
    return IN_EXAMPLE.sub(lambda found: f"{found[1]}{program()} ", as_typed(text))
