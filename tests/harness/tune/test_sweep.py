"""What a sweep is: its space, its grid, its study's name, and what it refuses."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.tune.space import Parameter
from harness.tune.sweep import Sweep
from harness.tune.sweep_file import SWEEPS, load_sweep, split_changes

SMALL = {"method": "clip_adapter", "space": {"clip_adapter.residual_ratio": {"float": [0.0, 1.0], "step": 0.5}}}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return str(path)


@pytest.mark.parametrize("key", ["pictures", "epoch_pictures"])
def test_a_sweep_never_chooses_on_test_images(key: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"must not look at test images: leave select.{key} at val"):
        load_sweep(write(tmp_path, settings={"select": {key: "test"}}), {})
    assert load_sweep(write(tmp_path, settings={"select": {key: "val"}}), {})


@pytest.mark.parametrize("name", sorted(path.stem for path in SWEEPS.glob("*.yaml")))
def test_every_sweep_that_comes_along_gives_runs_that_are_never_tested(name: str) -> None:
    sweep = load_sweep(name, {})
    for spec in sweep.specs(sweep.recipe_point() or {}):
        assert not [item for item in spec.evaluate if "test" in item.splits]
        assert spec.wandb.group == sweep.study_name
    if name == sweep.method:
        assert sweep.recipe_point() is not None, "the recipe that is to be bettered must lie in the space"


def test_every_method_that_trains_has_a_sweep() -> None:
    names = {path.stem for path in SWEEPS.glob("*.yaml")}
    assert {"skip", "coop", "cocoop", "maple", "clip_adapter", "finetune"} <= names
    assert {"ablation_depth", "ablation_ratio", "ablation_lambda"} <= names


def test_blocks_stands_for_the_depth_of_the_backbone() -> None:
    assert load_sweep("skip", {}).space["skip.depth"].integers == (0, 6)
    big = load_sweep("skip", {"backbone": "ViT-B-16-quickgelu", "dataset": "dtd"})
    assert big.space["skip.depth"].integers == (0, 12)


def test_a_grid_is_all_its_points() -> None:
    sweep = Sweep.model_validate(
        {
            "method": "skip",
            "sampler": "grid",
            "space": {
                "skip.depth": {"int": [0, 4], "step": 2},
                "skip.class_ratio": {"float": [0.1, 0.3], "step": 0.1},
                "skip.lambda": {"choice": [0.3]},
            },
        }
    )
    grid = sweep.grid()
    assert sweep.num_trials == len(grid) == 9
    assert [point["skip.depth"] for point in grid[::3]] == [0, 2, 4]
    assert [point["skip.class_ratio"] for point in grid[:3]] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("key", "short", "long"),
    [
        ("skip.depth", "0..6", {"int": [0, 6]}),
        ("skip.depth", "0..blocks", {"int": [0, 6]}),
        ("skip.depth", "1..blocks..2", {"int": [1, 5], "step": 2}),
        ("skip.depth", "2,4,6", {"choice": [2, 4, 6]}),
        ("skip.depth", [2, 4, 6], {"choice": [2, 4, 6]}),
        ("skip.depth", "0..2,6", {"choice": [0, 1, 2, 6]}),
        ("skip.depth", 4, {"choice": [4]}),
        ("skip.class_ratio", "0.1..0.5..0.2", {"float": [0.1, 0.5], "step": 0.2}),
        ("train.lr", "1e-3,2e-3", {"choice": [0.001, 0.002]}),
        ("train.lr", {"choice": ["1e-3", "2e-3"]}, {"choice": [0.001, 0.002]}),
    ],
)
def test_a_space_in_the_notation_of_axes_is_the_same_study(
    key: str, short: Any, long: dict[str, Any], tmp_path: Path
) -> None:
    one, other = (
        load_sweep(write(tmp_path, method="skip", space={key: form}, sampler="grid"), {}) for form in (short, long)
    )
    assert one.grid() == other.grid()
    assert one.study_name == other.study_name


def test_texts_with_commas_are_choices_of_their_own(tmp_path: Path) -> None:
    space = {"coop.class_token_position": "end,front", "coop.ctx_init": ["a photo, of", "a drawing"]}
    sweep = load_sweep(write(tmp_path, method="coop", space=space, sampler="grid", seeds="1..3", objectives="H"), {})
    assert [tuple(point.values()) for point in sweep.grid()] == [
        (place, words) for place in ("end", "front") for words in ("a photo, of", "a drawing")
    ]
    assert (sweep.seeds, sweep.objectives) == ((1, 2, 3), ("H",))


def test_the_command_line_adds_to_the_space_and_takes_from_it(tmp_path: Path) -> None:
    path = write(tmp_path, method="skip", space={"skip.depth": "0..4", "skip.lambda": [0.1, 0.3]})
    words = ["skip.depth=2..3", "train.lr=1e-3,2e-3", "skip.lambda=0.5", "sampler=grid", "seeds=1..2"]
    sweep = load_sweep(path, split_changes(parse_overrides(words)))
    assert sweep.grid() == [{"skip.depth": depth, "train.lr": lr} for depth in (2, 3) for lr in (0.001, 0.002)]
    assert sweep.settings == {"skip": {"lambda": 0.5}}
    assert {spec.options["lambda"] for spec in sweep.specs(sweep.grid()[0])} == {0.5}
    with pytest.raises(UserError, match="a sweep searches over what is in its `space`"):
        load_sweep(write(tmp_path, settings={"train": {"lr": [0.1, 0.2]}}), {})


@given(st.integers(-20, 20), st.integers(0, 40), st.integers(1, 7))
def test_values_of_a_grid_are_what_can_be_drawn(low: int, width: int, step: int) -> None:
    parameter = Parameter.model_validate({"int": [low, low + width], "step": step})
    values = parameter.values()
    assert values == list(range(low, low + width + 1, step))
    assert all(parameter.holds(value) for value in values)
    assert not parameter.holds(low - 1)
    assert not parameter.holds("word")


def test_a_condition_leaves_a_setting_out() -> None:
    sweep = load_sweep("coop", {})
    words = sweep.suggest(
        optuna.trial.FixedTrial({"coop.ctx_init": "a photo of a", "train.lr": 1e-3, "train.epochs": 5})
    )
    assert "coop.n_ctx" not in words
    fixed = {"coop.ctx_init": None, "coop.n_ctx": 8, "train.lr": 1e-3, "train.epochs": 5}
    spec = sweep.specs(sweep.suggest(optuna.trial.FixedTrial(fixed)))[0]
    assert (spec.options["n_ctx"], spec.train.lr, spec.train.epochs, spec.train.validate_every) == (8, 1e-3, 5, 1)


def test_the_study_is_the_same_for_more_trials_and_another_for_other_data() -> None:
    one, more = load_sweep("skip", {}), load_sweep("skip", {"trials": 99, "workers": 3, "sampler": "random"})
    assert one.study_name == more.study_name
    assert one.study_name != load_sweep("skip", {"shots": 4}).study_name
    assert one.study_name != load_sweep("skip", {"settings": {"train": {"epochs": 9}}}).study_name
    assert one.study_name != load_sweep("skip", {"seeds": [1, 3]}).study_name
    assert one.study_name != load_sweep("skip", {"objectives": ["H"]}).study_name


@pytest.mark.parametrize(
    "name", ["../../x", "..", ".", ".x", "/tmp/x", "a/b", "a\\b", "a\nb", "\x1b[31m", "\0", " ", "x" * 65, "ü" * 33, 5]
)
def test_a_name_that_is_no_folder_beside_the_others_is_refused(name: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        load_sweep(write(tmp_path, name=name), {})
    assert "name=" in str(told.value)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("folder", ["/data/" + "a" * 250, "/" + "ü/" * 200, "/data/a\nb", "/data/\x1b[31mred"])
def test_a_study_on_any_folder_has_a_name_that_folders_and_wandb_take(folder: str) -> None:
    sweep = Sweep.model_validate(
        {"name": "x" * 64, "method": "skip", "dataset": f"folder:{folder}", "space": SMALL["space"]}
    )
    assert len(sweep.study_name.encode()) <= 128
    assert sweep.study_name.isprintable()
    assert "/" not in sweep.study_name
    other = sweep.model_copy(update={"dataset": f"folder:/other{folder}"})
    assert other.study_name != sweep.study_name


def test_names_of_studies_stay() -> None:
    space = {"clip_adapter.residual_ratio": {"float": [0.0, 1.0], "step": 0.5}}
    sweep = Sweep.model_validate({"name": "s", "method": "clip_adapter", "dataset": "folder:/d/x", "space": space})
    assert sweep.study_name.startswith("s-folder:_d_x-")


def test_folds_hold_out_every_shot_once(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, protocol="few_shot_held_out", folds=4, objectives=["accuracy"]), {})
    specs = sweep.specs({})
    assert [spec.data.held_out for spec in specs] == [f"{part}/4" for part in (1, 2, 3, 4) for _ in sweep.seeds]
    assert len({spec.id for spec in specs}) == len(specs) == 8


def test_words_of_the_command_line_change_the_sweep_or_its_runs() -> None:
    changed = split_changes({"pruner": "median", "train": {"epochs": 2}, "skip": {"max_classes": 9}})
    assert changed == {"pruner": "median", "settings": {"train": {"epochs": 2}, "skip": {"max_classes": 9}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "base_to_new"}, "must not look at test images"),
        ({"settings": {"evaluate": [{"name": "x", "splits": ["val", "test"]}]}}, "must not look at test images"),
        ({"objectives": ["F1"]}, "unknown metric 'F1'"),
        ({"limits": {"peak_memmory": 3}}, "Did you mean 'peak_memory'"),
        ({"pruner": "median"}, "several objectives cannot be pruned"),
        ({"pruner": "median", "objectives": ["train_seconds"]}, "it compares accuracies after each epoch"),
        ({"folds": 3}, "held-out shots need folds"),
        ({"protocol": "few_shot_held_out"}, "held-out shots need folds"),
        ({"space": {"clip_adapter.reduction": {"int": [4, 1]}}}, "must not be above"),
        ({"space": {"clip_adapter.reduction": {"int": [1, 4], "choice": [1]}}}, "give one of"),
        ({"space": {"train.lr": {"float": [0.0, 1.0], "log": True}}}, "begins above 0"),
        ({"space": {"train.lr": {"float": [0.1, 1.0]}}, "sampler": "grid"}, "a grid needs a step"),
        ({"space": {"train.lr": {"float": [0.1, 1.0], "when": {"x": [1]}}}}, "'train.lr' depends on 'x'"),
        ({"sampler": "bayes"}, "sampler='bayes'"),
        ({"trails": 3}, "unknown key 'trails'. Did you mean 'trials'"),
        ({"method": "skipp"}, "unknown method 'skipp'"),
        ({"space": {"clip_adapter.reduction": "4..1"}}, "the range is empty"),
        ({"space": {"train.lr": "0.1..1"}}, "a range of fractions needs a step"),
        ({"space": {"clip_adapter.reduction": 2, 4: None}}, "4 is no key: between braces"),
        ({"space": {"clip_adapter.reductoin": "1..4"}}, "Did you mean 'reduction'"),
        ({"space": {"clip_adapter.reductoin": {"int": [1, 4]}}}, "Did you mean 'reduction'"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(UserError, match=words):
        specs_of(path)


def specs_of(path: str) -> list[RunSpec]:
    """The runs of the first point of a sweep's grid."""
    sweep = load_sweep(path, {})
    return sweep.specs({key: parameter.values()[0] for key, parameter in sweep.space.items()})


def test_a_sweep_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"no sweep 'x_y' in experiments/sweeps/\. A file of your own is named by its path"
    ):
        load_sweep("x_y", {})
    with pytest.raises(UserError, match=r"no sweep 'mapel'.*Did you mean 'maple'"):
        load_sweep("mapel", {})


def test_only_methods_with_a_caching_pass_set_its_batch_size() -> None:
    for path in sorted(SWEEPS.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if "cache_batch_size" in content.get("settings", {}).get("train", {}):
            # In MaPLe the whole image tower matters, in zero-shot CLIP nothing trains.
            assert content["method"] not in ("maple", "zeroshot"), path.name
