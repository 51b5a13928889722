"""What a measured process took is its own, and not the size of the one that measures it."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.measured_process import measured

ROOT = Path(__file__).parents[1]


def test_seconds_size_and_output_are_those_of_the_process() -> None:
    large = bytearray(b"1" * (200 << 20))
    cost, text = measured(["-c", "import os; print(os.environ['SAID'])"], ROOT, {"SAID": "this"})
    assert text == "this\n"
    assert 0 < cost.wall < 60
    assert cost.cpu > 0
    assert 0 < cost.mib < len(large) >> 20


def test_other_processes_are_not_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        cost, _ = measured(["-c", "pass"], ROOT, {})
        assert other.poll() is None
        other.communicate(b"\n")
    assert cost.wall < 60


def test_what_fails_ends_the_measurement_with_its_reason() -> None:
    with pytest.raises(SystemExit, match="there is none"):
        measured(["-c", "raise SystemExit('there is none')"], ROOT, {})


OUTLIVED = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time\\nwhile time.process_time() < 1: pass"], stdout=subprocess.DEVNULL)
"""
MEASURING = f"""
from pathlib import Path
from experiments.measured_process import adopt_orphans, measured
adopt_orphans()
print(measured(["-c", {OUTLIVED!r}], Path.cwd(), {{}})[0].cpu)
"""


def test_processes_that_outlive_theirs_count() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURING], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) >= 1
