"""`skipbench figures`: the figures of a paper."""

from pathlib import Path

import click

from harness.cli.console import RESULTS, console, end_with_damage, say_if_any, separated
from harness.cli.grid import FILE_AND_SETTINGS, GridOptions, Words, read_file_grid, takes_report_grid
from harness.cli.rescore import rescored_runs
from harness.cli.table import file_stem, find_runs
from harness.errors import UserError, nearest
from harness.experiment.grid import ablation_axes
from harness.results.files import write_atomically

FORMATS = ("svg", "pdf", "png")


@click.command()
@FILE_AND_SETTINGS
@takes_report_grid
@click.option("--methods", help="Methods, separated by commas, or `all`.")
@click.option("--format", "formats", default="svg", show_default=True, help="svg, pdf, png, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default RESULTS/figures.")
@click.option("--over", metavar="KEY", help="Ablation curves over the values of this setting.")
@click.option("--width", type=click.Choice(["column", "page"]), help="As wide as one column of a page, or both.")
@click.option("--labels", "labels_file", type=click.Path(path_type=Path), metavar="FILE",
              help="YAML: name of a method or data set: the name to show.")  # fmt: skip
@click.option("--style", type=click.Path(path_type=Path), metavar="FILE",
              help="A matplotlib style sheet (.mplstyle), or YAML: font, font_size, line_width, colours.")  # fmt: skip
@RESULTS
def figures(
    words: Words,
    grid: GridOptions,
    methods: str | None,
    formats: str,
    out: Path | None,
    over: str | None,
    width: str | None,
    labels_file: Path | None,
    style: Path | None,
    all_runs: bool,
    by: str | None,
    results: Path,
) -> None:
    """Figures of the experiment in FILE; without FILE and options, of all finished runs in RESULTS.

    Few-shot curves, accuracy against measured memory and against time with the Pareto front, change of every class
    against zero-shot CLIP, time by phase, reliability where runs kept their logits; over data sets the
    critical-difference diagram, all pairs of methods, gains against zero-shot CLIP and mean ranks over shots; transfer
    in both directions where both are there; with --over ablation curves. Writes
    RESULTS/figures/<name>.<svg,pdf,png>.
    """
    asked = separated(formats)
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"unknown format '{name}'.{nearest(name, FORMATS)}")
    from harness.report.ablation_curves import ablation_curves
    from harness.report.comparison_figures import CellMap, Drawn, comparison_figures
    from harness.report.comparison_plots import PAGE_HEIGHT, draw_any, height_of
    from harness.report.directions import direction_maps
    from harness.report.display_names import Names, with_display_names
    from harness.report.figures import Figure, paper_figures
    from harness.report.look import WIDTHS, Look, read_labels, read_style
    from harness.report.paper_tables import paper_tables
    from harness.report.print_layout import for_print, with_intervals
    from harness.report.reliability import reliability_figures
    from harness.report.runs import axis_runs, damage_of, in_order

    names: list[str] = []
    found: list[Drawn] = []
    not_drawn: list[str] = []
    left_out = ""
    if over:
        experiment, specs = read_file_grid(words, grid, methods)
        others = [key for key in ablation_axes(experiment) if key != over]
        if others:
            raise UserError(f"a figure shows one axis, and the experiment varies {others[0]} too: give it one value")
        runs = axis_runs(specs, results, [over])
        stem, found = file_stem(words, grid), [with_intervals(ablation_curves(runs, over))]
        damage = damage_of(results)
    else:
        chosen = find_runs(words, methods, grid, results, all_runs, by)
        stem, damage, left_out = chosen.stem, chosen.damage, chosen.left_out
        runs = chosen.runs
        tables, names = paper_tables(runs), in_order(runs["label"])
        comparisons = comparison_figures(tables)
        rescored = rescored_runs(runs, results, [])
        plain = [*paper_figures(tables, results), *reliability_figures(tables, rescored)]
        curves = [figure for figure in comparisons.figures if isinstance(figure, Figure)]
        diagrams = [figure for figure in comparisons.figures if not isinstance(figure, Figure)]
        found = [*for_print([*plain, *curves]), *diagrams, *direction_maps(tables)]
        not_drawn = comparisons.left_out
        damage = [*damage, *(line for run in rescored.values() for line in run.damage)]
    methods_shown = in_order(runs["method"])
    labels = read_labels(labels_file, [*methods_shown, *in_order(runs["dataset"])]) if labels_file else {}
    settings, colours = read_style(style, methods_shown) if style else ({}, {})
    shown = Names.of(methods_shown, labels)
    look = Look(WIDTHS.get(width or ""), settings, {shown.shown(name): colour for name, colour in colours.items()})
    names = [shown.shown(label) for label in names]
    found = [with_display_names(figure, methods_shown, labels) for figure in found]
    folder = out or results / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for figure in found:
        for file_format in asked:
            path = folder / f"{stem}-{figure.name}.{file_format}"
            write_atomically(path, draw_any(figure, names, file_format, look))
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
        high = height_of(figure, look.width) if isinstance(figure, CellMap) else 0.0
        if look.width is not None and high > PAGE_HEIGHT:
            not_drawn.append(
                f"{stem}-{figure.name} is {high:.0f} inches high at this width, more than a page: "
                "leave --width out, or choose fewer methods with --methods"
            )
    for line in dict.fromkeys(line for figure in found for line in figure.key):
        console.print(line, soft_wrap=True)
    for line in not_drawn:
        console.print(line, markup=False, soft_wrap=True)
    say_if_any(left_out)
    end_with_damage(damage)
