"""`skipbench figures`: the figures of a paper."""

from pathlib import Path
from typing import Any

import click

from harness.cli.console import OVERRIDES, RESULTS, console, end_with_damage, separated
from harness.cli.grid import read_file_grid, takes_grid
from harness.cli.table import file_stem, find_runs
from harness.errors import UserError, nearest

FORMATS = ("svg", "pdf", "png")


@click.command()
@click.argument("experiment_file", type=click.Path(path_type=Path), metavar="FILE", required=False)
@OVERRIDES
@takes_grid
@click.option("--methods", help="Methods, separated by commas, or `all`.")
@click.option("--format", "formats", default="svg", show_default=True, help="svg, pdf, png, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default RESULTS/figures.")
@click.option("--over", "axis", metavar="KEY", help="Ablation curves over the values of this setting.")
@RESULTS
def figures(
    experiment_file: Path | None,
    overrides: tuple[str, ...],
    methods: str | None,
    formats: str,
    out: Path | None,
    axis: str | None,
    results: Path,
    **grid: Any,
) -> None:
    """Figures of the experiment in FILE; without FILE and options, of all finished runs in RESULTS.

    Few-shot curves, accuracy against measured memory and against time with the Pareto front, change of every class
    against zero-shot CLIP, time by phase; with --over ablation curves. Writes RESULTS/figures/<name>.<svg,pdf,png>.
    """
    asked = separated(formats)
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"unknown format '{name}'.{nearest(name, FORMATS)}")
    from harness.report.figures import ablation_curves, paper_figures
    from harness.report.paper_tables import paper_tables
    from harness.report.plots import draw
    from harness.report.runs import axis_runs, damage_of, in_order
    from harness.results.files import write_atomically

    if axis:
        _, specs = read_file_grid(experiment_file, overrides, grid, methods)
        stem, found = file_stem(experiment_file), [ablation_curves(axis_runs(specs, results, axis), axis)]
        names: list[str] = []
        damage = damage_of(results)
    else:
        chosen = find_runs(experiment_file, overrides, methods, results, grid)
        stem, damage = chosen.stem, chosen.damage
        found, names = paper_figures(paper_tables(chosen.runs), results), in_order(chosen.runs["label"])
    folder = out or results / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for figure in found:
        for file_format in asked:
            path = folder / f"{stem}-{figure.name}.{file_format}"
            write_atomically(path, draw(figure, names, file_format))
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
    end_with_damage(damage)
