"""`skipbench transfer`: settings chosen here, tested there."""

from pathlib import Path
from typing import Any

import click

from harness.cli.console import RESULTS, separated
from harness.cli.dry_run import DRY_RUN
from harness.cli.grid import ScheduleOptions, split_schedule, takes_schedule
from harness.cli.searches import changes_of, end_unless, search, seeds_of, takes_sweeps, tell_dry, test
from harness.cli.table import FORMATS, print_paper_table, write_tables
from harness.errors import UserError, nearest
from harness.text import counted


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--over", type=click.Choice(["dataset", "shots", "protocol"]), default="dataset", show_default=True,
              help="What differs between the places.")  # fmt: skip
@click.option("--among", required=True, help="Its values, such as dtd,eurosat or 4,16 or base_to_new,few_shot.")
@click.option("--sampler", type=click.Choice(["tpe", "nsga2", "random", "grid"]), help="grid: all points of the space.")
@takes_sweeps
@click.option("--format", "formats", default="", help="Files to write: md, latex, csv, html, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default RESULTS/tables.")
@takes_schedule
@DRY_RUN
@RESULTS
def transfer(
    name: str,
    settings: tuple[str, ...],
    over: str,
    among: str,
    test_seeds: str,
    formats: str,
    out: Path | None,
    schedule: ScheduleOptions,
    dry_run: bool,
    results: Path,
    **options: Any,
) -> None:
    """Choose settings in each of several places, test them in all: NAME is a sweep, as for `sweep`.

    Settings are chosen on validation images only, by the headline metric of the protocol. Rows of the table are where
    they were chosen, columns where they were tested; below stand the differences to choosing there and to the recipe
    itself. Everything is kept: the same command continues.

    \b
      skipbench transfer clip_adapter --over shots --among 4,16 --protocol few_shot_validation --trials 6
      skipbench transfer skip --among dtd,eurosat,ucf101 --backbone ViT-B-16-quickgelu
    """
    asked = separated(formats)
    for one in asked:
        if one not in FORMATS:
            raise UserError(f"unknown format '{one}'.{nearest(one, FORMATS)}")
    given = over if options.get(over) is not None else None
    if given:
        raise UserError(f"--{given} is what differs: give its values with --among")
    from harness.report.transfer_table import transfer_table
    from harness.tune.chosen import told
    from harness.tune.transfer import plan_transfer

    changes, scheduled = split_schedule(settings, schedule)
    plan = plan_transfer(name, over, among, changes_of(changes, options), scheduled, seeds_of(test_seeds))  # type: ignore[arg-type]
    if dry_run:
        fixed = [spec for specs in plan.runs({}).values() for spec in specs]
        tell_dry([told(list(plan.sweeps.values())), *places_of(plan)], fixed * (1 + len(plan.sweeps)))
        return
    recipes = search(plan.sweeps, results)
    runs = plan.runs(recipes)
    complete = test([spec for specs in runs.values() for spec in specs], results, plan.first.schedule)
    table = transfer_table(over, runs, results)
    print_paper_table(table)
    write_tables([table], asked, out or results / "tables", "")
    end_unless(complete)


def places_of(plan: Any) -> list[str]:
    """The places, one line each."""
    return [
        f"  {value}: chosen under {sweep.protocol} of {sweep.dataset}, {counted(sweep.shots, 'shot')}; "
        f"tested under {plan.places[value].protocol}"
        for value, sweep in plan.sweeps.items()
    ]
