"""`skipbench data --get NAME`: download a data set, after saying how much that is and asking."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

from harness.cli.console import WordsColumn, console
from harness.errors import UserError
from harness.text import counted, plain


def get_dataset(name: str, data_root: str | None, yes: bool) -> None:
    """Download a data set that is not there yet, and unpack it in the data root.

    Args:
        name: of the data set.
        data_root: the folder that contains the data sets.
        yes: whether to go on without asking.

    Raises:
        UserError: it is unknown, cannot be downloaded, or nobody can be asked.
    """
    from harness.data.datasets import find_dataset, read_folder
    from harness.data.fetch import fetch, plan_of
    from harness.data.status import dataset_status

    dataset = find_dataset(name)
    if dataset_status(name, data_root).state == "ready":
        console.print(f"{name} is there already, and complete")
        return
    if not data_root:
        raise UserError(f"where is '{name}' to go? Set DATA=/path/to/data, or add --data /path/to/data")
    root = Path(data_root).expanduser()
    if not os.path.isdir(root):
        raise UserError(f"data root '{data_root}' does not exist: create the folder first")
    plan = plan_of(name, dataset.source)
    hosts = ", ".join(dict.fromkeys(urlsplit(download.url).netloc for download in plan.downloads))
    size = "unknown size" if plan.size is None else in_bytes(plan.size)
    what = f"{name}: {counted(len(plan.downloads), 'file')}, {size}, from {hosts} into '{root}'"
    console.print(plain(what))
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"'{name}' would be downloaded ({size}): add --yes to go on without being asked")
        if not click.confirm("Download?"):
            return
    with byte_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
                if not console.is_terminal:
                    console.print(plain(what))
            bars.update(tasks[what], completed=done, total=total)

        fetch(plan, root, show)
    read_folder.cache_clear()


def byte_bars() -> Progress:
    """Bars with a description, bytes, speed and the time left; they are shown on a terminal only."""
    return Progress(
        WordsColumn(lambda task: task.description, shortened=True),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def in_bytes(number: int) -> str:
    """A number of bytes for people: MB below one GB, otherwise GB."""
    return f"{number / 1e9:.1f} GB" if number >= 10**9 else f"{number / 1e6:.1f} MB"
