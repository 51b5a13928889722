"""The command that sets our numbers beside published ones."""

from pathlib import Path
from typing import Any

import click

from harness.cli.console import OVERRIDES, RESULTS, console, print_frame
from harness.cli.grid import read_file_grid, takes_grid
from harness.errors import UserError


@click.command()
@click.argument("experiment_file", type=click.Path(path_type=Path), metavar="FILE", required=False)
@OVERRIDES
@takes_grid
@RESULTS
def compare(experiment_file: Path | None, overrides: tuple[str, ...], results: Path, **grid: Any) -> None:
    """Set the finished runs of the experiment in FILE beside the numbers that papers published.

    Published numbers are those of results/published/: CLIP ViT-B/16 with OpenAI's weights, 16 shots.
    """
    experiment, specs = read_file_grid(experiment_file, overrides, grid)
    from harness.report import compare as report
    from harness.report.tables import footnote
    from harness.store import results_frame

    published = report.read_published(experiment.protocol)
    runs = results_frame(results, [spec.id for spec in specs])
    if runs.empty:
        raise UserError(f"none of the {len(specs)} runs is complete in '{results}': see `skipbench plan`, then `bench`")
    compared = report.compare(runs, published, experiment.protocol, len(experiment.datasets))
    print_frame(report.comparison_table(compared), title=f"{experiment.protocol}, {len(runs)} of {len(specs)} runs")
    console.print(footnote(runs), markup=False, soft_wrap=not console.is_terminal)
    console.print(f"Published: {', '.join(sorted(set(compared['source'])))}", markup=False, soft_wrap=True)
