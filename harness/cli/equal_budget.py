"""`skipbench equal-budget`: the same number of trials for every method, then their runs on test images."""

from pathlib import Path
from typing import Any

import click

from harness.cli.console import RESULTS, separated
from harness.cli.dry_run import DRY_RUN
from harness.cli.grid import ScheduleOptions, split_schedule, takes_schedule
from harness.cli.searches import changes_of, end_unless, search, seeds_of, takes_sweeps, tell_dry, test
from harness.cli.table import print_paper_table


@click.command("equal-budget")
@click.argument("methods", metavar="METHODS")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--seconds", help="Budget of every method in measured seconds of its trials, such as 600 or 10m.")
@takes_sweeps
@takes_schedule
@DRY_RUN
@RESULTS
def equal_budget(
    methods: str,
    settings: tuple[str, ...],
    seconds: str | None,
    test_seeds: str,
    schedule: ScheduleOptions,
    dry_run: bool,
    results: Path,
    **options: Any,
) -> None:
    """Tune METHODS (separated by commas) with the same budget, then test what was chosen.

    Every method has its sweep in experiments/sweeps/, begins with its official recipe, and gets --trials trials or
    --seconds of measured time on the same validation images. The runs on test images record study, protocol, trials,
    seconds and budget, and stand in the track `equal budget`. Everything is kept: the same command continues.

    \b
      skipbench equal-budget clip_adapter,coop,skip --trials 6
    """
    from harness.tune.chosen import told
    from harness.tune.equal_budget import plan_budget

    changes, scheduled = split_schedule(settings, schedule)
    plan = plan_budget(separated(methods), changes_of(changes, options), scheduled, seeds_of(test_seeds), seconds)
    sweeps = list(plan.sweeps.values())
    if dry_run:
        from harness.tune.chosen import place_of, tested

        specs = [spec for sweep in sweeps for spec in tested(sweep, place_of(sweep), plan.seeds, None, "dry")]
        tell_dry([f"Budget of each method: {plan.budget}", told(sweeps)], specs)
        return
    specs = plan.runs(search(plan.sweeps, results))
    complete = test(specs, results, sweeps[0].schedule)
    from harness.report.paper_tables import paper_tables
    from harness.report.runs import experiment_runs
    from harness.report.track_tables import with_tracks

    for found in paper_tables(with_tracks(experiment_runs(specs, results), results)):
        print_paper_table(found)
    end_unless(complete)
