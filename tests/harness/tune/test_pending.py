"""What a study still has to do: every point of a grid once, whatever was killed, and no repeats."""

import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from harness.results.claim import Holder, this_machine, this_process
from harness.tune import pending
from harness.tune.objective import FAILURE, HOLDER, METRICS
from harness.tune.pending import Recovery, next_trial, num_done, point_of, queue_missing
from harness.tune.report import grid_title, in_grid_order
from harness.tune.storage import open_storage
from harness.tune.study import judge
from harness.tune.sweep import Sweep
from tests.commands import ROOT

DEPTH, RATIO = "skip.depth", "skip.class_ratio"
DISTRIBUTIONS = {DEPTH: IntDistribution(0, 1), RATIO: FloatDistribution(0.1, 0.3, step=0.1)}


def a_sweep(**changes: Any) -> Sweep:
    space = {DEPTH: {"int": [0, 1]}, RATIO: {"float": [0.1, 0.3], "step": 0.1}}
    return Sweep.model_validate(
        {"method": "skip", "objectives": ["H"], "sampler": "grid", "space": space, "name": "x", **changes}
    )


def a_study() -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))


def add(study: optuna.Study, depth: int, ratio: float, state: TrialState = TrialState.COMPLETE, **about: Any) -> None:
    values = {"value": 1.0, "user_attrs": {METRICS: {"H": 1.0}, **about}} if state == TrialState.COMPLETE else {}
    point = {DEPTH: depth, RATIO: ratio}
    study.add_trial(
        create_trial(state=state, params=point, distributions=dict(DISTRIBUTIONS), **{"user_attrs": about, **values})
    )


def waiting(study: optuna.Study) -> list[tuple[Any, ...]]:
    """The points that wait."""
    return [tuple(point_of(trial).values()) for trial in study.trials if trial.state == TrialState.WAITING]


def run_all(study: optuna.Study, sweep: Sweep) -> list[tuple[Any, ...]]:
    """Take and finish trials until there are none; returns their points."""
    found = []
    while trial := next_trial(study, sweep):
        found.append(tuple(sweep.suggest(trial).values()))
        study.tell(trial, 1.0)
    return found


def test_what_is_missing_of_a_grid_is_queued_at_every_start() -> None:
    study, sweep = a_study(), a_sweep()
    add(study, 0, 0.1 + 1e-15)
    add(study, 1, 0.29999999999999993)
    add(study, 1, 0.1, TrialState.FAIL, **{FAILURE: "batch too large"})
    add(study, 0, 0.2, TrialState.FAIL)  # interrupted
    study.enqueue_trial({DEPTH: 0, RATIO: 0.3})
    for _ in range(2):
        queue_missing(study, sweep)
        assert waiting(study) == [(0, 0.3), (0, 0.2), (1, 0.2)]
    assert num_done(study.trials, sweep) == 3
    assert run_all(study, sweep) == [(0, 0.3), (0, 0.2), (1, 0.2)]
    assert num_done(study.trials, sweep) == 6
    queue_missing(study, sweep)
    assert waiting(study) == []


def test_repeats_and_foreign_points_use_up_no_budget_of_a_grid() -> None:
    study, sweep = a_study(), a_sweep()
    for _ in range(7):
        add(study, 0, 0.1)
    study.add_trial(create_trial(value=1.0, params={DEPTH: 1}, distributions={DEPTH: DISTRIBUTIONS[DEPTH]}))
    study.enqueue_trial({DEPTH: 0, RATIO: 0.1})  # done already
    study.enqueue_trial({DEPTH: 0})  # no point of the grid
    queue_missing(study, sweep)
    assert len(run_all(study, sweep)) == 5
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len(in_grid_order(complete, sweep)) == 6
    assert num_done(study.trials, sweep) == sweep.num_trials == 6


def test_a_point_that_another_worker_has_is_not_taken_again() -> None:
    study, sweep = a_study(), a_sweep()
    for _ in range(2):  # queued twice, as two machines may do at the same moment
        study.enqueue_trial({DEPTH: 0, RATIO: 0.1})
    assert next_trial(study, sweep)
    assert next_trial(study, sweep) is None
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING, TrialState.FAIL]


def test_a_grid_without_waiting_points_asks_no_sampler() -> None:
    study, sweep = a_study(), a_sweep()
    assert next_trial(study, sweep) is None
    assert study.trials == []


def test_all_points_is_said_of_all_points_only() -> None:
    study, sweep = a_study(), a_sweep()
    for depth in (1, 0):
        for ratio in (0.3, 0.2, 0.1, 0.1):
            add(study, depth, ratio)
    judged = in_grid_order(study.trials, sweep)
    assert [trial.number for trial in judged] == [6, 5, 4, 2, 1, 0]
    assert grid_title(judged, sweep) == "All points of the grid"
    assert grid_title(judged[1:], sweep) == "5 of 6 points of the grid"


def test_the_recipe_is_queued_once_and_not_beyond_the_budget() -> None:
    space = {DEPTH: {"int": [0, 6]}}
    study, sweep = a_study(), a_sweep(sampler="random", trials=2, space=space)
    recipe = sweep.recipe_point()
    assert recipe
    for _ in range(2):
        queue_missing(study, sweep)
        assert waiting(study) == [tuple(recipe.values())]
    assert len(run_all(study, sweep)) == 2
    full = a_study()
    for depth in (0, 1):
        full.add_trial(create_trial(value=1.0, params={DEPTH: depth}, distributions={DEPTH: IntDistribution(0, 6)}))
    queue_missing(full, sweep)
    assert waiting(full) == []


DEAD = Holder(this_machine(), "here", 2**22 + 1, "1")


@pytest.mark.parametrize(("holder", "again"), [(DEAD, True), (None, True), (this_process(), False)])
def test_a_trial_whose_process_is_gone_is_queued_with_all_its_settings(holder: Holder | None, again: bool) -> None:
    study, sweep = a_study(), a_sweep()
    study.enqueue_trial({DEPTH: 1, RATIO: 0.2})
    trial = study.ask()
    if holder:
        trial.set_user_attr(HOLDER, asdict(holder))
    trial.suggest_int(DEPTH, 0, 1)  # it was killed before it asked for the other one
    for _ in range(2):
        Recovery(study, is_alone=True).run()
    assert waiting(study) == ([(1, 0.2)] if again else [])
    assert study.trials[0].state == (TrialState.FAIL if again else TrialState.RUNNING)
    assert num_done(study.trials, sweep) == 0


def test_a_trial_without_a_holder_is_watched_where_others_may_be_taking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_study()
    study.ask({DEPTH: DISTRIBUTIONS[DEPTH]})
    recovery, now = Recovery(study, is_alone=False), time.monotonic()
    for later, state in ((0.0, TrialState.RUNNING), (pending.GRACE - 1, TrialState.RUNNING), (91.0, TrialState.FAIL)):
        monkeypatch.setattr(pending.time, "monotonic", lambda moment=now + later: moment)
        recovery.run()
        assert study.trials[0].state == state


def test_a_trial_that_another_process_took_for_lost_is_not_told_twice(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path / 'optuna.db'}"))
    trial = study.ask()
    study.tell(trial.number, state=TrialState.FAIL)

    def objective(one: optuna.Trial) -> float:
        one.set_user_attr(METRICS, {})  # optuna refuses it
        return 1.0

    judge(study, trial, objective)  # type: ignore[arg-type]
    judge(study, trial, lambda one: 1.0)  # type: ignore[arg-type]
    assert study.trials[0].state == TrialState.FAIL


def test_a_sweep_killed_at_20_random_moments_has_every_point_once(tmp_path: Path) -> None:
    """At statements of its database: while it queues, asks, notes the holder, tells."""
    words = [sys.executable, "-m", "tests.harness.tune.killed_sweep", str(tmp_path), "1", "20"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["20", "0"], done.stderr
    storage = f"sqlite:///{tmp_path / 'sweeps' / 'optuna.db'}"
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    points = sorted(tuple(trial.params.values()) for trial in trials if trial.state == TrialState.COMPLETE)
    assert points == [(depth, ratio) for depth in range(4) for ratio in (0.1, 0.2, 0.3)]
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
