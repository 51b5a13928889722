"""`skipbench stores`: what is kept outside of results, and removing it."""

import sys
import time
from typing import TYPE_CHECKING

import click

from harness.cli.console import console, errors
from harness.errors import UserError
from harness.text import counted

if TYPE_CHECKING:
    from harness.training.store_folders import Contents

STORES = ("features", "pictures", "batches", "intact")


@click.command()
@click.option("--clear", "cleared", type=click.Choice([*STORES, "all"]), help="Remove the files of a store, or of all.")
@click.option("--yes", is_flag=True, help="Do not ask before anything is removed.")
def stores(cleared: str | None, yes: bool) -> None:
    """Show what is kept outside of results for all runs: folder, size, number of files, last use.

    features: of images, by frozen image towers. pictures: decoded. batches: what rehearsals found. intact: which
    pictures were found intact. They are in your cache folder, or where SKIPBENCH_FEATURES and SKIPBENCH_PICTURES say;
    batches and intact are beside features. All of it may be removed at any time, also while runs are computed: no
    result depends on it, and runs make it again.
    """
    from harness.training.store_folders import contents_of

    names = STORES if cleared in (None, "all") else (str(cleared),)
    found = [contents_of(name) for name in names]
    for item in found:
        console.print(line_of(item), soft_wrap=True)
    if cleared:
        remove([item for item in found if item.files], yes)


def line_of(contents: "Contents") -> str:
    """One store in a line."""
    from harness.cli.run_lines import age

    told = (
        "nothing" if contents.used is None else f"{size_of(contents)}, last use {age(time.time() - contents.used)} ago"
    )
    return f"{contents.name:9s} {told}: {contents.folder}"


def size_of(contents: "Contents") -> str:
    """How much a store holds."""
    from harness.cli.data_get import in_bytes

    return f"{counted(len(contents.files), 'file')}, {in_bytes(contents.size)}"


def remove(found: "list[Contents]", yes: bool) -> None:
    """Remove the files of some stores, after asking.

    Raises:
        UserError: nobody can be asked.
    """
    from harness.training.store_folders import clear

    if not found:
        console.print("nothing to remove")
        return
    what = "; ".join(f"{item.name}: {size_of(item)}" for item in found)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"this would be removed ({what}): add --yes to go on without being asked")
        if not click.confirm("Remove? Runs make it again, and take longer"):
            return
    problems = [problem for item in found for problem in clear(item)]
    for problem in problems:
        errors.print(problem)
    if problems:
        sys.exit(1)
    console.print(f"removed {what}", soft_wrap=True)
