"""`skipbench check`: what it prints, its exit code, and mistakes in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.reference.contract.properties import PROPERTIES
from tests.commands import error_line, skipbench
from tests.harness.reference.contract.faulty_methods import FAULTS, NAME


def test_a_line_for_each_property_and_exit_code_1_if_one_fails(
    add_method: Callable[[str, str], None], tiny: Path
) -> None:
    add_method(NAME, FAULTS["option without description"].code)
    done = skipbench("check", NAME, "text_shift.strength=0.5", "train.lr=0.1", "--backbone", str(tiny))
    assert (done.returncode, done.stderr) == (1, "")
    *lines, summary = done.stdout.splitlines()
    assert [line[9:41].strip() for line in lines] == [item.title for item in PROPERTIES]
    (failed,) = [line for line in lines if line.startswith("FAILED")]
    assert "describes its options" in failed
    assert summary.startswith(f"text_shift on {tiny}: 20 ok, 1 FAILED, 4 skipped")


def test_several_methods_that_keep_the_contract(tiny: Path) -> None:
    done = skipbench("check", "zeroshot,clip_adapter", "--backbone", str(tiny))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines() if f" on {tiny}: " in line] == [
        "zeroshot",
        "clip_adapter",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("zeroshott", "unknown method 'zeroshott'. Did you mean 'zeroshot'?"),
        ("skip skip.dept=3", "unknown key 'skip.dept'. Did you mean 'depth'?"),
        ("skip skip.depth=9", "skip.depth=9 is beyond a backbone of 6 blocks"),
        ("skip skip.depth=2,4", "skip.depth=2,4: a check takes one value of each setting"),
        ("skip train.precision=half", "'train.precision' is set by the check"),
        ("skip,coop skip.depth=3", "options belong to one method: check it alone"),
        ("skip --backbone emoji", "unknown backbone 'emoji'"),
        ("skip --vectors nowhere", "'nowhere' is not a folder of reference vectors"),
    ],
)
def test_a_mistake_in_the_command_does_not_count_as_the_methods(words: str, message: str) -> None:
    assert error_line("check", *words.split()).startswith(f"error: {message}")
