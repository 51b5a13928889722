"""`skipbench stability`: whether rounding decides the result of a recipe."""

import sys
from pathlib import Path

import click

from harness.cli.console import RESULTS, console, counting_bars, print_frame
from harness.cli.grid import METHODS_AND_SETTINGS, GridOptions, Words, read_grid, takes_grid
from harness.errors import UserError
from harness.results.files import check_writable

CHAOS = 1


@click.command()
@METHODS_AND_SETTINGS
@takes_grid
@click.option(
    "--moves", type=click.IntRange(min=1), default=2, show_default=True, help="Moved starts of each run: up, down, ..."
)
@RESULTS
def stability(words: Words, grid: GridOptions, moves: int, results: Path) -> None:
    """Measure how far rounding moves the results of METHODS, beside how far their seeds lie apart.

    Takes what `bench` takes. Each run is trained anew, then again from trained values that are moved by one unit in the
    last place: all up, all down, further ones in directions drawn at random. A recipe is stable if its metric (H) moves
    by less than its standard deviation over the seeds; exit code 1 if one is not. Runs in results folders are neither
    read nor written; the numbers go to RESULTS/stability/. To choose settings, use a validation protocol.

    \b
      skipbench stability cocoop,maple
      skipbench stability maple train.lr=5e-4,2e-3 --protocol base_to_new_validation --moves 4
    """
    _, planned = read_grid(words, grid)
    specs = [item.spec for item in planned]
    check_writable(results)
    from harness.reference.stability.measurement import CHAOTIC, measure, recipes_of, save, trainings_of
    from harness.report.stability_table import NOTE, stability_table

    if len({spec.protocol for spec in specs}) > 1:
        raise UserError("give one protocol: the columns of several differ")
    recipes = recipes_of(specs)
    measured = []
    with counting_bars() as bars:
        total = sum(trainings_of(spec, moves) for spec in specs)
        task = bars.add_task("training", total=total, news="")

        def report(title: str) -> None:
            bars.update(task, description=title, advance=1)

        for item in measure(recipes, moves, report):
            measured.append(item)
            path = save(results, specs, measured)
            if not console.is_terminal:
                console.print(f"measured {item.label}", markup=False)
    first = specs[0]
    threads = f"{measured[0].threads} thread{'' if measured[0].threads == 1 else 's'}"
    title = f"{first.protocol}, {first.data.dataset}, {first.data.shots} shots, {first.backbone}, {threads}"
    print_frame(stability_table(measured), title=title, left=1)
    console.print(NOTE, markup=False, soft_wrap=not console.is_terminal)
    console.print(f"JSON: {path}", markup=False, soft_wrap=True)
    if any(item.verdict == CHAOTIC for item in measured):
        sys.exit(CHAOS)
