"""`skipbench wandb-sync`: upload finished runs to W&B and show which are uploaded."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.cli.console import RESULTS, console, counting_bars

if TYPE_CHECKING:
    from harness.experiment.place import SinkName


@click.command(name="wandb-sync")
@click.argument("ids", nargs=-1)
@click.option(
    "--again",
    is_flag=True,
    help="Also upload runs that are marked as uploaded, for example after a change of the server.",
)
@click.option(
    "--to",
    "where",
    type=click.Choice(["wandb", "tensorboard", "mlflow", "trackio"]),
    default="wandb",
    show_default=True,
    help="Where to: beside W&B those of tracking.sinks, which get all that is asked for, whether they have it or not.",
)
@RESULTS
def wandb_sync(ids: tuple[str, ...], again: bool, where: "Literal['wandb'] | SinkName", results: Path) -> None:
    """Upload finished runs to W&B and show which are uploaded: those with the given IDS, or all.

    The beginning of an id is enough. Uploads our own record, not W&B's offline files, which are removed once their run
    is uploaded. Runs with wandb.mode=disabled are uploaded only if their id is given. Exit code 1 if any run failed.
    """
    from harness.tracking.upload import Upload, finished_runs, send_all, upload_all

    counts: Counter[str] = Counter()

    def tell(run: Upload) -> None:
        counts[run.state] += 1
        console.print(f"{run.state:10s}{run.id} {run.name} {run.about}".rstrip(), markup=False, soft_wrap=True)

    beside = where != "wandb"
    runs = finished_runs(results, ids, again or beside, untracked=beside)
    left = sum(run.state == "left" for run in runs)
    for run in runs:
        if run.state != "left":
            tell(run)
    try:
        with counting_bars() as progress:
            task = progress.add_task("uploading", total=left, news="")
            left_runs = [run for run in runs if run.state == "left"]
            for run in upload_all(runs) if where == "wandb" else send_all(left_runs, where):
                tell(run)
                progress.advance(task)
    finally:
        left -= counts["uploaded"] + (counts["failed"] - sum(run.state == "failed" for run in runs))
        words = {"uploaded": "uploaded", "up": "already up", "failed": "failed"}
        parts = [f"{counts[state]} {words[state]}" for state in words]
        parts += [f"{left} left"] if left else []
        parts += [f"{counts['untracked']} with wandb.mode=disabled"] if counts["untracked"] else []
        console.print(", ".join(parts))
    if counts["failed"]:
        sys.exit(1)
