"""`skipbench selfcheck`: whether this machine computes the right numbers, and how fast."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import RESULTS, console, counting_bars, print_frame, separated
from harness.errors import UserError, nearest
from harness.results.files import check_writable
from harness.text import counted

if TYPE_CHECKING:
    from harness.reference.selfcheck.findings import Finding
    from harness.reference.selfcheck.run import Section

WRONG = 1
# Where there is no terminal, a line of progress is printed when so many seconds have passed since the last.
PATIENCE = 2.0
# Numbers of a section that are shown where each only says that it is within its limit.
FEW = 12


@click.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--quick", is_flag=True, help="A little of everything, in less than a minute.")
@click.option("--methods", "names", help="Methods, separated by commas; default: what each section chooses.")
@click.option("--parts", help="Sections, separated by commas; default: all.")
@click.option("--anew", is_flag=True, help="Also compute what an earlier self-check found to be right.")
@RESULTS
def selfcheck(device: str, quick: bool, names: str | None, parts: str | None, anew: bool, results: Path) -> None:
    """Check that this machine computes the right numbers, and say how fast, without data, weights or network.

    \b
      devices    which there are, and whether other runs on them are noticed
      files      free bytes; whether a file is replaced as a whole
      vectors    reference vectors of the official implementations, on the device
      precisions the same in bf16, fp16, half and tf32, as far as the device has them
      repeat     the same training twice, and interrupted: the same bytes
      tracking   a run that W&B records offline, read back from W&B's file
      memory     estimated beside measured peaks (CPU: equal to the byte)
      times      matrix product, copy; steps, caching and inference as shares of them
      attention  GPU only: error and time of torch's attention kernels

    A section that was right is not computed again by the same code on the same device, except devices and files, and
    after a kill the same command goes on behind the last part of a section that was done.
    Writes selfcheck.json and selfcheck.html to RESULTS/selfcheck/<device>-<digest>/. Exit code 1 if a number is
    wrong; its line names method and quantity.
    """
    from harness.experiment.registry import check_method
    from harness.machine.device import choose_device
    from harness.reference.selfcheck.page import exactly
    from harness.reference.selfcheck.run import SECTIONS, SelfCheck

    methods = tuple(check_method(name) for name in separated(names or ""))
    asked = tuple(separated(parts or ""))
    for part in asked:
        if part not in SECTIONS:
            raise UserError(f"there is no section '{part}'.{nearest(part, SECTIONS)}")
    check_writable(results)
    check = SelfCheck(choose_device(device), results, methods, quick, slots_in_words())
    console.print(f"{check.machine.device}, {check.machine.versions()}", markup=False, soft_wrap=True)
    found = []
    with counting_bars() as bars:
        task = bars.add_task("", total=len(asked or SECTIONS), news="")
        last = time.monotonic()

        def say(words: str) -> None:
            nonlocal last
            bars.update(task, description=words)
            if not console.is_terminal and time.monotonic() - last > PATIENCE:
                last = time.monotonic()
                console.print(f"... {words}", markup=False)

        for section in check.run(asked, anew, say):
            found.append(section)
            bars.advance(task)
            console.print(headline(section), markup=False)
    print_findings(found)
    console.print(f"JSON: {check.path}", markup=False, soft_wrap=True)
    console.print(f"Page: {check.path.with_suffix('.html')}", markup=False, soft_wrap=True)
    wrong = [finding for section in found for finding in section.wrong]
    for finding in wrong:
        console.print(exactly(finding), markup=False, soft_wrap=True)
    if wrong:
        sys.exit(WRONG)
    console.print("All numbers are right.")


def slots_in_words() -> tuple[str, ...]:
    """The slots that a scheduler would make of this machine, or why it makes none."""
    from harness.experiment.spec import ScheduleSpec
    from harness.schedule.slots import make_slots

    try:
        slots = make_slots(ScheduleSpec(), [])
    except UserError as error:
        return (str(error),)
    return tuple(f"{slot.device}, {slot.threads or 'all'} threads" for slot in slots)


def headline(section: "Section") -> str:
    """A section in one line."""
    verdict = f"{len(section.wrong)} WRONG" if section.wrong else "all right"
    when = "stored, " if section.stored else ""
    numbers = counted(len(section.findings), "number", "numbers")
    return f"{section.name:10s} {verdict:10s} {numbers} ({when}{section.seconds:.1f} s)"


def print_findings(sections: "list[Section]") -> None:
    """Tables of all that was found."""
    import pandas as pd

    from harness.reference.selfcheck.page import COLUMNS, cells

    for section in sections:
        shown = shown_of(section)
        rows = [cells(finding)[1:] for finding in shown]
        left = len(section.findings) - len(shown)
        title = f"{section.name}, without {left} numbers that are right and stand in the page" if left else section.name
        print_frame(pd.DataFrame(rows, columns=list(COLUMNS[1:])), title=title, left=2)


def shown_of(section: "Section") -> "list[Finding]":
    """What is shown of a section in the terminal: all; of many numbers with limits what is wrong and the first ones."""
    judged = all(finding.limit is not None for finding in section.findings)
    right = [finding for finding in section.findings if finding.ok]
    return section.wrong + (right[:FEW] if judged else right)
