"""`skipbench compare`: two runs or experiments side by side, or ours beside published numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import RESULTS, console, end_with_damage, print_frame, say_if_any
from harness.cli.grid import GridOptions, Words, read_file_grid, takes_grid
from harness.cli.table import none_complete
from harness.errors import UserError
from harness.experiment.files import is_experiment_name
from harness.experiment.grid import Experiment, ablation_axes
from harness.experiment.spec import RunSpec
from harness.results.folder import DONE
from harness.text import counted

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = "published"


@click.command()
@click.argument("words", nargs=-1, metavar="[A [B]] [KEY=VALUE]...")
@takes_grid
@click.option("--costs", is_flag=True, help="Published seconds and memory instead of accuracies, with their hardware.")
@RESULTS
def compare(words: tuple[str, ...], grid: GridOptions, costs: bool, results: Path) -> None:
    """Show what differs between A and B: configuration, accuracy, costs.

    A and B are experiment files, or finished runs by the beginning of their ids. Without B, or with the word
    `published`, A's experiment is set beside the numbers that papers published for the same protocol, backbone
    (OpenAI's weights) and shots. Differences are B - A, or ours - published; numbers are means over seeds.

    \b
      skipbench compare experiments/paper/base_to_new.yaml
      skipbench compare paper/few_shot --shots 4
      skipbench compare paper/base_to_new --costs
      skipbench compare 8e2efc 762107
      skipbench compare mine.yaml theirs.yaml --seeds 1
    """
    sides = [word for word in words if "=" not in word]
    overrides = tuple(word for word in words if "=" in word)
    if len(sides) > 2:
        raise UserError(f"compare takes two runs or experiments, these are {len(sides)}: {', '.join(sides)}")
    if len(sides) == 2 and sides[1] != PUBLISHED:
        if costs:
            raise UserError("--costs is for published costs: comparing two runs or experiments shows costs anyway")
        compare_two(sides, overrides, results, grid)
    elif sides and not is_experiment_name(sides[0]) and not costs:
        raise UserError(
            f"'{sides[0]}' is no experiment: compare takes two runs, or an experiment beside published numbers"
        )
    else:
        compare_published(Words(sides[0] if sides else None, overrides), results, grid, costs)


def compare_two(sides: list[str], overrides: tuple[str, ...], results: Path, grid: GridOptions) -> None:
    """Print what differs."""
    from harness.report.compare import comparison_notes, configuration_differences, number_differences
    from harness.report.runs import damage_in

    a, b = (find_side(side, overrides, results, grid) for side in sides)
    configuration = configuration_differences(a, b)
    numbers = number_differences(a, b)
    for letter, side, runs in zip("AB", sides, (a, b), strict=True):
        console.print(f"{letter}: {side} ({describe(runs)})", soft_wrap=True)
    console.print()
    if len(configuration):
        print_frame(configuration, title="configuration", left=3)
    else:
        console.print("configuration: the same")
    console.print()
    print_frame(numbers, title="accuracy (%) and costs", left=list(numbers.columns).index("metric") + 1)
    say_if_any(" ".join(comparison_notes(a, b)))
    end_with_damage([*damage_in(a), *damage_in(b)])


def find_side(side: str, overrides: tuple[str, ...], results: Path, grid: GridOptions) -> "pd.DataFrame":
    """The runs of an experiment file, or the finished run whose id begins with the word."""
    from harness.report.compare import find_finished_run
    from harness.report.runs import experiment_runs

    if is_experiment_name(side):
        _, specs = read_one_setting(Words(side, overrides), grid)
        return experiment_runs(specs, results)
    return find_finished_run(results, side)


def describe(runs: "pd.DataFrame") -> str:
    """How many runs a side has, or the name of its only run."""
    if len(runs) == 1:
        return str(runs["name"].iloc[0])
    return f"{(runs['state'] == DONE).sum()} of {counted(len(runs), 'run')}"


def read_one_setting(words: Words, grid: GridOptions) -> tuple[Experiment, list[RunSpec]]:
    """An experiment and its runs.

    Raises:
        UserError: runs of one method differ in more than data set, shots and seed, so that means would mix them.
    """
    experiment, specs = read_file_grid(words, grid)
    if axes := ablation_axes(experiment):
        raise UserError(f"compare takes means over seeds, and this experiment varies {axes[0]} too: give it one value")
    return experiment, specs


def compare_published(words: Words, results: Path, grid: GridOptions, costs: bool) -> None:
    """Print our numbers beside published ones."""
    experiment, specs = read_one_setting(words, grid)
    from harness.report import published, published_costs
    from harness.report.method_table import footnote
    from harness.report.runs import damage_in, experiment_runs

    theirs = published.read_published(experiment.protocol)
    planned = experiment_runs(specs, results)
    runs, damage = planned[planned["state"] == DONE], damage_in(planned)
    if runs.empty:
        raise UserError(none_complete(specs, results, damage))
    title = f"{experiment.protocol}, {len(runs)} of {counted(len(specs), 'run')}"
    if costs:
        numbers = published_costs.read_costs()
        averaged = published.datasets_in(theirs)
        table = published_costs.compare_costs(runs, numbers, experiment.protocol, averaged)
        notes = published_costs.source_notes(numbers, table)
        notes.append("Hardware, precision and what is counted differ, so no ratio is given: see docs/costs.md.")
    else:
        compared = published.compare(runs, theirs, experiment.protocol, len(experiment.datasets))
        table = published.comparison_table(compared.rows)
        notes = [*published.comparison_notes(compared.rows), *compared.left_out]
    print_frame(table, title=f"{title}, published costs" if costs else title)
    console.print(footnote(runs), markup=False, soft_wrap=not console.is_terminal)
    console.print("Published:", markup=False)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    end_with_damage(damage)
