"""The same budget for every method: what is refused, what the recipes record, and the track that follows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.report.tracks import Track, placement_of
from harness.tune.equal_budget import MOST_TRIALS, EqualBudget, plan_budget
from harness.tune.objective import SECONDS, seconds_of
from harness.tune.report import recipe_of, write_yaml
from harness.tune.study import is_spent
from tests.commands import skipbench
from tests.made_up_results import a_result

METHODS = ("clip_adapter", "finetune")


def plan(methods: tuple[str, ...] = METHODS, seconds: str | None = None, **changes: Any) -> EqualBudget:
    return plan_budget(methods, changes, {}, (1,), seconds)


def chosen(folder: Path, found: EqualBudget, rate: float = 3e-3) -> dict[str, Path]:
    """The recipes that the sweeps would write, after all of their trials."""
    recipes = {}
    for method, sweep in found.sweeps.items():
        trial = create_trial(
            value=1.0, params={"train.lr": rate}, distributions={"train.lr": FloatDistribution(1e-6, 1.0)}
        )
        recipes[method] = folder / f"{method}.yaml"
        write_yaml(recipes[method], recipe_of(trial, sweep, sweep.num_trials, 7.5))
    return recipes


def placed(spec: RunSpec) -> Any:
    return placement_of(a_result(spec, {item.name: 50.0 for item in spec.evaluate}, {}))


def test_all_methods_have_the_same_trials_seeds_and_images() -> None:
    found = plan(trials=3)
    assert found.budget == "3 trials"
    sweeps = list(found.sweeps.values())
    assert [sweep.method for sweep in sweeps] == list(METHODS)
    shared = {(s.num_trials, s.seeds, s.protocol, s.dataset, s.shots, s.pruner, s.time_budget) for s in sweeps}
    assert shared == {(3, (1, 2), "base_to_new_validation", "emoji", 16, "none", None)}
    assert all(sweep.objectives == ("H",) and sweep.recipe == "official" for sweep in sweeps)
    assert not any(spec.is_tested for sweep in sweeps for spec in sweep.specs({}))


@pytest.mark.parametrize(
    ("methods", "changes", "message"),
    [
        (("clip_adapter",), {"trials": 3}, "name at least two"),
        (("clip_adapter", "clip_adapter"), {"trials": 3}, "name at least two"),
        (("clip_adapter", "zeroshot"), {"trials": 3}, "method 'zeroshot' has no sweep"),
        (("clip_adapter", "finetun"), {"trials": 3}, "Did you mean 'finetune'"),
        (("clip_adapter", "finetune"), {}, "the budgets, seeds or images of the sweeps differ"),
        (("skip", "ablation_depth"), {"trials": 3}, "each sweep must be of the method"),
        (METHODS, {"trials": 3, "protocol": "base_to_new"}, "a sweep must not look at test images"),
    ],
)
def test_budgets_that_are_not_equal_are_refused(
    methods: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan(methods, **changes)


def test_final_runs_record_the_budget_and_stand_in_its_track(tmp_path: Path) -> None:
    found = plan(trials=3)
    specs = found.runs(chosen(tmp_path, found))
    assert [spec.method for spec in specs] == list(METHODS)
    for spec in specs:
        tuned = spec.tuned
        assert tuned
        assert (tuned.budget, tuned.trials, tuned.seconds) == ("3 trials", 3, 7.5)
        assert (tuned.protocol, tuned.dataset, tuned.shots) == ("base_to_new_validation", "emoji", 16)
        assert (tuned.methods, tuned.settings) == (METHODS, {"train": {"lr": 3e-3}})
        assert spec.train.lr == 3e-3
        assert spec.is_tested
        assert placed(spec).title == "equal budget, 3 trials"
        assert "the same budget for clip_adapter, finetune" in tuned.summary()


def test_a_recipe_that_was_chosen_before_had_more_than_the_budget(tmp_path: Path) -> None:
    found = plan(trials=3, recipe="clip-emoji")
    placements = [placed(spec) for spec in found.runs(chosen(tmp_path, found))]
    assert {item.track for item in placements} == {Track.AS_PUBLISHED}
    assert "which was chosen before" in placements[0].reasons[0]


def test_what_is_set_by_hand_in_all_trials_was_chosen_by_nobody_knows_whom(tmp_path: Path) -> None:
    found = plan(trials=3, settings={"train": {"momentum": 0.8}})
    placements = [placed(spec) for spec in found.runs(chosen(tmp_path, found))]
    assert {item.track for item in placements} == {Track.AS_PUBLISHED}
    assert all("did not choose: train.momentum" in item.reasons[0] for item in placements)


def test_a_sweep_that_ended_early_had_less_than_the_budget(tmp_path: Path) -> None:
    found = plan(trials=3)
    (first, *_) = found.runs(chosen(tmp_path, found))
    assert first.tuned
    early = first.model_copy(update={"tuned": first.tuned.model_copy(update={"trials": 2})})
    assert placed(early).track is Track.AS_PUBLISHED


def test_a_budget_of_seconds_ends_when_the_trials_have_taken_them(plan_runs: Callable[..., Any]) -> None:
    found = plan(seconds="2m")
    sweep = found.sweeps["clip_adapter"]
    assert (found.budget, sweep.num_trials) == ("120 s", MOST_TRIALS)
    trials = [create_trial(value=1.0, user_attrs={SECONDS: 50.0}) for _ in range(2)]
    assert seconds_of(trials) == 100.0
    assert not is_spent(trials, sweep)
    assert is_spent([*trials, create_trial(value=1.0, user_attrs={SECONDS: 20.0})], sweep)
    assert not is_spent(trials * 9, plan(trials=3).sweeps["clip_adapter"])


def test_the_budget_makes_no_other_study() -> None:
    several = [plan(trials=3), plan(trials=5), plan(seconds="5m"), plan(("clip_adapter", "coop"), trials=3)]
    assert len({found.sweeps["clip_adapter"].study_name for found in several}) == 1


@pytest.mark.long
def test_the_command_tunes_tests_and_says_what_is_equal(tmp_path: Path) -> None:
    words = ["--trials", "1", "--seeds", "1", "--test-seeds", "1", "--shots", "4", "train.epochs=1,2"]
    words += ["--protocol", "few_shot_validation", "--results", str(tmp_path)]
    methods = "clip_adapter,tip_adapter_f"
    dry = skipbench("equal-budget", methods, *words, "--dry-run")
    assert "2 sweeps of 1 trial: 2 runs on validation images" in dry.stdout, dry.stderr
    assert not list(tmp_path.iterdir())
    done = skipbench("equal-budget", methods, *words)
    assert done.returncode == 0, done.stderr
    assert "track: equal budget, 1 trial" in done.stdout
    assert "as published" not in done.stdout
    again = skipbench("equal-budget", methods, *words)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs on test images are complete already" in again.stdout
