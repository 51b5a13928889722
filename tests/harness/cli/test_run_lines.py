"""Single lines about runs: curves as bars, ages, what sets a run apart."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.run_lines import BARS, WIDEST, RunLine, age, curves, settings_told, sparkline, summaries, when
from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord
from harness.results.folder import RunFolder
from harness.results.index import StoredRun
from harness.results.record import Refusal
from tests.commands import skipbench
from tests.made_up_results import a_result

Make = Callable[..., RunSpec]
FINITE = st.floats(-1e9, 1e9)


def test_bars_follow_the_values() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == BARS
    assert sparkline([7.0, 0.0]) == BARS[-1] + BARS[0]
    assert sparkline([2.0, 2.0]) == BARS[4] * 2
    assert sparkline([1.0, float("nan"), 2.0]) == f"{BARS[0]} {BARS[-1]}"
    assert sparkline([float("nan")]) == sparkline([]) == ""


@given(st.lists(FINITE, min_size=1, max_size=200))
def test_a_curve_is_short_and_ends_with_its_last_value(values: list[float]) -> None:
    found = sparkline(values)
    assert 1 <= len(found) <= WIDEST
    if len(values) <= WIDEST:
        assert len(found) == len(values)
        heights = [BARS.index(bar) for bar in found]
        in_order = [height for _, height in sorted(zip(values, heights, strict=True))]
        assert in_order == sorted(heights)
    if values[-1] == max(values) > min(values[-1:-WIDEST:-1]):
        assert found[-1] == max(found)


def test_curves_of_loss_and_validation() -> None:
    records = [
        EpochRecord(epoch=0, loss=3.0, lr=0.1),
        EpochRecord(epoch=1, loss=2.0, lr=0.1, accuracies={"val": 60.0}),
        EpochRecord(epoch=2, loss=1.5, lr=0.1),
        EpochRecord(epoch=3, loss=1.0, lr=0.1, accuracies={"val": 55.0}),
    ]
    loss, val = curves(records)
    assert loss.split() == ["loss", "█▅▃▁", "3", "to", "1"]
    assert val.endswith("█▁ 60.00 to 55.00 %, best 60.00 in epoch 1")
    assert curves([]) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0.2, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (86400 * 9, "9 d")],
)
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_when_a_run_ended_is_read_from_its_log(tmp_path: Path) -> None:
    run = StoredRun(RunFolder(tmp_path, "abc"))
    assert when(run) == ""
    run.folder.create()
    run.folder.log_file.write_text("2026-01-02T03:04:05Z INFO epoch 0\n2026-01-02T04:00:00Z INFO complete\na line\n")
    now = datetime.datetime(2026, 1, 2, 6, 30, tzinfo=datetime.timezone.utc)
    assert when(run, now).endswith(":00 (2 h ago)")


def test_what_sets_a_run_apart_is_told_once(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("skip", "skip.depth=4", "train.precision=bf16", "data.sample_seed=7")
    assert settings_told(spec, ()) == ["depth=4", "train.precision=bf16", "data.sample_seed=7"]
    assert settings_told(spec, ["depth=4"]) == ["depth=4", "train.precision=bf16", "data.sample_seed=7"]
    line = RunLine.of(StoredRun(RunFolder(tmp_path, spec.id), spec)).text(["depth=4"])
    assert line.startswith(f"missing     {spec.id} base_to_new {spec.name} depth=4 train.precision=bf16 data.sample_se")
    assert RunLine.of(StoredRun(RunFolder(tmp_path, "abc"))).text(()).startswith("missing     abc - unreadable: ")


def test_the_summary_is_that_of_the_protocol(make_spec: Make) -> None:
    result = a_result(make_spec("skip"), {"base": 60.0, "new": 40.0}, {})
    assert summaries(result) == ["H 48.00"]
    refused = result.model_copy(update={"refusals": (Refusal(evaluation="new", reason="why"),)})
    assert summaries(refused) == []


def test_runs_and_show_tell_it(make_spec: Make, finish: Callable[..., None], tmp_path: Path) -> None:
    spec = make_spec("skip", "skip.depth=4")
    finish(tmp_path, spec, {"base": 60.0, "new": 40.0})
    (tmp_path / "runs" / spec.id / "log.txt").write_text("2026-01-02T03:04:05Z INFO complete\n")
    line = skipbench("runs", "--results", str(tmp_path)).stdout.splitlines()[0]
    assert f"{spec.id} base_to_new {spec.name} depth=4: base 60.00 new 40.00 H 48.00, 2026-01-02 " in line
    shown = skipbench("show", spec.id, "--results", str(tmp_path)).stdout
    for words in (" ago)", "base 60.00 new 40.00 H 48.00", "Beside its recipe: depth=4", "loss  ", "█", " images/s"):
        assert words in shown
