"""What the measurement of whole runs starts, and its tables; the measurement itself takes minutes."""

import json
from pathlib import Path

import pytest

from experiments.measure_start import ROOT
from experiments.measure_whole_run import (
    MEMORY,
    OFF,
    ON,
    SECONDS,
    WARM,
    Phase,
    Way,
    WholeRun,
    as_json,
    as_markdown,
    as_text,
    memory_row,
    read_run,
    seconds_row,
    table,
    unequal,
    ways_of,
)
from experiments.measured_process import Cost
from experiments.one_whole_run import reference_row, spec_of
from harness.experiment.registry import method_names

ON_WAY, OFF_WAY = Way(ROOT, ON), Way(ROOT, OFF)


def a_run(train: float, whole: float, mib: float = 10.0, accuracy: float = 50.0) -> WholeRun:
    phases = {"setup": Phase(0.5, 0.5, 4.0), "train": Phase(2 * train, train, mib)}
    return WholeRun(phases, Cost(2 * whole, whole), (accuracy,))


def test_rest_is_what_is_in_no_phase() -> None:
    assert a_run(train=2.0, whole=6.0).rest == Cost(12.0 - 4.5, 6.0 - 2.5)


def test_ratios_are_medians_of_those_within_rounds() -> None:
    on = [a_run(1.5, 4.0), a_run(1.5, 40.0), a_run(1.5, 4.0)]
    off = [a_run(3.5, 8.0, 20.0), a_run(3.5, 80.0, 20.0), a_run(3.5, 12.0, 20.0)]
    found = {"coop": {ON_WAY: on, OFF_WAY: off}}
    head, first, second = table(found, SECONDS, seconds_row)
    by_name = dict(zip(head, second, strict=True))
    assert (by_name["train"], by_name["cache"], by_name["whole"]) == ("3.50", "-", "12.00")
    assert (by_name["x phases"], by_name["x whole"]) == ("2.00", "2.00")
    assert first[-2:] == ["1", "1"]
    head, first, second = table(found, MEMORY, memory_row)
    assert dict(zip(head, second, strict=True))["x run"] == "2.00"


def test_tables_fit_and_say_the_same_in_markdown_and_json() -> None:
    found = {"tip_adapter_f": {ON_WAY: [a_run(1.5, 4.0)], OFF_WAY: [a_run(3.5, 8.0)]}}
    rows = table(found, SECONDS, seconds_row)
    assert 80 <= max(map(len, as_text(rows).splitlines())) <= 120
    assert as_markdown(rows).splitlines()[2].startswith("| tip_adapter_f | on | 0.50 | - | - | 1.50 |")
    saved = json.loads(as_json(found, ["train.epochs=2"]))["runs"]
    shown = [(run["way"], run["whole"]["cpu"], run["rest"]["cpu"]) for run in saved]
    assert shown == [("on", 4.0, 2.0), ("off", 8.0, 4.0)]


def test_accuracies_that_differ_are_told() -> None:
    found = {"coop": {ON_WAY: [a_run(1.0, 4.0)], OFF_WAY: [a_run(3.0, 8.0)]}}
    assert not unequal(found)
    found["coop"][OFF_WAY] = [a_run(3.0, 8.0, accuracy=51.0)]
    assert unequal(found) == ["accuracies of coop differ: on: 50.00; off: 51.00"]


def test_a_warm_run_follows_the_one_whose_stores_it_uses(tmp_path: Path) -> None:
    assert [way.setting for way in ways_of(None, True, [])] == [ON, WARM, OFF]
    assert [way.title for way in ways_of(ON, False, [tmp_path / "before"])] == ["on", "on, before"]
    assert [way.setting for way in ways_of(OFF, True, [])] == [OFF]


def test_what_a_process_prints_is_read_from_its_last_line() -> None:
    printed = {"phases": {"train": {"wall": 2.0, "cpu": 1.0, "mib": 3.0}}, "accuracies": [50.0]}
    run = read_run(Cost(4.0, 3.0), f"a notice\n{json.dumps(printed)}\n")
    assert (run.rest, run.peak, run.accuracies) == (Cost(2.0, 2.0), 3.0, (50.0,))


@pytest.mark.parametrize("method", method_names())
def test_off_caches_where_the_official_code_does(method: str) -> None:
    row = reference_row(method)
    off, on = spec_of(method, 4, ["train.epochs=2"], row), spec_of(method, 4, ["train.epochs=2"], None)
    assert off.train.caches == row.reference_caches
    assert on.train.caches
    assert (off.data.shots, off.train.epochs, off.seed) == (on.data.shots, on.train.epochs, on.seed)
