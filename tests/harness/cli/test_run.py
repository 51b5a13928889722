"""What is left of an experiment is computed, and nothing else: `compute_unfinished`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.run import compute_unfinished
from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs that would be started, in place of starting them."""
    found: list[str] = []

    def run_all(todo: list[RunSpec], *_: object) -> list[object]:
        found.extend(spec.id for spec in todo)
        return []

    monkeypatch.setattr("harness.schedule.run_all", run_all)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return found


def test_complete_runs_are_left_alone(
    started: list[str], tmp_path: Path, plan_runs: Plan, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = plan_runs("few_shot", methods=["zeroshot", "coop"], shots=[1], seeds=[1, 2])
    fill(tmp_path, specs[:1])
    assert compute_unfinished(specs, tmp_path, ScheduleSpec()) == []
    assert started == [spec.id for spec in specs[1:]]
    assert f"1 of {len(specs)} runs are complete already" in capsys.readouterr().out


def test_missing_data_is_told_before_anything_starts(
    started: list[str], tmp_path: Path, plan_runs: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "nowhere"))
    specs = plan_runs("few_shot", methods=["coop"], datasets=["dtd"], shots=[1], seeds=[1])
    with pytest.raises(UserError, match="dtd"):
        compute_unfinished(specs, tmp_path, ScheduleSpec())
    assert started == []
