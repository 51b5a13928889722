"""The one exception that means: the user can put this right, and here is how."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from harness.text import plain

SHORTEST = 4
"""Letters that a name must have to be recognised within a longer one."""


class UserError(Exception):
    """A problem with the input or the surroundings, told in one line that the command line prints as it is.

    Args:
        message: the line; names in it may hold line breaks and control characters, which are shown as escapes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(plain(message))


class DivergedError(UserError):
    """Training left the range of numbers; the same seed would do so again."""


class NoSpaceError(UserError):
    """A disk or a quota is full."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def letters_of(word: str) -> str:
    """A name without case and punctuation, in which ViT-B/16 and vit_b_16 are the same."""
    return "".join(char for char in word.lower() if char.isalnum())


def nearest(word: str, known: Iterable[str], titles: Mapping[str, Iterable[str]] | None = None) -> str:
    """A hint that ends an error line: the nearest known name and, if there are few, all of them.

    Args:
        word: what is not known.
        known: the names.
        titles: name -> other names of it, as papers and folders have them.
    """
    names = sorted(set(known))
    same = next((name for name in names if twin(word, name)), "")
    meant = same or meant_name(word, names, titles or {})
    hint = f" Did you mean {meant!r}{twin(word, same)}?" if meant else ""
    if len(names) <= 20:
        hint += f" Known: {', '.join(names)}."
    return hint


def twin(one: str, other: str) -> str:
    """A remark if two different names look alike, because their accents are written in different ways."""
    alike = one != other and unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return " (the same letters in another form of Unicode, NFC and NFD)" if alike else ""


def meant_name(word: str, names: Sequence[str], titles: Mapping[str, Iterable[str]]) -> str:
    """The name that a word means, or several of them separated by commas; empty if it is near none."""
    spellings = {letters_of(title): name for name in titles for title in titles[name]} | {
        letters_of(name): name for name in names
    }
    if letters_of(word) in spellings:
        return spellings[letters_of(word)]
    parts = [letters_of(part) for part in re.split(r"[\s;,+&]+", word) if part]
    if len(parts) > 1 and all(part in spellings for part in parts):
        return ",".join(spellings[part] for part in parts)
    if close := difflib.get_close_matches(letters_of(word), list(spellings), n=1, cutoff=0.8):
        return spellings[close[0]]
    if close := difflib.get_close_matches(word, names, n=1, cutoff=0.6):
        return close[0]
    if close := difflib.get_close_matches(letters_of(word), list(spellings), n=1, cutoff=0.6):
        return spellings[close[0]]
    # One holds the other, as Flowers102 and oxford_flowers do, or SkipTuning and skip.
    letters = re.sub(r"[^a-z]", "", letters_of(word))
    longest = sorted(spellings, key=len, reverse=True)
    inside = [name for name in longest if len(name) >= SHORTEST and name in letters]
    around = [name for name in longest if len(letters) >= SHORTEST and letters in name]
    return spellings[(inside or around)[0]] if inside or len({spellings[name] for name in around}) == 1 else ""
