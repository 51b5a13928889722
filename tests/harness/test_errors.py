"""Hints for mistyped names."""

import pytest

from harness.errors import UserError, nearest, one_line


def test_the_nearest_name_and_all_of_a_short_list() -> None:
    assert nearest("skipp", ["zeroshot", "skip"]) == " Did you mean 'skip'? Known: skip, zeroshot."


def test_no_guess_where_nothing_is_near() -> None:
    assert nearest("qqq", ["zeroshot", "skip"]) == " Known: skip, zeroshot."


def test_long_lists_are_not_shown() -> None:
    names = [f"model-{number}" for number in range(50)]
    assert nearest("model-7x", names) == " Did you mean 'model-7'?"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain 'é' 漢\u00a0%", "plain 'é' 漢\u00a0%"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("half\udcff", "half\\udcff"),
        ("turned\u202e", "turned\\u202e"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_a_line_is_one_line_whatever_a_name_holds(text: str, printed: str) -> None:
    assert one_line(text) == printed
    assert str(UserError(text)) == printed
