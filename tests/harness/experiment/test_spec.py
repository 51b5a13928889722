"""A run's settings: merging, parsing, validation messages, id and learning rates."""

import copy
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.settings import merge, parse_overrides, read_yaml
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.experiment.training_spec import TrainSpec

SETTINGS = {"method": "skip", "evaluate": [{"name": "base", "dataset": "emoji", "classes": "base"}]}
KEYS = st.sampled_from("abc")
TREES = st.dictionaries(KEYS, st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=3)))


def make_spec(*changes: dict[str, Any]) -> RunSpec:
    return parse_run_spec(merge(SETTINGS, *changes))


def lookup(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, dict):
        return [(path, tree)]
    return [leaf for key, value in tree.items() for leaf in leaves(value, (*path, key))]


def error_of(*changes: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        make_spec(*changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_merge_goes_section_by_section() -> None:
    low = {"train": {"lr": 1, "epochs": 2}, "data": {"shots": 16}, "seed": 1}
    high = {"train": {"lr": 5}, "data": 7, "seed": {"x": 1}}
    assert merge(low, high) == {"train": {"lr": 5, "epochs": 2}, "data": 7, "seed": {"x": 1}}
    assert merge() == {}


@given(TREES, TREES)
def test_merge_keeps_every_leaf_of_the_last_layer_and_its_arguments(low: dict[str, Any], high: dict[str, Any]) -> None:
    before = copy.deepcopy((low, high))
    result = merge(low, high)
    assert (low, high) == before
    for path, value in leaves(high):
        assert lookup(result, path) == value
    assert set(result) == set(low) | set(high)
    assert merge(low) == low
    assert merge(result, high) == result


@given(TREES, TREES)
def test_merge_keeps_a_lower_leaf_unless_it_is_overridden(low: dict[str, Any], high: dict[str, Any]) -> None:
    result = merge(low, high)
    for path, value in leaves(low):
        section: Any = high
        for key in path:
            section = section.get(key) if isinstance(section, dict) else section
            if section is None:
                assert lookup(result, path) == value
                break


def test_overrides_are_nested_yaml_values() -> None:
    pairs = [
        "train.epochs=10",
        "train.precision=bf16",
        "skip.lambda=0.5",
        "data.crop_scale=[0.5, 1]",
        "a.b.c=x=y",
        "d=null",
    ]
    assert parse_overrides(pairs) == {
        "train": {"epochs": 10, "precision": "bf16"},
        "skip": {"lambda": 0.5},
        "data": {"crop_scale": [0.5, 1]},
        "a": {"b": {"c": "x=y"}},
        "d": None,
    }


def test_the_last_override_of_a_key_counts() -> None:
    assert parse_overrides(["seed=1", "seed=2"]) == {"seed": 2}


@pytest.mark.parametrize("word", ["train.epochs", "=3", ""])
def test_a_word_that_is_no_pair_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"'{word}' is not of the form key=value"):
        parse_overrides([word])


def test_a_value_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(UserError, match=r"train.epochs=\[1: not valid YAML: did not find expected"):
        parse_overrides(["train.epochs=[1"])


def test_a_rate_in_scientific_notation_without_a_point_is_a_number() -> None:
    assert make_spec(parse_overrides(["train.lr=1e-5"])).train.lr == 1e-5


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"trian": {"lr": 1}}, ["unknown key 'trian'", "Did you mean 'train'?"]),
        ({"train": {"epoch": 1}}, ["unknown key 'train.epoch'", "Did you mean 'epochs'?"]),
        ({"data": {"shot": 1}}, ["unknown key 'data.shot'", "Did you mean 'shots'?"]),
        ({"wandb": {"tag": []}}, ["unknown key 'wandb.tag'", "Did you mean 'tags'?"]),
        ({"skip": {"lamda": 0.3}}, ["unknown key 'skip.lamda'", "Did you mean 'lambda'?"]),
        ({"method": "skpi"}, ["unknown method 'skpi'", "Did you mean 'skip'?"]),
        ({"finetune": {"depth": 1}}, ["unknown key 'finetune'"]),
        ({"train": {"epochs": "many"}}, ["train.epochs='many'", "a whole number is needed"]),
        ({"train": {"epochs": 1.5}}, ["train.epochs=1.5", "a whole number is needed"]),
        ({"train": 5}, ["train=5"]),
        ({"skip": {"depth": "deep"}}, ["skip.depth='deep'", "a whole number is needed"]),
        ({"train": {"epochs": -1}}, ["train.epochs=-1", "greater than or equal to 0"]),
        ({"train": {"momentum": 1}}, ["train.momentum=1", "less than 1"]),
        ({"data": {"shots": 0}}, ["data.shots=0", "greater than or equal to 1"]),
        ({"skip": {"lambda": 0}}, ["skip.lambda=0", "greater than 0"]),
        ({"train": {"precision": "fp64"}}, ["train.precision='fp64'", "'fp16' or 'half'"]),
        ({"data": {"crop_scale": [0.9, 0.5]}}, ["data.crop_scale=[0.9, 0.5]", "0 < smallest <= largest <= 1"]),
        ({"data": {"templates": "a photo"}}, ["data.templates='a photo'", "a template with {}"]),
        ({"evaluate": []}, ["evaluate=[]", "at least 1"]),
        ({"evaluate": [{"name": "x"}]}, ["'evaluate.0.dataset' is missing"]),
        ({"evaluate": [{"name": "x", "dataset": "dtd"}] * 2}, ["evaluations need different names", "['x', 'x']"]),
    ],
)
def test_a_validation_message_names_the_key_and_what_is_wrong(changes: dict[str, Any], parts: list[str]) -> None:
    message = error_of(changes)
    for part in parts:
        assert part in message


def test_a_missing_method_is_refused() -> None:
    with pytest.raises(UserError, match="unknown method ''"):
        parse_run_spec({"evaluate": SETTINGS["evaluate"]})


def test_an_unknown_key_of_an_evaluation_names_the_nearest() -> None:
    message = error_of({"evaluate": [{"name": "x", "dataset": "dtd", "clases": "all"}]})
    assert "Did you mean 'classes'?" in message


def test_options_of_the_method_get_defaults_and_stand_under_its_name() -> None:
    spec = make_spec({"skip": {"depth": 3}})
    assert spec.settings()["skip"] == {"depth": 3, "class_ratio": 0.5, "max_classes": 50, "lambda": 0.3}
    assert "options" not in spec.settings()
    assert make_spec({"skip": None}).id == make_spec().id


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "finetune"},
        {"skip": {"depth": 5}},
        {"skip": {"lambda": 0.31}},
        {"backbone": "ViT-B-16-quickgelu"},
        {"seed": 2},
        {"protocol": "few_shot"},
        {"data": {"dataset": "dtd"}},
        {"data": {"classes": "all"}},
        {"data": {"shots": 8}},
        {"data": {"templates": "finetune"}},
        {"data": {"crop_scale": [0.1, 1.0]}},
        {"data": {"flip": False}},
        {"train": {"epochs": 11}},
        {"train": {"batch_size": 5}},
        {"train": {"batches": "same_class"}},
        {"train": {"lr": 0.0021}},
        {"train": {"lr_image": 0.002}},
        {"train": {"warmup_epochs": 1}},
        {"train": {"warmup_lr": 0.1}},
        {"train": {"momentum": 0.8}},
        {"train": {"weight_decay": 0.0}},
        {"train": {"precision": "bf16"}},
        {"train": {"cache": "once"}},
        {"train": {"cache_batch_size": 32}},
        {"evaluate": [{"name": "b", "dataset": "emoji", "classes": "base"}]},
        {"evaluate": [{"name": "base", "dataset": "dtd", "classes": "base"}]},
        {"evaluate": [{"name": "base", "dataset": "emoji", "classes": "new"}]},
        {"evaluate": [{"name": "base", "dataset": "emoji", "classes": "base", "splits": ["val"]}]},
    ],
)
def test_the_id_changes_with_what_decides_the_result(changes: dict[str, Any]) -> None:
    assert make_spec(changes).id != make_spec().id


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": "mine"},
        {"wandb": {"mode": "disabled", "project": "p", "entity": "e", "tags": ["t"]}},
        {"runtime": {"device": "cpu", "threads": 3, "workers": 2, "eval_batch_size": 7, "data_root": "elsewhere"}},
        {"skip": {"depth": 6}},  # the default, said
        {"train": {"lr": "2e-3"}},
    ],
)
def test_the_id_does_not_change_with_anything_else(changes: dict[str, Any]) -> None:
    assert make_spec(changes).id == make_spec().id


def test_a_spec_keeps_its_id_and_a_changed_copy_does_not() -> None:
    spec, fresh = make_spec(), make_spec()
    assert spec.id == spec.id == fresh.model_copy().id
    assert spec == make_spec(), "a known id is no difference"
    assert spec.model_dump() == make_spec().model_dump()
    changed = spec.model_copy(update={"seed": 7})
    assert changed.id == make_spec({"seed": 7}).id != spec.id
    assert copy.deepcopy(spec).id == spec.id


def test_the_id_of_a_run_that_names_a_file_is_computed_anew(tmp_path: Any) -> None:
    path = tmp_path / "of_classes.json"
    path.write_text('{"cat": ["a cat."]}')
    spec = make_spec({"data": {"templates": str(path)}})
    before = spec.id
    path.write_text('{"cat": ["the cat."]}')
    assert spec.id != before


def test_the_id_does_not_depend_on_the_order_of_keys() -> None:
    changes = {"train": {"lr": 0.1, "epochs": 3}, "skip": {"depth": 2, "lambda": 0.1}}
    backwards = {key: dict(reversed(value.items())) for key, value in reversed(changes.items())}
    assert make_spec(changes).id == make_spec(backwards).id
    assert len(make_spec().id) == 12
    assert set(make_spec().id) <= set("0123456789abcdef")


@given(
    seed=st.integers(0, 2**31),
    lr=st.floats(0, 1),
    lambda_=st.floats(1e-6, 10),
    low=st.floats(0.01, 1),
    precision=st.sampled_from(["fp32", "bf16", "fp16", "half"]),
    lr_image=st.none() | st.floats(0, 1),
    template=st.sampled_from(["zeroshot", "finetune", "a 'photo': of {}, #1", "ein Bild, {} - groß"]),
)
def test_settings_round_trip_to_the_same_run_also_through_yaml(
    seed: int, lr: float, lambda_: float, low: float, precision: str, lr_image: float | None, template: str
) -> None:
    spec = make_spec(
        {"seed": seed, "skip": {"lambda": lambda_}, "recipe": "r", "wandb": {"tags": ["x"]}, "runtime": {"threads": 2}},
        {"train": {"lr": lr, "lr_image": lr_image, "precision": precision}},
        {"data": {"crop_scale": [low, 1.0], "templates": template}},
    )
    for settings in (spec.settings(), yaml.safe_load(yaml.safe_dump(spec.settings(), sort_keys=False))):
        again = parse_run_spec(settings)
        assert again == spec
        assert again.id == spec.id


def test_a_name_for_people() -> None:
    spec = make_spec({"data": {"dataset": "dtd", "shots": 4}, "seed": 3})
    assert spec.name == "skip-dtd-4shot-seed3"


def test_learning_rate_with_a_warm_up_epoch() -> None:
    train = TrainSpec(epochs=5, warmup_epochs=1, warmup_lr=1e-5)
    rates = [train.lr_at(epoch, 0.0035) for epoch in range(5)]
    # The factors' cosines of 0, 36, 72 and 108 degrees; the published log shows four digits.
    assert rates == pytest.approx([1e-5, 3.5e-3, 3.166e-3, 2.291e-3, 1.209e-3], abs=5e-7)


@given(st.integers(1, 50), st.floats(1e-8, 1))
def test_learning_rate_without_warm_up_is_half_a_cosine(epochs: int, lr: float) -> None:
    train = TrainSpec(epochs=epochs)
    for epoch in range(epochs):
        assert train.lr_at(epoch, lr) == pytest.approx(0.5 * lr * (1 + math.cos(math.pi * epoch / epochs)))
    assert train.lr_at(0, lr) == lr


def test_warm_up_rate_is_that_of_every_group() -> None:
    train = TrainSpec(epochs=4, warmup_epochs=2, warmup_lr=1e-6)
    assert [train.lr_at(epoch, lr) for epoch in (0, 1) for lr in (2e-5, 5e-6)] == [1e-6] * 4
    assert train.lr_at(2, 5e-6) == 5e-6


def test_yaml_files(tmp_path: Any) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("train: {epochs: 3}\n")
    assert read_yaml(path) == {"train": {"epochs": 3}}
    path.write_text("seed: 1\ntrain: {epochs: 3\nx: ]")
    with pytest.raises(UserError, match=r"settings.yaml' line 3: not valid YAML"):
        read_yaml(path)
    path.write_text("- skip\n")
    with pytest.raises(UserError, match="must hold keys and values"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"settings.yaml' line 1 is not UTF-8 text"):
        read_yaml(path)
    with pytest.raises(UserError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")


def test_batches_of_one_class_need_four_shots() -> None:
    same = TrainSpec(batches="same_class")
    assert [same.batch_kind(shots) for shots in (1, 2, 3, 4, 16)] == ["random"] * 3 + ["same_class"] * 2
    assert {TrainSpec(batches="random").batch_kind(shots) for shots in (1, 4, 16)} == {"random"}


def test_which_cache_modes_keep_anything() -> None:
    assert [TrainSpec(cache=mode).caches for mode in ("none", "fresh", "once")] == [False, True, True]  # type: ignore[arg-type]
