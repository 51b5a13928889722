"""From an experiment to its runs: the grid, precedence of settings, and the numbers of the official recipes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.data.catalog import DATASETS
from harness.errors import UserError
from harness.experiment.grid import Experiment, expand, load_experiment
from harness.experiment.recipes import GRID
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec

BACKBONE = "ViT-B-16-quickgelu"


def grid(**fields: Any) -> Experiment:
    return Experiment(**{"backbone": BACKBONE, **fields})


def one(overrides: dict[str, Any] | None = None, **fields: Any) -> RunSpec:
    specs = expand(grid(**{"seeds": (1,), **fields}), overrides)
    assert len(specs) == 1
    return specs[0]


def test_the_grid_is_the_product_of_its_axes() -> None:
    experiment = grid(methods=("skip", "finetune"), datasets=("emoji", "dtd"), shots=(16, 4), seeds=(1, 2, 3))
    specs = expand(experiment)
    keys = [(spec.data.dataset, spec.data.shots, spec.method, spec.seed) for spec in specs]
    assert keys == [
        (dataset, shots, method, seed)
        for dataset in ("emoji", "dtd")
        for shots in (16, 4)
        for method in ("skip", "finetune")
        for seed in (1, 2, 3)
    ]
    assert {spec.backbone for spec in specs} == {BACKBONE}
    assert len({spec.id for spec in specs}) == len(specs)


def test_all_stands_for_every_method_and_repeated_ones_count_once() -> None:
    assert {"skip", "finetune", "zeroshot"} <= set(grid(methods=("all",)).methods)
    assert grid(methods=("skip", "zeroshot", "skip")).methods == ("skip", "zeroshot")


def test_zeroshot_has_one_seed() -> None:
    specs = expand(grid(methods=("zeroshot", "skip"), seeds=(4, 5)))
    assert [(spec.method, spec.seed) for spec in specs] == [("zeroshot", 4), ("skip", 4), ("skip", 5)]
    assert specs[0].train.epochs == 0


@pytest.mark.parametrize(
    ("protocol", "classes", "evaluations"),
    [
        ("base_to_new", "base", [("base", "base", ("test",)), ("new", "new", ("test",))]),
        (
            "base_to_new_validation",
            "base.base",
            [("base", "base.base", ("val",)), ("new", "base.new", ("train", "val"))],
        ),
        ("few_shot", "all", [("all", "all", ("test",))]),
    ],
)
def test_protocols(protocol: str, classes: str, evaluations: list[tuple[str, str, tuple[str, ...]]]) -> None:
    spec = one(protocol=protocol, datasets=("dtd",))
    assert (spec.protocol, spec.data.classes) == (protocol, classes)
    assert [(item.name, item.classes, item.splits) for item in spec.evaluate] == evaluations
    assert {item.dataset for item in spec.evaluate} == {"dtd"}


def test_choosing_hyper_parameters_never_looks_at_test_pictures_or_new_classes() -> None:
    spec = one(protocol="base_to_new_validation")
    assert all("test" not in item.splits and item.classes.startswith("base.") for item in spec.evaluate)


# Precedence: defaults < data set < protocol < recipe < experiment < overrides.


def test_a_data_set_is_above_the_defaults() -> None:
    assert one(datasets=("dtd",)).data.crop_scale == (0.08, 1.0)
    assert one(datasets=("emoji",)).data.crop_scale == (0.6, 1.0)


def test_a_protocol_is_above_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "dtd", replace(DATASETS["dtd"], settings={"data": {"classes": "new", "flip": False}}))
    data = one(datasets=("dtd",)).data
    assert (data.classes, data.flip) == ("base", False)


def test_a_recipe_is_above_protocol_and_data_set(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("data: {classes: all, crop_scale: [0.5, 1.0]}\nskip: {depth: 2}\n")
    spec = one(recipe=str(recipe))
    assert (spec.data.classes, spec.data.crop_scale, spec.options["depth"]) == ("all", (0.5, 1.0), 2)
    # Nothing of the official recipe is left.
    assert (spec.train.batches, spec.train.lr, spec.data.templates) == ("random", 2e-3, "zeroshot")


def test_within_a_recipe_the_protocol_is_above_all_and_the_data_set_above_both() -> None:
    assert one(protocol="base_to_new").train.epochs == 20
    assert one(protocol="few_shot").train.epochs == 40
    assert one(protocol="few_shot", datasets=("food101",)).train.epochs != 40


def test_an_experiment_is_above_the_recipe_and_overrides_are_above_it() -> None:
    settings = {"train": {"epochs": 7, "batch_size": 8}, "skip": {"depth": 4}}
    spec = one(parse_overrides(["train.epochs=3", "skip.lambda=0.9"]), settings=settings)
    assert (spec.train.epochs, spec.train.batch_size, spec.train.lr) == (3, 8, 2e-5)
    assert spec.options == {"depth": 4, "class_ratio": 0.5, "max_classes": 50, "lambda": 0.9}


def test_sections_under_a_methods_name_go_to_that_method_only() -> None:
    overrides = parse_overrides(["skip.depth=4", "finetune.depth=2", "train.epochs=1"])
    skip, finetune, zeroshot = expand(grid(methods=("skip", "finetune", "zeroshot"), seeds=(1,)), overrides)
    assert skip.options["depth"] == 4
    assert finetune.options == {"depth": 2}
    assert zeroshot.options == {}
    assert (skip.train.epochs, finetune.train.epochs) == (1, 1)
    assert zeroshot.train.epochs == 0, "it has nothing to train, whatever is asked for"


def test_a_section_of_a_method_that_is_not_run_is_refused() -> None:
    with pytest.raises(UserError, match="settings for method 'finetune' are given, but it is not run"):
        expand(grid(), {"finetune": {"depth": 2}})


@pytest.mark.parametrize(
    ("override", "variable"),
    [
        ("method=finetune", "METHOD"),
        ("seed=3", "SEEDS"),
        ("protocol=few_shot", "PROTOCOL"),
        ("backbone=clip-emoji", "BACKBONE"),
        ("recipe=official", "RECIPE"),
        ("data.dataset=dtd", "DATASET"),
        ("data.shots=4", "SHOTS"),
    ],
)
def test_axes_of_the_grid_are_refused_as_overrides(override: str, variable: str) -> None:
    key = override.partition("=")[0]
    assert key in GRID
    with pytest.raises(UserError, match=f"'{key}' is an axis of the experiment: set it with {variable}="):
        expand(grid(), parse_overrides([override]))
    with pytest.raises(UserError, match=f"'{key}' is an axis"):
        expand(grid(settings=parse_overrides([override])))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.epochs=3", "unknown key 'trian'. Did you mean 'train.epochs'?"),
        ("lr=0.1", "unknown key 'lr'. Did you mean 'train.lr'?"),
        ("epochs=3", "unknown key 'epochs'. Did you mean 'train.epochs'?"),
        ("learning_rate=3", "unknown key 'learning_rate'. Did you mean 'train.lr'?"),
        ("train.learning_rate=3", "unknown key 'train.learning_rate'. Did you mean 'train.lr'?"),
        ("batch-size=3", "unknown key 'batch-size'. Did you mean 'train.batch_size'?"),
        ("depth=4", "unknown key 'depth'. Did you mean 'skip.depth'?"),
        ("SKIP.depth=4", "unknown key 'SKIP'. Did you mean 'skip.depth'?"),
        ("skip.epochs=4", "unknown key 'skip.epochs'. Did you mean 'train.epochs'?"),
        ("residual_ratio=4", "unknown key 'residual_ratio'. Did you mean 'clip_adapter.residual_ratio'?"),
        ("n_ctx=4", "unknown key 'n_ctx'. Did you mean 'cocoop.n_ctx' or 'coop.n_ctx' or "),
        ("dataset=dtd", "unknown key 'dataset': set it with DATASET=... or --dataset"),
        ("time_limit=4", "unknown key 'time_limit'. Did you mean 'schedule.time_limit'?"),
        ("skp.depth=3", "unknown key 'skp'. Did you mean 'skip.depth'?"),
        ("train.epohcs=3", "unknown key 'train.epohcs'. Did you mean 'epochs'?"),
        ("skip.deep=3", "unknown key 'skip.deep'. Did you mean 'depth'?"),
        ("data.classes=old", "unknown class subset 'old'"),
    ],
)
def test_a_setting_that_no_run_can_take_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(grid(), parse_overrides([override]))
    assert message in str(caught.value)


@pytest.mark.parametrize("override", ["data=", "data=5", "evaluate=5", "evaluate=[base]", "evaluate="])
def test_a_section_of_the_wrong_shape_is_refused_in_one_line(override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        expand(grid(), parse_overrides([override]))


# The numbers of the official recipes.

SKIP_OPTIONS = {"depth": 6, "class_ratio": 0.5, "max_classes": 50, "lambda": 0.3}


def test_skip_tuning_base_to_new() -> None:
    spec = one(protocol="base_to_new", datasets=("dtd",))
    train = spec.train
    assert (spec.recipe, spec.options) == ("official", SKIP_OPTIONS)
    assert (train.epochs, train.batch_size, train.batches) == (20, 4, "same_class")
    assert (train.lr, train.lr_image) == (2e-5, 5e-6)
    assert (train.warmup_epochs, train.warmup_lr) == (1, 1e-6)
    assert (train.momentum, train.weight_decay, train.precision) == (0.9, 5e-4, "fp32")
    assert spec.data.templates == "finetune"


def test_skip_tuning_few_shot() -> None:
    spec = one(protocol="few_shot", datasets=("dtd",))
    train = spec.train
    assert spec.options == SKIP_OPTIONS
    assert (train.epochs, train.batch_size, train.batches) == (40, 4, "same_class")
    assert (train.lr, train.lr_image, train.warmup_epochs) == (1e-5, None, 0)


def test_hyper_parameters_are_chosen_with_the_numbers_of_base_to_new() -> None:
    official, validation = (one(protocol=name).train for name in ("base_to_new", "base_to_new_validation"))
    assert validation == official


@pytest.mark.parametrize("dataset", ["sun397", "food101"])
@pytest.mark.parametrize(
    ("protocol", "epochs"),
    [
        ("base_to_new", 5),
        pytest.param(
            "few_shot",
            10,
        ),
    ],
)
def test_skip_tuning_trains_a_quarter_of_the_epochs_on_large_data_sets(
    dataset: str, protocol: str, epochs: int
) -> None:
    assert one(datasets=(dataset,), protocol=protocol).train.epochs == epochs


@pytest.mark.parametrize("dataset", ["caltech101", "dtd", "eurosat", "ucf101", "oxford_pets"])
def test_skip_tuning_trains_all_epochs_on_other_data_sets(dataset: str) -> None:
    assert one(datasets=(dataset,)).train.epochs == 20


@pytest.mark.parametrize("protocol", ["base_to_new", "few_shot"])
def test_full_fine_tuning(protocol: str) -> None:
    spec = one(methods=("finetune",), protocol=protocol)
    train = spec.train
    assert (train.epochs, train.batch_size, train.lr, train.lr_image, train.warmup_epochs) == (10, 4, 1e-5, None, 0)
    assert spec.options == {"depth": 0}
    assert (spec.data.templates, train.batches) == ("finetune", "random")


def test_zeroshot_uses_the_usual_templates() -> None:
    assert one(methods=("zeroshot",)).data.templates == "zeroshot"


# What does not fit together.


@pytest.mark.parametrize("method", ["skip", "finetune"])
def test_a_depth_beyond_the_backbone_is_refused(method: str) -> None:
    assert one({method: {"depth": 12}}, methods=(method,)).options["depth"] == 12
    with pytest.raises(UserError, match=rf"{method}\.depth=13 is beyond .* 12 blocks.* 0 to 12 .*{BACKBONE}"):
        one({method: {"depth": 13}}, methods=(method,))


def test_the_embedded_backbone_has_six_blocks() -> None:
    fields = {"methods": ("finetune",), "backbone": "clip-emoji", "recipe": "official"}
    assert one({"finetune": {"depth": 6}}, **fields).options["depth"] == 6
    with pytest.raises(UserError, match=r"finetune\.depth=7 is beyond .* 6 blocks"):
        one({"finetune": {"depth": 7}}, **fields)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(UserError, match=r"method 'skip' has no recipe 'offical'\. Did you mean 'official'\?"):
        expand(grid(recipe="offical"))
    with pytest.raises(UserError, match=r"'none\.yaml' does not exist"):
        expand(grid(recipe="none.yaml"))


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(UserError, match="unknown backbone 'ViT-B-61'"):
        expand(grid(backbone="ViT-B-61"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: [skp]", "unknown method 'skp'. Did you mean 'skip'?"),
        ("datasets: [emojy]", "unknown data set 'emojy'. Did you mean 'emoji'?"),
        ("protocol: base_new", "unknown protocol 'base_new'. Did you mean 'base_to_new'?"),
        ("method: skip", "unknown key 'method'. Did you mean 'methods'?"),
        ("seeds: []", "seeds=[]"),
    ],
)
def test_an_experiment_file_with_an_error_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_experiment(path)
    assert message in str(caught.value)


def test_changes_are_above_an_experiment_file(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("methods: [skip]\nshots: [4]\nsettings: {train: {epochs: 2, lr: 0.5}}\n")
    experiment = load_experiment(path, {"methods": ["all"], "settings": {"train": {"lr": 0.1}}})
    assert set(experiment.methods) >= {"finetune", "skip"}
    assert experiment.shots == (4,)
    assert experiment.settings == {"train": {"epochs": 2, "lr": 0.1}}


@pytest.mark.parametrize(("shots", "epochs"), [(16, 200), (8, 200), (4, 100), (2, 100), (1, 50)])
def test_coop_trains_longer_on_more_shots(shots: int, epochs: int) -> None:
    spec = one(methods=("coop",), protocol="few_shot", shots=(shots,))
    assert (spec.train.epochs, spec.train.batch_size, spec.train.lr) == (epochs, 32, 2e-3)
    assert (spec.options["n_ctx"], spec.options["ctx_init"]) == (16, None)


def test_prompt_methods_base_to_new() -> None:
    coop, cocoop, maple = expand(grid(methods=("coop", "cocoop", "maple"), seeds=(1,)))
    assert (coop.options["ctx_init"], coop.train.epochs) == ("a photo of a", 200)
    assert (cocoop.train.epochs, cocoop.train.batch_size, cocoop.train.lr) == (10, 1, 2e-3)
    assert (maple.options["depth"], maple.options["n_ctx"], maple.train.lr, maple.train.epochs) == (9, 2, 3.5e-3, 5)


def test_runs_of_an_experiment_share_a_wandb_group_that_is_no_part_of_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "night.yaml"
    path.write_text("methods: [skip, zeroshot]\nseeds: [1, 2]\n")
    unnamed = expand(load_experiment(path))
    assert {spec.wandb.group for spec in unnamed} == {"night"}
    path.write_text("name: depth study\nmethods: [skip, zeroshot]\nseeds: [1, 2]\n")
    named = expand(load_experiment(path))
    assert {spec.wandb.group for spec in named} == {"depth study"}
    chosen = expand(load_experiment(path), parse_overrides(["wandb.group=mine"]))
    assert {spec.wandb.group for spec in chosen} == {"mine"}
    assert {spec.wandb.group for spec in expand(load_experiment(path), parse_overrides(["wandb.group=null"]))} == {
        "depth study"
    }
    assert [spec.id for spec in unnamed] == [spec.id for spec in named] == [spec.id for spec in chosen]
