"""`skipbench parity`: our methods against reference vectors of the official implementations."""

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from harness.cli.console import console, print_frame
from harness.text import counted


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def parity(folder: Path) -> None:
    """Check our methods against reference vectors of the official implementations in DIR.

    Prints the largest error of every method and quantity against its tolerance; exit code 1 if any is over.
    """
    import pandas as pd

    from harness.reference.parity.replay import check_folder

    with console.status("replaying reference vectors") if console.is_terminal else nullcontext():
        comparisons, unknown = check_folder(folder)
    rows = [
        (item.method, item.quantity, f"{item.error:.2e}", f"{item.tolerance:.2e}", "ok" if item.passed else "OVER")
        for item in comparisons
    ]
    columns = ["method", "quantity", "largest error", "tolerance", ""]
    print_frame(pd.DataFrame(rows, columns=columns), title="largest error of each quantity", left=2)
    if unknown:
        console.print(f"No such method here: {', '.join(unknown)}", markup=False)
    failed = sum(not item.passed for item in comparisons)
    console.print(
        f"{len(comparisons) - failed} of {counted(len(comparisons), 'quantity', 'quantities')} within tolerance"
    )
    if failed:
        sys.exit(1)
