"""What all commands share: the terminal, lists separated by commas, tables, progress bars."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column as TableColumn
from rich.table import Table
from rich.text import Text

from harness.cli.layout import Column, blocks, wrapped
from harness.machine.masking import masked
from harness.text import as_typed, plain

if TYPE_CHECKING:
    import pandas as pd

# Titles of columns of words, and of columns that tell rows apart where a table begins with them.
NAMES = ("dataset", "method", "precision", "setting", "metric")
ROW_NAMES = (*NAMES, "shots", "trial")
HANGING = "    "
# Characters between two columns of a table.
GAP = 2
WIDE_ENOUGH_FOR_BARS = 100


class PlainConsole(Console):
    """A console on which text is text: no markup, no secrets, no effects on the terminal, commands as users type them.

    On a terminal lines are parted between words, never within a number or a path; elsewhere they stay whole.

    Args:
        wraps: whether to part lines at all.
        options: of rich's console.
    """

    def __init__(self, wraps: bool = True, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        self.wraps = wraps

    def print(self, *objects: Any, soft_wrap: bool | None = None, markup: bool | None = None, **options: Any) -> None:
        """Print a text, or what rich can render; with `soft_wrap` the further lines of a text are indented."""
        del markup
        if all(isinstance(item, str) for item in objects):
            super().print(self.in_lines(" ".join(objects), bool(soft_wrap)), soft_wrap=True, **options)
        else:
            super().print(*objects, **options)

    def print_lines(self, lines: Sequence[str]) -> None:
        """Print many texts, each as `print` does with `soft_wrap`, at once."""
        if lines:
            super().print("\n".join(self.in_lines(line, hanging=True) for line in lines), soft_wrap=True)

    def in_lines(self, text: str, hanging: bool) -> str:
        """A text as it is printed."""
        text = plain(as_typed(masked(text)))
        if not self.wraps or not self.is_terminal or len(text) <= self.width // 2:
            return text
        first, *rest = wrapped(text, self.width, inside_words=False)
        if not rest or not hanging:
            return "\n".join([first, *rest])
        below = text[len(first) :].lstrip(" ")
        further = wrapped(below, max(1, self.width - len(HANGING)), inside_words=False)
        return "\n".join([first, *(HANGING + line for line in further)])


console = PlainConsole()


errors = PlainConsole(wraps=False, stderr=True)


RESULTS: Callable[..., Any] = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    envvar="RESULTS",
    show_default=True,
    help="Folder for results.",
)


def say(text: str, style: str | None = None) -> None:
    """Print a sentence or a title, parted between words on a terminal."""
    console.print(text, style=style)


def say_if_any(text: str) -> None:
    """Print a sentence unless it is empty."""
    if text:
        say(text)


def separated(text: str) -> list[str]:
    """The words of a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def print_frame(
    cells: "pd.DataFrame", title: str, left: int = 0, labels: int | None = None, markup: bool = False
) -> None:
    """Print a table of text. On a terminal, columns that do not fit are printed below, beside the names of the rows.

    Words may be wrapped; a number is never parted, whatever the width. A pipe gets the whole width.

    Args:
        cells: of text.
        title: above it.
        left: number of columns that are aligned left; so are columns of words.
        labels: number of columns that name the rows; None: the leading ones among those of words and ROW_NAMES.
        markup: whether titles and cells are rich's markup.
    """
    width = console.width if console.is_terminal else None
    read = Text.from_markup if markup else in_one_line
    names = [read(str(name)) for name in cells.columns]
    rows = [[read(str(cell)) for cell in row] for row in cells.itertuples(index=False)]
    words = [number < left or name.plain in NAMES for number, name in enumerate(names)]
    if labels is None:
        is_label = [number < left or name.plain in ROW_NAMES for number, name in enumerate(names)]
        labels = (*is_label, False).index(False)
    # Where all columns are words, at least one of them is no label.
    labels = min(labels, max(1, len(names) - 1))
    columns = [
        Column(
            [name.plain, *(row[place].plain for row in rows)],
            words[place],
            label=place < labels,
            repeated=place == 0 or len({row[place].plain for row in rows}) > 1,
        )
        for place, name in enumerate(names)
    ]
    for number, sizes in enumerate(blocks(columns, width, GAP)):
        say(title if number == 0 else "(continued)", style="italic")
        table = Table(box=None, padding=(0, GAP // 2))
        for place, size in sizes.items():
            head = in_width(names[place], size) if words[place] else names[place]
            table.add_column(
                head, justify="left" if words[place] else "right", no_wrap=True, overflow="crop", width=size
            )
        for row in rows:
            table.add_row(*(in_width(row[place], sizes[place]) if words[place] else row[place] for place in sizes))
        needed = sum(sizes.values()) + GAP * len(sizes)
        Console(highlight=False, markup=False, emoji=False, width=needed).print(table)


def fits(cells: "pd.DataFrame", width: int) -> bool:
    """Whether the columns of a table, its cells rich's markup, fit beside each other in a width of characters."""
    texts = [[str(name), *map(str, cells.iloc[:, place])] for place, name in enumerate(cells.columns)]
    return sum(max(Text.from_markup(text).cell_len for text in column) + GAP for column in texts) <= width


def in_one_line(text: str) -> Text:
    """Text as it is, without markup."""
    return Text(plain(text))


def in_width(text: Text, width: int) -> Text:
    """Words in lines of a width."""
    return text if text.cell_len <= width else Text("\n".join(wrapped(text.plain, width)), style=text.style)


class WordsColumn(ProgressColumn):
    """Words of a task as they are, shortened where there is no room; what they are about is printed when it ends.

    Args:
        words: of a task.
        shortened: whether they may be.
    """

    def __init__(self, words: Callable[[Task], str], shortened: bool) -> None:
        column = TableColumn(no_wrap=not shortened, overflow="ellipsis" if shortened else "ignore", ratio=None)
        super().__init__(table_column=column)
        self.words = words
        self.shortened = shortened

    def render(self, task: Task) -> Text:
        """The words."""
        text = Text(plain(self.words(task)), overflow="ellipsis", no_wrap=True)
        if self.shortened:
            text.truncate(max(12, console.width // 3), overflow="ellipsis")
        return text


def counting_bars() -> Progress:
    """Bars with a description, a count, `news` and times; they are shown on a terminal only, and vanish at the end."""
    narrow = console.width < WIDE_ENOUGH_FOR_BARS
    return Progress(
        WordsColumn(lambda task: task.description, shortened=True),
        BarColumn(bar_width=6 if narrow else 40),
        MofNCompleteColumn(),
        WordsColumn(lambda task: str(task.fields.get("news", "")), shortened=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def end_with_damage(reasons: Sequence[str]) -> None:
    """After the output of a command: name the damaged runs that it left out, and exit with code 1 if there are any."""
    for reason in reasons:
        errors.print(f"damaged: {reason}")
    if reasons:
        sys.exit(1)
