"""The layout of tables and lines on a terminal: what does not fit goes below, and a number is never broken."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?")
# Words are best parted behind these.
SEAMS = " /_-,;=:"
SEAM = re.compile(f"(?<=[{re.escape(SEAMS)}])")
# A column of words is not made narrower than this to save a second block.
NARROW = 20
# Nor than this, if not even one column of numbers fits beside it.
NARROWEST = 8
# Words up to this length are not parted, except at their seams.
WHOLE = 12


def wrapped(text: str, width: int, inside_words: bool = True) -> list[str]:
    """Text in lines of at most `width` characters, parted between words and, where that is impossible, within them.

    A number is never parted: a line with a longer one is longer.

    Args:
        text: one line.
        width: in characters of a terminal, at least 1.
        inside_words: whether a word may be parted; if not, a line with a longer word is longer.
    """
    lines = []
    rest = text
    while cell_len(rest) > width:
        place = parting(rest, width, inside_words)
        if place is None:
            break
        lines.append(rest[:place].rstrip(" "))
        rest = rest[place:].lstrip(" ")
    return [*lines, rest]


def parting(text: str, width: int, inside_words: bool) -> int | None:
    """Where to part a text that is too wide: the best place within the width, else the first behind it; None: nowhere.

    Args:
        text: wider than the width.
        width: in characters.
        inside_words: whether a word may be parted.
    """
    numbers = [found.span() for found in NUMBER.finditer(text)]

    def allowed(place: int) -> bool:
        return not any(start < place < end for start, end in numbers)

    begin = len(text) - len(text.lstrip(" "))
    seams: list[int] = []
    others: list[int] = []
    used = cell_len(text[:begin])
    for place in range(begin + 1, len(text)):
        used += cell_len(text[place - 1])
        # A space at the end of a line needs no room.
        room = used - (text[place - 1] == " ") <= width
        at_space = text[place - 1] == " "
        seam = at_space or (inside_words and text[place - 1] in SEAMS)
        if seam and allowed(place) and (room or not (seams or others)):
            seams.append(place)
        elif inside_words and allowed(place) and (room or not (seams or others)):
            others.append(place)
        if used > width and (seams or others):
            break
    return seams[-1] if seams else others[-1] if others else None


def longest_number(text: str) -> int:
    """Characters of the longest number in a text, at least 1."""
    return max((cell_len(found[0]) for found in NUMBER.finditer(text)), default=1)


@dataclass(frozen=True)
class Column:
    """What the layout needs to know of a column.

    Attributes:
        texts: its title and its cells.
        words: whether they may be wrapped.
        label: whether it names the rows, so that it comes first.
        repeated: whether every block repeats it, since it tells rows apart.
    """

    texts: Sequence[str]
    words: bool = False
    label: bool = False
    repeated: bool = True

    @property
    def width(self) -> int:
        """Characters of the widest text."""
        return max(map(cell_len, self.texts))

    def at_least(self, narrow: int) -> int:
        """The width to which the column may be shrunk."""
        if not self.words:
            return self.width
        pieces = (cell_len(piece) for text in self.texts for piece in SEAM.split(text))
        whole = min(WHOLE, max(pieces, default=0))
        return min(self.width, max(narrow, whole, *map(longest_number, self.texts)))


def blocks(columns: Sequence[Column], width: int | None, gap: int = 2) -> list[dict[int, int]]:
    """Split the columns of a table into blocks that are printed one below the other, each beginning with its labels.

    Args:
        columns: in their order.
        width: of the terminal in characters; None for no limit.
        gap: characters between two columns.

    Returns:
        For each block: place of a column -> its width. Every column that is no label is in exactly one block. A block
        is wider than the terminal only if its labels and its only other column cannot be made narrower.
    """
    natural = {place: column.width + gap for place, column in enumerate(columns)}
    labels = [place for place, column in enumerate(columns) if column.label]
    others = [place for place in natural if place not in labels]
    if width is None or sum(natural.values()) <= width:
        return [without_gap(natural, gap)]
    narrow = {place: column.at_least(NARROW) + gap for place, column in enumerate(columns)}
    if sum(narrow.values()) <= width:
        return [without_gap(shrunk(natural, narrow, width), gap)]
    narrowest = {place: column.at_least(NARROWEST) + gap for place, column in enumerate(columns)}
    # Labels leave room for the widest of the columns that cannot be wrapped.
    room = max((natural[place] if not columns[place].words else narrowest[place] for place in others), default=0)
    heads = shrunk({place: natural[place] for place in labels}, narrowest, width - room)
    repeated = {place: natural[place] for place in labels if columns[place].repeated}
    found = [dict(heads)]
    for place in others:
        size = fitting(natural[place], narrowest[place], width - sum(found[-1].values()))
        if size is None and found[-1].keys() - heads.keys():
            found.append(shrunk(repeated, narrowest, width - room))
            size = fitting(natural[place], narrowest[place], width - sum(found[-1].values()))
        found[-1][place] = narrowest[place] if size is None else size
    return [without_gap(block, gap) for block in found]


def fitting(natural: int, least: int, left: int) -> int | None:
    """The size of a column in the space that is left; None if it does not fit."""
    return natural if natural <= left else left if least <= left else None


def without_gap(sizes: dict[int, int], gap: int) -> dict[int, int]:
    """Widths of columns without the space between them."""
    return {place: size - gap for place, size in sizes.items()}


def shrunk(sizes: dict[int, int], least: dict[int, int], width: int) -> dict[int, int]:
    """Sizes that fit into a width together, the widest made narrower first, none below its least size."""
    found = dict(sizes)
    while sum(found.values()) > width:
        able = [place for place in found if found[place] > least[place]]
        if not able:
            break
        widest = max(able, key=lambda place: found[place])
        found[widest] -= 1
    return found
