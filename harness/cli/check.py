"""The command that checks the contract of a method."""

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import console, counting_bars, separated
from harness.cli.grid import METHODS_AND_SETTINGS, Words
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.reference.contract.candidate import Candidate
    from harness.reference.contract.properties import Outcome

STYLES = {"FAILED": "bold red", "skipped": "dim", "remark": "yellow"}


@click.command()
@METHODS_AND_SETTINGS
@click.option("--backbone", default="clip-emoji", show_default=True, help="Any backbone; the embedded one is fast.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Reference vectors of official implementations, such as tests/golden.",
)
def check(words: Words, backbone: str, vectors: Path | None) -> None:
    """Check that METHODS keep the contract of a method: one line per property, exit code 1 if any does not hold.

    A method is a file in methods/ or in the folder that SKIPBENCH_METHODS names; several are separated by commas, all
    checks every one. Options of the method and learning rates follow as KEY=VALUE. Trains for two epochs on a few
    embedded images on the CPU, in seconds; nothing is downloaded or written.

    \b
      skipbench check skip
      SKIPBENCH_METHODS=my_methods skipbench check text_shift text_shift.strength=0.5 train.lr=0.1
    """
    from harness.experiment.grid import EVERY_METHOD
    from harness.experiment.registry import check_method, method_names

    if words.first is None:
        raise UserError("name a method to check, several separated by commas, or all")
    names = method_names() if words.first == EVERY_METHOD else separated(words.first)
    for name in names:
        check_method(name)
    if words.settings and len(names) > 1:
        raise UserError("options belong to one method: check it alone")
    if vectors and not vectors.is_dir():
        raise UserError(f"'{vectors}' is not a folder of reference vectors: give one such as tests/golden")
    from harness.reference.contract.candidate import Candidate

    candidates = [Candidate(name, backbone, words.settings, vectors) for name in names]
    outcomes = [outcome for candidate in candidates for outcome in check_one(candidate)]
    if any(outcome.state == "FAILED" for outcome in outcomes):
        sys.exit(1)


def check_one(candidate: "Candidate") -> "list[Outcome]":
    """Check a method, printing each property as soon as it is known."""
    from harness.reference.contract.properties import PROPERTIES, check_contract

    begin = time.perf_counter()
    outcomes: list[Outcome] = []
    with counting_bars() as bars:
        task = bars.add_task(f"checking {candidate.name}", total=len(PROPERTIES), news="loading the backbone")
        candidate.prepare()
        for outcome in check_contract(candidate, lambda title: bars.update(task, news=title)):
            outcomes.append(outcome)
            bars.advance(task)
            line = f"{outcome.state:8s} {outcome.title:32s} {outcome.words}".rstrip()
            bars.console.print(line, style=STYLES.get(outcome.state), markup=False, soft_wrap=True)
    counts = Counter(outcome.state for outcome in outcomes)
    summary = ", ".join(f"{number} {state}" for state, number in counts.items())
    seconds = time.perf_counter() - begin
    line = f"{candidate.name} on {candidate.backbone}: {summary} ({seconds:.0f} s)"
    console.print(line, markup=False, soft_wrap=True)
    return outcomes
