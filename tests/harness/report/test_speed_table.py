"""The tables of `skipbench speed`."""

from dataclasses import replace

import pytest

from harness.machine.environment import Environment
from harness.reference.speed.measurement import Load, Measurement, SpeedCosts
from harness.reference.speed.spec import Row
from harness.reference.speed.timing import Spread
from harness.report.speed_table import load_line, refusals, settings_lines, shown, speed_tables
from tests.harness.reference.speed.specs import spec_of

STEADY = Spread(median=100.04, low=99.0, high=101.0, least=90.0, most=120.0, pairs=5)
SHAKEN = Spread(median=5.0, low=1.2, high=7.0, least=1.06, most=9.8, pairs=15)
OFF = Measurement(
    "coop", "coop n_ctx=4", 4, "off", SpeedCosts(step_cpu_seconds=2.0, step_seconds=1.2345, step_mib=10.0), 0
)
ON = Measurement(
    "coop",
    "coop n_ctx=4",
    4,
    "on",
    SpeedCosts(
        step_cpu_seconds=0.02,
        step_seconds=0.01234,
        step_mib=0.04,
        step_gflop=0.0001,
        epoch_cpu_seconds=4.0,
        texts_seconds=0.002,
    ),
    3.2e-7,
    ratios={
        "step_cpu_seconds": 100.04,
        "step_seconds": 5.24,
        "step_mib": 7.126,
        "step_gflop": 123456.0,
        "epoch_cpu_seconds": 1.1,
    },
    spreads={"step": STEADY},
)


def test_cells_of_the_tables() -> None:
    training, other = speed_tables([OFF, ON]).values()
    assert list(training["method"]) == list(other["method"]) == ["coop n_ctx=4"] * 2
    assert list(training["setting"]) == ["off", "on"]
    # The ratio is that of CPU seconds, with its spread; none beside wall seconds, and none beside `off`.
    assert list(training["step CPU ms"]) == ["2000.0", "20.0 (100x +-1%)"]
    assert list(training["step ms"]) == ["1234.5", "12.3"]
    assert list(training["epoch CPU s"]) == ["-", "4.0 (1.10x)"]
    assert list(training["step MiB"]) == ["10.0", "0.0 (7.13x)"]
    assert list(training["step GFLOP"]) == ["-", "0.0 (>1000x)"]
    assert list(other["texts ms"]) == ["-", "2.0"]
    # Nothing was measured of these.
    assert not {"cache ms/img", "infer ms/img"} & set(other.columns)
    assert list(other["difference"]) == ["", "3e-07"]


def test_where_pairs_disagree_there_is_a_range_and_no_ratio() -> None:
    shaken = replace(ON, spreads={"step": SHAKEN})
    training, _ = speed_tables([OFF, shaken]).values()
    assert training["step CPU ms"][1] == "20.0 (1.06-9.80x?)"
    # An epoch is made of such steps.
    assert training["epoch CPU s"][1] == "4.0"
    # Memory needs no clock.
    assert training["step MiB"][1] == "0.0 (7.13x)"
    (line,) = refusals([OFF, shaken])
    assert line == (
        "not measured: coop n_ctx=4, on, step: 15 pairs give ratios from 1.06 to 9.80: repeat while the machine is "
        "idle, or with more pairs (pairs=30)"
    )
    assert refusals([OFF, ON]) == []


def test_on_a_gpu_wall_seconds_count() -> None:
    gpu = replace(ON, costs=SpeedCosts(step_seconds=0.5), ratios={"step_seconds": 100.04})
    training, _ = speed_tables([gpu]).values()
    assert list(training["step ms"]) == ["500.0 (100x +-1%)"]
    assert "step CPU ms" not in training.columns


def test_lines_below_the_tables_say_what_was_measured_and_how_busy_the_machine_was() -> None:
    spec = spec_of(Row(method="skip", options={"depth": 3}, recipe="clip-emoji"), classes=4, shots=16)
    (line,) = settings_lines(spec)
    assert line.startswith("skip depth=3, recipe clip-emoji, depth=3 class_ratio=0.5 max_classes=50 ")
    assert line.endswith(", batch size 2, caching batch 2, epoch of 64 images")
    machine = Environment(device="cpu", threads=2, cores=4, torch="2.14.1")
    assert load_line(Load(0.25, 2.1), machine) == (
        "Load of the machine 0.25 before, 2.1 after (this process included), 4 cores; computed with 2 threads, "
        "torch 2.14.1"
    )
    assert "unknown before" in load_line(Load(None, None), machine)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.456, "0.46"), (1.0, "1.00"), (99.9, "99.90"), (100.0, "100"), (999.4, "999"), (1000.0, ">1000")],
)
def test_ratios_have_no_digits_that_mean_nothing(ratio: float, text: str) -> None:
    assert shown(ratio) == text
