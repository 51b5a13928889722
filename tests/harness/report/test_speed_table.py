"""The table of `skipbench speed`."""

import pytest

from harness.reference.speed.measurement import Measurement, SpeedCosts
from harness.report.speed_table import shown, speed_table


def measurement(setting: str, costs: SpeedCosts, difference: float = 0.0, **found: float) -> Measurement:
    return Measurement("coop", "coop n_ctx=4", 4, setting, costs, found, difference)


def test_cells_of_the_table() -> None:
    off = measurement("off", SpeedCosts(step_seconds=1.2345, step_mib=10.0), step_seconds=1.0, step_mib=1.0)
    on = measurement(
        "on",
        SpeedCosts(step_seconds=0.01234, step_mib=0.04, step_gflop=0.0001, texts_seconds=0.002),
        3.2e-7,
        step_seconds=100.04,
        step_mib=7.126,
        step_gflop=123456.0,
    )
    table = speed_table([off, on])
    assert list(table["method"]) == ["coop n_ctx=4"] * 2
    assert list(table["setting"]) == ["off", "on"]
    # Without a ratio beside `off`, without digits that mean nothing, and a dash where nothing was measured.
    assert list(table["step ms"]) == ["1234.5", "12.3 (100x)"]
    assert list(table["step MiB"]) == ["10.0", "0.0 (7.13x)"]
    assert list(table["step GFLOP"]) == ["-", "0.0 (>1000x)"]
    assert list(table["texts ms"]) == ["-", "2.0"]
    assert list(table["cache ms/img"]) == list(table["infer ms/img"]) == ["-", "-"]
    assert list(table["difference"]) == ["", "3e-07"]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.456, "0.46"), (1.0, "1.00"), (99.9, "99.90"), (100.0, "100"), (999.4, "999"), (1000.0, ">1000")],
)
def test_ratios_have_no_digits_that_mean_nothing(ratio: float, text: str) -> None:
    assert shown(ratio) == text
