"""The layout of tables and lines: every number stays whole at every width."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.cli.layout import Column, blocks, wrapped

NUMBERS = re.compile(r"\d+(?:\.\d+)?")
WORDS = st.text(alphabet="ab/_ -é中", min_size=1, max_size=40)
CELLS = st.one_of(
    st.floats(0, 1e6).map(lambda value: f"{value:.2f} ± {value / 7:.2f}"), st.integers(0, 10**12).map(str), WORDS
)


@st.composite
def tables(draw: st.DrawFn) -> list[Column]:
    rows = draw(st.integers(0, 4))
    labels = draw(st.integers(0, 2))
    columns = []
    for place in range(labels + draw(st.integers(1, 7))):
        words = place < labels or draw(st.booleans())
        texts = [draw(WORDS), *(draw(CELLS) for _ in range(rows))]
        columns.append(Column(texts, words, label=place < labels, repeated=draw(st.booleans())))
    return columns


@given(tables(), st.integers(1, 140))
def test_every_column_is_printed_once_and_no_number_is_parted(columns: list[Column], width: int) -> None:
    found = blocks(columns, width)
    labels = [place for place, column in enumerate(columns) if column.label]
    assert list(found[0])[: len(labels)] == labels
    repeated = [place for place in labels if columns[place].repeated]
    assert all(list(block)[: len(repeated)] == repeated for block in found[1:])
    assert sorted(place for block in found for place in block if place not in labels) == [
        place for place in range(len(columns)) if place not in labels
    ]
    for block in found:
        for place, size in block.items():
            for text in columns[place].texts:
                lines = wrapped(text, size) if columns[place].words else [text]
                assert max(map(cell_len, lines)) <= size
                assert NUMBERS.findall(" ".join(lines)) == NUMBERS.findall(text)
        total = sum(block.values()) + 2 * len(block)
        others = [place for place in block if place not in labels]
        at_least = [columns[place].at_least(8) for place in block]
        assert total <= width or (len(others) <= 1 and list(block.values()) == at_least)


@given(st.text(alphabet="ab 1.23,-/_中", max_size=80), st.integers(1, 60), st.booleans())
def test_lines_hold_the_whole_text(text: str, width: int, inside_words: bool) -> None:
    lines = wrapped(text, width, inside_words)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert re.findall(r"\d+(?:[.,]\d+)*", "\n".join(lines)) == re.findall(r"\d+(?:[.,]\d+)*", text)
    if not inside_words:
        assert " ".join(lines).split() == text.split()


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("folder:/data/images", 12, ["folder:/", "data/images"]),
        ("a 12345.678", 4, ["a", "12345.678"]),
        ("clip_adapter", 8, ["clip_", "adapter"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("", 5, [""]),
    ],
)
def test_words_are_parted_at_their_seams(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width) == lines


def test_labels_leave_room_for_the_widest_number() -> None:
    label = Column(["data set", "folder:/a/very/long/path/of/pictures/that/nobody/shortened"], words=True, label=True)
    number = Column(["base", "57.18 ± 0.48"])
    (block,) = blocks([label, number], 40)
    assert block == {0: 40 - 14 - 2, 1: 12}
    assert blocks([label, number, number], 40) == [{0: 24, 1: 12}, {0: 24, 2: 12}]
    assert blocks([label, number], None) == [{0: label.width, 1: 12}]
