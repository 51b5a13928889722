"""A transfer matrix: what is chosen where, what is tested where, and that nothing is chosen on test images."""

from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from harness.errors import UserError
from harness.tune.report import recipe_of, write_yaml
from harness.tune.sweep import Sweep
from harness.tune.transfer import Transfer, plan_transfer
from tests.commands import skipbench

RATIO = "clip_adapter.residual_ratio"


def recipe_file(folder: Path, sweep: Sweep, ratio: float) -> Path:
    """The recipe that a sweep would write for a trial."""
    trial = create_trial(value=1.0, params={RATIO: ratio}, distributions={RATIO: FloatDistribution(0.0, 1.0)})
    path = folder / f"{sweep.study_name}.yaml"
    write_yaml(path, recipe_of(trial, sweep, 3, 1.5))
    return path


def plan(over: str, among: str, seeds: tuple[int, ...] = (1, 2), **changes: object) -> Transfer:
    return plan_transfer("clip_adapter", over, among, {"trials": 3, **changes}, {}, seeds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("over", "among", "changes", "places", "objective"),
    [
        ("shots", "4,16", {}, [("base_to_new", "emoji", 4), ("base_to_new", "emoji", 16)], "H"),
        (
            "shots",
            "1,4",
            {"protocol": "few_shot_validation"},
            [("few_shot", "emoji", 1), ("few_shot", "emoji", 4)],
            "accuracy",
        ),
        ("dataset", "dtd,eurosat", {}, [("base_to_new", "dtd", 16), ("base_to_new", "eurosat", 16)], "H"),
        ("protocol", "base_to_new,few_shot", {}, [("base_to_new", "emoji", 16), ("few_shot", "emoji", 16)], "H"),
    ],
)
def test_places_follow_from_what_differs(
    over: str, among: str, changes: dict[str, object], places: list[tuple[str, str, int]], objective: str
) -> None:
    found = plan(over, among, **changes)
    assert [(place.protocol, place.dataset, place.shots) for place in found.places.values()] == places
    first = next(iter(found.sweeps.values()))
    assert (first.objectives, first.pruner, first.num_trials) == ((objective,), "none", 3)
    assert len({sweep.study_name for sweep in found.sweeps.values()}) == 2
    for sweep in found.sweeps.values():
        assert not any(spec.is_tested for spec in sweep.specs({}))


@pytest.mark.parametrize(
    ("over", "among", "changes", "message"),
    [
        ("shots", "4", {}, "give at least two values of shots"),
        ("shots", "4,4", {}, "give at least two values of shots"),
        ("shots", "4,many", {}, "'many' is no number of shots"),
        ("protocol", "base_to_new,cross_dataset", {}, "no protocol chooses settings for 'cross_dataset'"),
        ("protocol", "base_to_new,few_shots", {}, "Did you mean 'few_shot'"),
        ("dataset", "emoji,emojis", {}, "emojis"),
        ("shots", "4,16", {"protocol": "base_to_new"}, "a sweep must not look at test images"),
        ("shots", "4,16", {"settings": {"select": {"pictures": "test"}}}, "a sweep must not look at test images"),
    ],
)
def test_what_cannot_be_is_refused(over: str, among: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(over, among, **changes)


def test_every_choice_is_tested_everywhere_with_nothing_else_changed(tmp_path: Path) -> None:
    transfer = plan("shots", "4,16")
    ratios = {"4": 0.25, "16": 0.75}
    recipes = {value: recipe_file(tmp_path, sweep, ratios[value]) for value, sweep in transfer.sweeps.items()}
    runs = transfer.runs(recipes)
    assert list(runs) == [("4", "4"), ("4", "16"), ("16", "4"), ("16", "16"), (None, "4"), (None, "16")]
    for (chosen_on, tested_on), specs in runs.items():
        assert [spec.seed for spec in specs] == [1, 2]
        for spec in specs:
            assert (spec.data.shots, spec.protocol, spec.is_tested) == (int(tested_on), "base_to_new", True)
            assert spec.options["residual_ratio"] == ratios.get(str(chosen_on), 0.2)
            assert (spec.tuned.study if spec.tuned else None) == (
                transfer.sweeps[chosen_on].study_name if chosen_on else None
            )
    others = {spec.model_copy(update={"tuned": None, "options": {}, "recipe": ""}).id for spec in runs["4", "4"]}
    assert others == {
        spec.model_copy(update={"tuned": None, "options": {}, "recipe": ""}).id for spec in runs["16", "4"]
    }


def test_a_dry_run_tells_the_number_of_runs_and_writes_nothing(tmp_path: Path) -> None:
    words = ["--over", "shots", "--among", "1,4,16", "--trials", "5", "--seeds", "1,2", "--test-seeds", "1..3"]
    done = skipbench("transfer", "clip_adapter", *words, "--dry-run", "--results", str(tmp_path / "r"))
    assert done.returncode == 0, done.stderr
    assert "3 sweeps of 5 trials: 30 runs on validation images" in done.stdout
    assert "then at most 36 runs on test images" in done.stdout
    assert not (tmp_path / "r").exists()


def test_what_differs_is_given_once(tmp_path: Path) -> None:
    words = ["--over", "shots", "--among", "1,4", "--shots", "16", "--results", str(tmp_path)]
    done = skipbench("transfer", "clip_adapter", *words)
    assert (done.returncode, done.stderr) == (2, "error: --shots is what differs: give its values with --among\n")
