"""`skipbench runs`, `show`, `rerun` and `export`: the runs of a results folder, of any experiment."""

import datetime
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.completion import complete_ids
from harness.cli.console import RESULTS, console, end_with_damage
from harness.cli.grid import ScheduleOptions, split_schedule, takes_schedule
from harness.errors import UserError
from harness.machine.garbage import no_garbage_search
from harness.machine.units import MIB
from harness.text import counted, plain

if TYPE_CHECKING:
    from harness.results.failure import RunFailure
    from harness.results.record import Result

LOG_LINES = 8
EPOCH_LINES = 3


@click.command()
@click.option("--done", "state", flag_value="done", help="Only complete runs.")
@click.option("--running", "state", flag_value="running", help="Only runs that a process computes now.")
@click.option("--failed", "state", flag_value="failed", help="Only failed runs.")
@click.option("--interrupted", "state", flag_value="interrupted", help="Only runs that were started and not finished.")
@click.option("--damaged", "state", flag_value="damaged", help="Only runs whose files cannot be read.")
@click.option("--method", help="Only runs of this method.")
@click.option("--dataset", help="Only runs that train on this data set.")
@RESULTS
@no_garbage_search()
def runs(state: str | None, method: str | None, dataset: str | None, results: Path) -> None:
    """List the runs of the results folder: state, id, name, and accuracies, progress or the reason of a failure.

    Each is listed with the settings in which it differs from its recipe and from others of its name, and with the time
    at which its log was written last.
    """
    from harness.cli.run_lines import RunLine
    from harness.report.labels import settings_apart
    from harness.results.folder import DAMAGED, STATES
    from harness.results.index import stored_runs

    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    damage = []
    shown: list[RunLine] = []
    for item in stored_runs(results):
        if state and item.state != state:
            continue
        spec = item.spec
        if (method and (not spec or spec.method != method)) or (dataset and (not spec or spec.data.dataset != dataset)):
            continue
        counts[item.state] += 1
        damage += [item.reason] if item.state == DAMAGED else []
        shown.append(RunLine.of(item))
    apart = settings_apart({item.id: item.spec for item in shown if item.spec})
    console.print_lines([line.text(apart.get(line.id, ())) for line in shown])
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    console.print(told or "no such runs")
    end_with_damage(damage)


@click.command()
@click.argument("run_id", metavar="ID", shell_complete=complete_ids)
@RESULTS
def show(run_id: str, results: Path) -> None:
    """Explain one run: its state and the reason, its settings, accuracies and costs, and where its files are.

    The first characters of the id are enough.
    """
    import yaml

    from harness.cli.run_lines import curves, outcome_of, settings_told, when
    from harness.results.folder import DAMAGED
    from harness.results.index import find_run
    from harness.results.log import end_of_log

    item = find_run(results, run_id)
    if item.state == DAMAGED:
        raise UserError(f"run {item.id} is damaged: {item.reason}")
    say(", ".join(filter(None, [f"{item.name} ({item.id}): {item.state}", when(item)])))
    say(outcome_of(item))
    if item.spec and (changed := settings_told(item.spec, ())):
        say(f"Beside its recipe: {' '.join(changed)}")
    if lines := curves(item.epochs):
        say()
        say("Curves")
        for line in lines:
            say(f"  {line}")
    if item.failure:
        show_attempts(item.failure)
    if item.result:
        show_result(item.result)
    elif item.epochs:
        for record in item.epochs[-EPOCH_LINES:]:
            say(f"  epoch {record.epoch} loss {record.loss:.4f} lr {record.lr:.3g}")
    say()
    say("Settings")
    for line in yaml.safe_dump(item.settings, sort_keys=False, allow_unicode=True).splitlines():
        say(f"  {line}")
    lines = end_of_log(item.folder.log_file, LOG_LINES)
    if lines and not item.result:
        say()
        say("End of the log")
        for line in lines:
            say(f"  {line}")
    say()
    say(f"Folder: {item.folder.path}")
    if item.state != "done":
        say(f"Continue it with `skipbench rerun {item.id}`")


def say(line: str = "") -> None:
    """Print a line."""
    console.print(line, soft_wrap=True)


def show_attempts(failure: "RunFailure") -> None:
    """Print all attempts at a run that failed."""
    say()
    say("Attempts")
    for attempt in failure.attempts:
        when = datetime.datetime.fromtimestamp(attempt.started, datetime.timezone.utc)
        where = f"{attempt.host} {attempt.device}"
        say(f"  {when:%Y-%m-%d %H:%M:%SZ} {where}, {attempt.seconds:.0f} s, {counted(attempt.epochs, 'epoch')},")
        say(f"    {attempt.kind}: {attempt.reason}")


def show_result(result: "Result") -> None:
    """Print accuracies, choices and costs of a finished run."""
    from harness.report.marks import details_of

    say()
    say("Accuracy")
    for item in result.evaluations:
        ece = "" if item.ece is None else f"  calibration error {item.ece:.2f}"
        say(f"  {item.name:20s} {item.accuracy:6.2f} %{ece}  ({item.dataset})")
    for line in details_of(result):
        say(f"  {line}")
    costs = result.costs
    alone = {True: "", False: " (not measured alone)", None: " (not known to be measured alone)"}[costs.alone]
    say()
    say(f"Costs{alone}")
    for name, phase in costs.phases.items():
        peak = "" if phase.peak_bytes is None else f"  {phase.peak_bytes / MIB:9.1f} MiB peak"
        rate = f"  {phase.images_per_second:9.1f} images/s" if phase.images_per_second else " " * 20
        say(f"  {name:10s} {phase.whole_seconds:8.2f} s{rate}{peak}".rstrip())
    say(f"  {costs.trainable_parameters} of {costs.total_parameters} parameters trained")
    environment = result.environment
    say()
    say(f"On {environment.device}, torch {environment.torch}, commit {environment.git_commit}")


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[ID]...", shell_complete=complete_ids)
@click.option("--failed", is_flag=True, help="All runs that failed.")
@click.option("--anew", is_flag=True, help="Start anew even if epochs are saved.")
@takes_schedule
@RESULTS
def rerun(run_ids: tuple[str, ...], failed: bool, anew: bool, schedule: ScheduleOptions, results: Path) -> None:
    """Compute runs again: a failed or interrupted one continues from its last saved epoch, a complete or damaged one
    starts anew.

    The earlier folder of a run that starts anew is kept in RESULTS/replaced/. schedule.KEY=VALUE, runtime.KEY=VALUE,
    tracking.KEY=VALUE and wandb.KEY=VALUE among the ids change how runs are executed and tracked, such as
    runtime.keep_validation_logits=true.
    """
    from harness.cli.run import execute
    from harness.experiment.settings import merge, validate
    from harness.experiment.spec import ScheduleSpec, parse_run_spec
    from harness.results.folder import DAMAGED, FAILED
    from harness.results.index import find_run, stored_runs

    words = tuple(word for word in run_ids if "=" in word)
    settings, scheduled = split_schedule(words, schedule)
    if other := [word for word in words if word.partition(".")[0] not in ("runtime", "schedule", "tracking", "wandb")]:
        raise UserError(f"'{other[0]}' would make another run: use `skipbench run FILE KEY=VALUE`")
    items = [find_run(results, word) for word in run_ids if "=" not in word]
    stored = list(stored_runs(results)) if failed else []
    items += [item for item in stored if item.state == FAILED]
    damage = [item.reason for item in stored if item.state == DAMAGED]
    if not items:
        end_with_damage(damage)
        raise UserError("there is no failed run" if failed else "name runs by id, or --failed: see `skipbench runs`")
    specs = []
    for item in items:
        if item.spec is None:
            raise UserError(f"run {item.id}: {item.reason or 'its spec was never written'}")
        spec = parse_run_spec(merge(item.settings, settings))
        if spec.id != item.id:
            raise UserError(
                f"run {item.id} was made with other code or data: its settings now are run {spec.id}. "
                f"Run that with `skipbench run {shlex.quote(str(item.folder.path / 'spec.yaml'))}`"
            )
        specs.append(spec)
    for item in items:
        # A damaged result would stand in the way of the new one.
        if anew or item.folder.is_complete:
            say(f"{item.name}: {item.outcome or item.state}; kept in {item.folder.set_aside(results)}")
    execute(specs, results, validate(ScheduleSpec, scheduled, "schedule."))
    end_with_damage(damage)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="A .csv or .parquet file; default: CSV to the screen.")
@RESULTS
def export(out: Path | None, results: Path) -> None:
    """Write all finished runs as one tidy table: one row per evaluation of each run.

    Columns are the settings by their keys (data.shots, skip.depth), costs.*, facts.*, sample.*, environment.*,
    metrics.* and evaluation.* (name, dataset, accuracy in percent, ...).
    """
    from harness.report.export import tidy_table, write_table

    table, damage = tidy_table(results)
    if table.empty:
        raise UserError(f"no run is complete in '{results}': see `skipbench runs`")
    if out is None:
        if console.is_terminal:
            # On a terminal no name has an effect; a pipe gets the values as they are.
            table = table.map(lambda value: plain(value) if isinstance(value, str) else value).rename(columns=plain)
        table.to_csv(sys.stdout, index=False)
    else:
        write_table(table, out)
        runs = counted(table["id"].nunique(), "run")
        say(f"{counted(len(table), 'row')} of {runs}, {counted(len(table.columns), 'column')}: {out}")
    end_with_damage(damage)
