"""Whether something is left to compute is told before runs are planned, where it is sure; else nothing starts early."""

from collections.abc import Callable
from pathlib import Path

import pytest

import harness.schedule
import harness.schedule.head_start as head_start
from harness.cli.run import compute_unfinished, warm_up_early
from harness.experiment.grid import Experiment, expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.schedule import worker
from harness.schedule.head_start import is_surely_unfinished

Finish = Callable[..., None]


def an_experiment(**changes: object) -> Experiment:
    return load_experiment(EXPERIMENTS / "bench.yaml", {"methods": ["zeroshot", "skip"], "seeds": [1], **changes})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    found: list[object] = []
    monkeypatch.setattr(worker, "warm_up", lambda *asked: found.append(asked))
    return found


def finish_all(experiment: Experiment, results: Path, finish: Finish) -> list[RunSpec]:
    specs = expand(experiment)
    for spec in specs:
        finish(results, spec, {"base": 60.0, "new": 50.0})
    return specs


def test_a_folder_without_runs_leaves_all_of_them(tmp_path: Path) -> None:
    assert is_surely_unfinished(an_experiment(), tmp_path / "new")


def test_a_method_that_was_never_run_is_left(tmp_path: Path, finish: Finish) -> None:
    finish_all(an_experiment(), tmp_path, finish)
    assert not is_surely_unfinished(an_experiment(), tmp_path)
    assert is_surely_unfinished(an_experiment(methods=["coop"]), tmp_path)
    assert is_surely_unfinished(an_experiment(shots=[16, 4]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "is_sure"),
    [
        ({"settings": {"train": {"epochs": 1}}}, True),
        ({"settings": {"skip": {"depth": 1}}}, True),
        ({"protocol": "few_shot"}, True),
        ({"backbone": ["clip-emoji", "other.safetensors"]}, True),
        ({"settings": {"train": {"epochs": 7}, "skip": {"depth": 3}}}, False),
        ({"settings": {"runtime": {"threads": 1}}}, False),
        # Only planning tells what several values are, and which recipe says what.
        ({"settings": {"skip": {"depth": "3,4"}}}, False),
        ({"settings": {"train": {"epochs": [7]}}}, False),
        ({"recipe": ["official"]}, False),
    ],
    ids=str,
)
def test_a_setting_that_no_finished_run_has_is_left(
    changes: dict[str, object], is_sure: bool, tmp_path: Path, finish: Finish
) -> None:
    finish_all(an_experiment(settings={"train": {"epochs": 7}, "skip": {"depth": 3}}), tmp_path, finish)
    assert is_surely_unfinished(an_experiment(**changes), tmp_path) is is_sure


def test_what_cannot_be_read_is_not_finished_and_many_are_not_read(
    tmp_path: Path, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = finish_all(an_experiment(), tmp_path, finish)
    (tmp_path / "runs" / first.id / "result.json").write_text("{}")
    assert is_surely_unfinished(an_experiment(), tmp_path)
    monkeypatch.setattr(head_start, "MOST_LOOKED_AT", 1)
    assert not is_surely_unfinished(an_experiment(), tmp_path)


def test_of_many_results_none_is_read(tmp_path: Path, finish: Finish, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_all(an_experiment(), tmp_path, finish)
    monkeypatch.setattr(head_start, "MOST_READ", 1)
    assert not is_surely_unfinished(an_experiment(protocol="few_shot"), tmp_path)


def test_no_server_is_started_where_everything_is_complete(
    tmp_path: Path, finish: Finish, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = finish_all(an_experiment(), tmp_path, finish)
    monkeypatch.setattr(harness.schedule, "unfinished", lambda specs, results: [])
    warm_up_early(an_experiment(), tmp_path)
    assert compute_unfinished(specs, tmp_path, ScheduleSpec()) == []
    assert asked == []


def test_a_server_is_started_once_a_run_is_known_to_be_left(
    tmp_path: Path, finish: Finish, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(an_experiment(), tmp_path, finish)
    # What several values are is known when they are planned.
    changed = an_experiment(settings={"train": {"epochs": "1,2"}})
    warm_up_early(changed, tmp_path)
    assert asked == []
    monkeypatch.setattr(harness.schedule, "run_all", lambda *_: [])
    compute_unfinished(expand(changed), tmp_path, ScheduleSpec())
    assert asked == [({"clip-emoji"}, False)]
    warm_up_early(an_experiment(), tmp_path / "new")
    assert asked[1:] == [(("clip-emoji",), False)]


@pytest.mark.parametrize(
    ("changes", "often"),
    [
        ({}, False),
        ({"settings": {"skip": {"depth": 3}}}, False),
        ({"methods": ["skip", "maple", "coop"]}, True),
        ({"settings": {"skip": {"depth": "1..3"}}}, True),
        ({"settings": {"train": {"batch_size": [4, 8]}}}, True),
    ],
    ids=str,
)
def test_what_rehearsals_take_is_imported_early_where_there_are_several(
    changes: dict[str, object], often: bool, tmp_path: Path, asked: list[object]
) -> None:
    warm_up_early(an_experiment(**changes), tmp_path / "new")
    assert asked == [(("clip-emoji",), often)]
