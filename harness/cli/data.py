"""`skipbench data`: which data sets are there, complete or not."""

import sys
from typing import TYPE_CHECKING

import click

from harness.cli.console import console, counting_bars
from harness.cli.data_get import get_dataset
from harness.errors import UserError
from harness.text import counted, plain

if TYPE_CHECKING:
    from harness.data.status import Status


@click.command()
@click.argument("names", required=False, metavar="[DATASETS]")
@click.option("--data", "data_root", envvar="DATA", help="Folder that holds the data sets; default $DATA.")
@click.option("--verify", is_flag=True, help="Open every image of the data sets that are there.")
@click.option("--get", "wanted", metavar="NAME", help="Download a data set first; says how much it is, and asks.")
@click.option("--yes", is_flag=True, help="With --get: do not ask.")
def data(names: str | None, data_root: str | None, verify: bool, wanted: str | None, yes: bool) -> None:
    """Show which data sets are there: layout, counts beside the expected ones, missing files, where to get them.

    DATASETS are separated by commas and may be folder:PATH, whose PATH may contain commas if that folder exists;
    without them all are shown. Exit code 1 if a data set that was named, or one that is there, is incomplete.
    """
    from harness.data.catalog import DATASETS
    from harness.data.datasets import find_dataset
    from harness.data.own_names import split_names
    from harness.data.status import dataset_status

    if wanted and names and names != wanted:
        raise UserError(f"--get {wanted} downloads one data set: leave out '{names}'")
    if wanted:
        get_dataset(wanted, data_root, yes)
        names = wanted
    asked = split_names(names) if names else list(DATASETS)
    for name in asked:
        find_dataset(name)
    in_order = True
    for name in asked:
        status = dataset_status(name, data_root)
        print_status(status)
        broken = print_broken(name, data_root) if verify and status.state in ("ready", "incomplete") else 0
        fine = status.state == "ready" or (status.state == "absent" and not names)
        in_order = in_order and fine and not broken
    if not in_order:
        sys.exit(1)


def print_status(status: "Status") -> None:
    """Print a data set in one line, and its problems in lines below it."""
    from harness.data.downloads import DOWNLOADS

    counts = status.counts
    holds = ""
    if counts:
        classes = counted(counts.classes, "class", "classes")
        holds = f"{classes}, {counts.train}/{counts.val}/{counts.test} train/val/test"
    lines = [f"{status.state:11s}{status.name:17s} {holds or status.problem or 'not found'}"]
    if status.folder:
        lines += [f"found: {line}" for line in (status.folder, *status.layout)]
    lines += [f"note: {remark}" for remark in status.remarks]
    if status.differing and status.expected:
        expected = ", ".join(f"{getattr(status.expected, part)} {part}" for part in status.differing)
        lines.append(f"differs: {expected} expected")
    if status.missing:
        lines.append(f"missing: {counted(status.missing, 'picture')}, the first: {', '.join(status.first_missing)}")
    if status.state != "ready" and status.source:
        lines.append(f"get it: {status.source}")
    if status.state == "absent" and status.name in DOWNLOADS:
        lines.append(f"or: `skipbench data --get {status.name}`")
    for number, line in enumerate(lines):
        console.print(("" if number == 0 else " " * 29) + plain(line), markup=False, soft_wrap=True)


def print_broken(name: str, data_root: str | None) -> int:
    """Open all images of a data set; print how many are broken and the first of them, and return the number."""
    from harness.data.datasets import read_dataset
    from harness.data.pictures import broken_pictures

    splits = read_dataset(name, data_root)
    pictures = [*splits.train, *splits.val, *splits.test]
    with counting_bars() as progress:
        task = progress.add_task(f"opening {name}", total=len(pictures), news="")
        broken = broken_pictures(
            splits.folder, pictures, lambda done, total: progress.update(task, completed=done, total=total)
        )
    first = "; ".join(f"{item.path} {item.reason}" for item in broken[:5])
    number = counted(len(broken), "broken picture")
    verdict = f"{number} of {len(pictures)}, the first: {first}" if broken else "all pictures open"
    console.print(" " * 29 + verdict, markup=False, soft_wrap=True)
    return len(broken)
