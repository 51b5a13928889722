"""Printing many lines at once beside printing each."""

import io

import pytest

from harness.cli.console import PlainConsole
from harness.machine.masking import HIDDEN

LINES = [
    "done 0023 skip-emoji-16shot-seed1: base 59.1",
    "[bold]no markup[/bold] :smile: 'text' 12.5 /a/path",
    "two\nlines, a \x1b[31mcolour\t and a tab",
    "token=abcdefgh",
    "",
    "many words " * 30,
    "token:",
    "not a secret",
]


def printed(at_once: bool, lines: list[str], is_terminal: bool, width: int) -> str:
    """What a console prints of some lines."""
    out = io.StringIO()
    console = PlainConsole(file=out, force_terminal=is_terminal, width=width)
    if at_once:
        console.print_lines(lines)
    else:
        for line in lines:
            console.print(line, soft_wrap=True)
    return out.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("width", [40, 200])
def test_many_lines_are_printed_as_each_is(is_terminal: bool, width: int) -> None:
    found = printed(True, LINES, is_terminal, width)
    assert found == printed(False, LINES, is_terminal, width)
    assert "abcdefgh" not in found
    assert HIDDEN in found
    assert printed(True, [], is_terminal, width) == ""
