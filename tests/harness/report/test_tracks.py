"""The track of a result is computed from what the run did, its recipe and its card; whoever hides a choice is found."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.experiment import cards, recipe_origin, recipes
from harness.experiment.recipe_origin import changes_of_sections, chosen_of
from harness.experiment.recipes import EXPERIMENTS, recipe_variants
from harness.experiment.registry import method_names
from harness.experiment.spec import RunSpec
from harness.experiment.tuned import TunedSpec
from harness.report import tracks
from harness.report.tracks import Track, placement_of, track_of
from harness.results.record import Result
from tests.made_up_results import a_result

Plan = Callable[..., list[RunSpec]]
CHOSE = {"chosen": {"alpha": 1.5}, "accuracy": 70.0, "candidates": 9, "images": 60}
TUNED: dict[str, Any] = {
    "study": "skip-emoji-1",
    "trials": 6,
    "data": "base_to_new_validation of emoji",
    "seeds": (1,),
    "protocol": "base_to_new_validation",
    "dataset": "emoji",
    "shots": 16,
    "recipe": "official",
    "settings": {"clip_adapter": {"residual_ratio": 0.5}},
}


def result_of(spec: RunSpec, **facts: Any) -> Result:
    return a_result(spec, {item.name: 50.0 for item in spec.evaluate}, {}, **facts)


def one(plan_runs: Plan, method: str, *overrides: str, protocol: str = "base_to_new", **changes: Any) -> RunSpec:
    return plan_runs(protocol, *overrides, **{"methods": [method], "seeds": [1], "recipe": "official", **changes})[0]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Replace the recipe file of clip_adapter."""
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)

    def write(text: str) -> None:
        (tmp_path / "clip_adapter.yaml").write_text(text)
        recipes.read_recipe_file.cache_clear()
        recipe_origin._changes.cache_clear()

    yield write
    recipes.read_recipe_file.cache_clear()
    recipe_origin._changes.cache_clear()


@pytest.mark.parametrize(
    ("method", "facts", "track"),
    [
        ("zeroshot", {}, Track.TRAINING_FREE),
        ("clip_adapter", {}, Track.VALIDATION_FREE),
        ("tip_adapter", {"selection": CHOSE}, Track.FEW_SHOT_VALIDATION),
        ("tip_adapter", {"selection": {**CHOSE, "shots": "shots"}}, Track.AS_PUBLISHED),
        ("tip_adapter", {"selection": {**CHOSE, "shots": "all"}}, Track.AS_PUBLISHED),
        ("tip_adapter", {"selection": {**CHOSE, "pictures": "test"}}, Track.AS_PUBLISHED),
        ("clip_adapter", {"selection": {"epoch": 3, "epoch_images": 9}}, Track.FEW_SHOT_VALIDATION),
        ("skip", {}, Track.AS_PUBLISHED),  # quarter of the epochs on single data sets, other rates for few-shot
        ("coop", {}, Track.AS_PUBLISHED),  # its first words are given for one protocol only
    ],
)
def test_the_track_follows_from_recipe_and_choices(
    method: str, facts: dict[str, Any], track: Track, plan_runs: Plan
) -> None:
    assert track_of(result_of(one(plan_runs, method), **facts)) is track


def test_with_one_shot_four_validation_pictures_are_too_many(plan_runs: Plan, recipe: Callable[[str], None]) -> None:
    spec = one(plan_runs, "tip_adapter", protocol="few_shot", shots=[1])
    assert track_of(result_of(spec, selection={**CHOSE, "shots": 1})) is Track.FEW_SHOT_VALIDATION
    assert track_of(result_of(spec, selection={**CHOSE, "shots": 4})) is Track.AS_PUBLISHED
    about = "protocol: base_to_new_validation, dataset: emoji, shots: 16, where: a file"
    recipe(f"clip-emoji: {{chosen: {{{about}}}, all: {{}}}}")
    spec = one(plan_runs, "clip_adapter", protocol="few_shot", shots=[1], recipe="clip-emoji")
    found = placement_of(result_of(spec))
    assert found.track is Track.AS_PUBLISHED
    assert found.reasons == ("settings were chosen on 4 validation pictures a class, the run has 1 shot",)
    # Where every method had as many trials on them, it is the number of trials that is equal.
    recipe(f"clip-emoji: {{chosen: {{{about}, trials: 6}}, all: {{}}}}")
    assert placement_of(result_of(spec)).title == "equal budget, 6 trials"
    recipe("clip-emoji: {chosen: {protocol: few_shot, dataset: emoji, shots: 16, trials: 6, where: a file}, all: {}}")
    assert track_of(result_of(spec)) is Track.AS_PUBLISHED


@pytest.mark.parametrize(
    ("recipe_text", "selection"),
    [
        ("{all: {select: {epoch: first_best, epoch_pictures: test}}}", {"epoch": 3, "epoch_pictures": "test"}),
        ("{all: {select: {epoch: first_best, epoch_pictures: test}}}", None),  # the result leaves it out
        ("{all: {select: {pictures: test}}}", None),
        ("{all: {select: {epoch: first_best}}}", None),
        ("{all: {}, dtd: {train: {lr: 0.1}}}", None),  # of a data set that the run is not about
        ("{all: {}, base_to_new/dtd: {clip_adapter: {reduction: 2}}}", None),
        ("{all: {}, few_shot: {train: {epochs: 7}}}", None),
    ],
)
def test_an_official_recipe_that_hides_a_choice_is_as_published(
    recipe_text: str, selection: dict[str, Any] | None, plan_runs: Plan, recipe: Callable[[str], None]
) -> None:
    recipe(f"official: {recipe_text}")
    found = placement_of(result_of(one(plan_runs, "clip_adapter"), selection=selection))
    assert found.track is Track.AS_PUBLISHED
    assert found.reasons
    recipe("official: {all: {}}")
    assert track_of(result_of(one(plan_runs, "clip_adapter"))) is Track.VALIDATION_FREE


def test_what_a_section_may_change(plan_runs: Plan, recipe: Callable[[str], None]) -> None:
    recipe(
        """
official:
  all: {data: {crop_scale: [0.5, 1.0]}, train: {lr: 0.1}}
  imagenet: {data: {templates: imagenet_7}, train: {lr: 0.1}}
  few_shot/4shot: {train: {epochs: 3}}
  emoji: {data: {crop_scale: [0.6, 1.0]}}
  cross_dataset: {train: {epochs: 2}}
"""
    )
    assert track_of(result_of(one(plan_runs, "clip_adapter"))) is Track.VALIDATION_FREE
    spec = one(plan_runs, "clip_adapter", protocol="cross_dataset")
    assert placement_of(result_of(spec)).reasons == ("no one setting for all protocols: cross_dataset: train.epochs",)


def test_settings_given_by_hand_count_as_chosen(plan_runs: Plan) -> None:
    found = placement_of(result_of(one(plan_runs, "clip_adapter", "train.lr=0.5", "clip_adapter.reduction=2")))
    assert found.track is Track.AS_PUBLISHED
    assert found.reasons == ("settings given by hand: clip_adapter.reduction, train.lr",)
    prompts = placement_of(result_of(one(plan_runs, "zeroshot", "data.templates=a sketch of {}.")))
    assert prompts.reasons == ("settings given by hand: data.templates",)
    # How a run is computed is no choice.
    same = one(plan_runs, "clip_adapter", "train.precision=bf16", "train.cache=none", "runtime.threads=1")
    assert track_of(result_of(same)) is Track.VALIDATION_FREE


def test_a_recipe_file_from_outside_must_name_its_sweep(tmp_path: Path, plan_runs: Plan) -> None:
    file = tmp_path / "official.yaml"
    file.write_text("train: {lr: 0.5}")
    found = placement_of(result_of(one(plan_runs, "clip_adapter", recipe=str(file))))
    assert (found.track, found.reasons) == (
        Track.AS_PUBLISHED,
        ("a recipe file from outside that names no sweep",),
    )


@pytest.mark.parametrize(
    ("changes", "track"),
    [
        ({}, Track.FEW_SHOT_VALIDATION),
        ({"budget": "6 trials", "methods": ("clip_adapter", "skip")}, Track.EQUAL_BUDGET),
        ({"budget": "6 trials", "methods": ("skip",)}, Track.AS_PUBLISHED),
        ({"budget": "7 trials", "methods": ("clip_adapter",)}, Track.AS_PUBLISHED),
        ({"protocol": "base_to_new"}, Track.AS_PUBLISHED),  # chosen on test pictures
        ({"settings": {"clip_adapter": {"residual_ratio": 0.4}}}, Track.AS_PUBLISHED),  # the run has another value
        ({"recipe": "as_published"}, Track.AS_PUBLISHED),
        ({"protocol": None, "settings": None}, Track.AS_PUBLISHED),  # of an earlier version
    ],
)
def test_tuned_settings_are_compared_with_what_their_sweep_chose(
    changes: dict[str, Any], track: Track, plan_runs: Plan
) -> None:
    spec = one(plan_runs, "clip_adapter", "clip_adapter.residual_ratio=0.5")
    tuned = spec.model_copy(update={"tuned": TunedSpec(**{**TUNED, **changes}), "recipe": "sweeps/best.yaml"})
    assert track_of(result_of(tuned)) is track


def test_the_budget_is_part_of_the_heading(plan_runs: Plan) -> None:
    spec = one(plan_runs, "clip_adapter", "clip_adapter.residual_ratio=0.5")
    tuned = TunedSpec(**TUNED, budget="6 trials", methods=("clip_adapter",))
    found = placement_of(result_of(spec.model_copy(update={"tuned": tuned})))
    assert found.title == "equal budget, 6 trials"


def test_settings_that_a_sweep_on_sixteen_shots_chose_are_too_much_for_one(plan_runs: Plan) -> None:
    few = one(plan_runs, "clip_adapter", "clip_adapter.residual_ratio=0.5", protocol="few_shot", shots=[1])
    plain, equal = TunedSpec(**TUNED), TunedSpec(**TUNED, budget="6 trials", methods=("clip_adapter",))
    assert track_of(result_of(few.model_copy(update={"tuned": plain}))) is Track.AS_PUBLISHED
    assert track_of(result_of(few.model_copy(update={"tuned": equal}))) is Track.EQUAL_BUDGET


def test_the_card_says_what_makes_a_method_stronger(plan_runs: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of(one(plan_runs, "clip_adapter"))
    card = cards.card_of("clip_adapter")
    assert card
    stronger = card.model_copy(update={"extra_knowledge": ("llm_texts", "new_class_images")})
    monkeypatch.setattr(tracks, "card_of", lambda method: stronger)
    found = placement_of(result)
    assert found.track is Track.VALIDATION_FREE
    assert found.title == "validation-free, with images of new classes (transductive)"


def test_a_method_that_is_not_here_shows_nothing(plan_runs: Plan) -> None:
    content = json.loads(result_of(one(plan_runs, "zeroshot")).model_dump_json())
    content["spec"]["method"], content["spec"]["gone"] = "gone", content["spec"].pop("zeroshot")
    found = placement_of(Result.model_validate(content))
    assert found.track is Track.AS_PUBLISHED
    assert "unknown method 'gone'" in found.reasons[0]


def test_what_is_measured_of_a_sweep_is_no_part_of_an_id(plan_runs: Plan) -> None:
    spec = one(plan_runs, "clip_adapter")
    old = {key: TUNED[key] for key in ("study", "trials", "data", "seeds")}
    ids = [spec.model_copy(update={"tuned": TunedSpec(**about)}).id for about in (old, {**old, "seconds": 3.5})]
    assert ids[0] == ids[1]
    assert ids[0] not in (spec.id, spec.model_copy(update={"tuned": TunedSpec(**TUNED)}).id)


def test_every_recipe_of_the_project_can_be_placed() -> None:
    for method in method_names():
        for variant in recipe_variants(method):
            changes_of_sections(method, variant, "base_to_new")
            chosen_of(method, variant)


def test_recipes_say_truly_which_choice_they_come_from() -> None:
    with (EXPERIMENTS / "embedded" / "tuning.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = {method: chosen_of(method, "clip-emoji") for method in method_names()}
    from_table = {name: about for name, about in told.items() if about and about.where.endswith("tuning.csv")}
    assert from_table
    for method, about in from_table.items():
        own = [row for row in rows if row["method"] == method]
        assert len(own) == about.trials
        given = recipes.recipe_settings(method, "clip-emoji", "base_to_new", "emoji", 16)
        chosen = [row["settings"] for row in own if row["chosen"] == "yes"]
        for pair in chosen[0].split(" train.")[1:] if chosen else []:
            key, value = pair.split("=")
            assert given["train"][key] == float(value), f"{method} {pair}"
