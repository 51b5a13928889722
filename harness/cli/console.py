"""What all commands share: the terminal, lists separated by commas, tables, progress bars."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from harness.errors import one_line

if TYPE_CHECKING:
    import pandas as pd


console = Console(highlight=False)


errors = Console(stderr=True, highlight=False, soft_wrap=True)


RESULTS: Callable[..., Any] = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    envvar="RESULTS",
    show_default=True,
    help="Folder for results.",
)


def separated(text: str) -> list[str]:
    """The words of a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def print_frame(cells: "pd.DataFrame", title: str, left: int = 0) -> None:
    """Print a table of text cells; the first `left` columns are aligned left, and so are columns of words."""
    table = Table(title=title, title_justify="left", box=None)
    words = ("dataset", "method", "precision", "setting", "metric")
    for number, name in enumerate(cells.columns):
        table.add_column(name, justify="left" if number < left or name in words else "right", no_wrap=True)
    for row in cells.itertuples(index=False):
        table.add_row(*row)
    # A pipe has no width: the table gets what it needs.
    wide = Console(highlight=False, width=None if console.is_terminal else 240)
    wide.print(table)


def counting_bars() -> Progress:
    """Bars with a description, a count, `news` and times; they are shown on a terminal only, and vanish at the end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def end_with_damage(reasons: Sequence[str]) -> None:
    """After the output of a command: name the damaged runs that it left out, and exit with code 1 if there are any."""
    for reason in reasons:
        errors.print(one_line(f"damaged: {reason}"), markup=False)
    if reasons:
        sys.exit(1)
