"""What a measured process took is its own, and not the size of the one that measures it."""

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


def test_what_fails_ends_the_measurement_with_its_reason() -> None:
    with pytest.raises(SystemExit, match="there is none"):
        measured(["-c", "raise SystemExit('there is none')"], ROOT, {})
