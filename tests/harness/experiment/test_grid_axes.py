"""Experiments that vary settings: which runs there are, how they are described, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UserError
from harness.experiment.grid import (
    Experiment,
    ablation_axes,
    axes_of,
    describe_grid,
    differing_settings,
    expand,
    load_experiment,
    values_at,
)
from harness.experiment.one_run import vary
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec


def grid(*words: str, **fields: Any) -> Experiment:
    return Experiment(**{"seeds": (1,), **fields}).with_settings(parse_overrides(words))


def depths(specs: list[RunSpec]) -> list[tuple[str, Any, int]]:
    return [(spec.method, spec.options.get("depth"), spec.seed) for spec in specs]


def test_every_value_of_a_setting_is_run_with_every_seed() -> None:
    experiment = grid("skip.depth=2..6..2", seeds=(1, 2))
    specs = expand(experiment)
    assert depths(specs) == [("skip", depth, seed) for depth in (2, 4, 6) for seed in (1, 2)]
    assert [spec.id for spec in specs] == [
        spec.id for depth in (2, 4, 6) for spec in expand(grid(f"skip.depth={depth}", seeds=(1, 2)))
    ]
    assert describe_grid(experiment, len(specs)) == "3 values of skip.depth x 2 seeds = 6 runs"


def test_axes_are_combined_section_by_section_in_the_order_in_which_they_are_written() -> None:
    experiment = grid("train.precision=fp32,bf16", "skip.depth=2,4", "train.lr=1e-3,2e-3")
    found = [(spec.train.precision, spec.train.lr, spec.options["depth"]) for spec in expand(experiment)]
    assert found == [
        (precision, lr, depth) for precision in ("fp32", "bf16") for lr in (0.001, 0.002) for depth in (2, 4)
    ]
    assert list(axes_of(experiment)) == ["train.precision", "train.lr", "skip.depth"]


def test_an_option_varies_its_own_method_only() -> None:
    experiment = grid("skip.depth=2,4", "finetune.depth=0..2", methods=("finetune", "skip", "zeroshot"))
    specs = expand(experiment)
    assert depths(specs) == [
        *(("finetune", depth, 1) for depth in (0, 1, 2)),
        *(("skip", depth, 1) for depth in (2, 4)),
        ("zeroshot", None, 1),
    ]
    assert describe_grid(experiment, len(specs)).endswith(
        "= 18 runs, 6 of them different: settings vary only the methods that use them"
    )


def test_what_is_trained_differently_is_one_run_where_nothing_trains() -> None:
    experiment = grid("train.lr=1e-3,2e-3", "train.precision=fp32,bf16", methods=("zeroshot", "coop"), seeds=(1, 2))
    specs = expand(experiment)
    assert [(spec.method, spec.train.precision) for spec in specs if spec.method == "zeroshot"] == [
        ("zeroshot", "fp32"),
        ("zeroshot", "bf16"),
    ]
    assert len(specs) == 2 + 2 * 2 * 2
    assert describe_grid(experiment, len(specs)).endswith(
        "= 16 runs, 10 of them different: settings vary only the methods that use them; "
        "seeds change nothing where nothing is learned"
    )


def test_runs_with_the_same_id_are_run_once() -> None:
    specs = expand(grid("train.lr=1e-3,0.001,0.0010", "data.flip=true,True"))
    assert len(specs) == 1
    # The official recipe of the embedded backbone's protocol, named and by default.
    assert len(expand(grid(recipe=(None, "clip-emoji"), backbone="clip-emoji"))) == 1


def test_backbones_and_recipes_are_axes_and_blocks_are_those_of_each_backbone() -> None:
    experiment = grid("skip.depth=0..blocks..6", backbone="clip-emoji,ViT-B-16-quickgelu", recipe="official")
    found = [(spec.backbone, spec.options["depth"]) for spec in expand(experiment)]
    assert found == [("clip-emoji", 0), ("clip-emoji", 6), *(("ViT-B-16-quickgelu", depth) for depth in (0, 6, 12))]
    both = grid(recipe="official,skip_tuning_authors", methods=("coop",))
    assert [spec.recipe for spec in expand(both)] == ["official", "skip_tuning_authors"]
    assert ablation_axes(experiment) == ["backbone", "skip.depth"]
    assert ablation_axes(both) == ["recipe"]


@pytest.mark.parametrize(
    "fields",
    [
        {"methods": ["coop", "skip"], "seeds": [1, 2, 3], "shots": [1, 2, 4], "datasets": ["emoji", "dtd"]},
        {"methods": "coop,skip", "seeds": "1..3", "shots": "1,2,4", "datasets": "emoji, dtd"},
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {"skip": {"depth": [0, 1, 2]}, "train": {"precision": ["fp32", "bf16"]}},
        {"skip": {"depth": "0..2"}, "train": {"precision": "fp32,bf16"}},
        {"skip.depth": "0,1,2", "train.precision": "fp32,bf16"},
        {"skip.depth": [0, "1..2"], "train": {"precision": ["fp32", "bf16"]}},
    ],
)
def test_a_file_says_the_same_in_every_form(tmp_path: Path, fields: dict[str, Any], settings: dict[str, Any]) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({**fields, "backbone": "clip-emoji", "settings": settings}))
    wanted = grid(
        "skip.depth=0..2",
        "train.precision=fp32,bf16",
        methods=("coop", "skip"),
        seeds=(1, 2, 3),
        shots=(1, 2, 4),
        datasets=("emoji", "dtd"),
    )
    assert [spec.id for spec in expand(load_experiment(path))] == [spec.id for spec in expand(wanted)]


def test_the_command_line_replaces_an_axis_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("seeds: 1\nsettings:\n  skip.depth: 0..6\n")
    assert depths(expand(load_experiment(path), parse_overrides(["skip.depth=4"]))) == [("skip", 4, 1)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("runtime.threads=1,2", "'runtime.threads' changes no result, so that its values would be one run"),
        ("wandb.project=[a, b]", "'wandb.project' changes no result"),
        ("seed=1..3", "'seed' is an axis of the experiment: set it with SEEDS=..."),
        ("skip.dept=1,2", "unknown key 'skip.dept'. Did you mean 'depth'?"),
        ("finetune.depth=1,2", "settings for method 'finetune' are given, but it is not run"),
        ("skip.depth=2,four", "skip.depth='four': a whole number is needed"),
        ("skip.depth=0..9", "skip.depth=7 is beyond a backbone of 6 blocks"),
        ("data.crop_scale=0.5,1", "'data.crop_scale' is a list: write it in brackets, data.crop_scale=[0.5,1]"),
        ("train.batch_size=1..9999", "the grid has 199,980 runs, at most 100,000 are possible: give fewer values"),
    ],
)
def test_what_cannot_be_varied_is_refused_in_one_line(word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(grid(seeds=tuple(range(20))), parse_overrides([word]))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_commas_between_braces_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("settings: {skip: {depth: 2,4}}\n")
    with pytest.raises(UserError, match=r"4 is no key: between braces, several values need brackets"):
        load_experiment(path)


def test_a_run_of_a_file_is_varied_by_overrides() -> None:
    (spec,) = expand(grid())
    planned = vary(spec.settings(), parse_overrides(["skip.depth=2,4", "seed=1..2"]))
    specs = [item.spec for item in planned]
    assert depths(specs) == [("skip", depth, seed) for depth in (2, 4) for seed in (1, 2)]
    assert [one.spec.id for one in vary(spec.settings(), {})] == [spec.id]
    assert differing_settings(specs) == ["skip.depth"]
    assert differing_settings(expand(grid(methods=("skip", "coop"), shots=(1, 16), protocol="few_shot"))) == []


def test_values_of_axes_are_text_with_a_dash_where_there_are_none() -> None:
    skip, zeroshot = expand(grid("train.lr=1e-5", "train.validate_every=null", methods=("skip", "zeroshot")))
    keys = ["skip.depth", "train.lr", "train.validate_every", "data.crop_scale", "train.batches"]
    assert list(values_at(skip, keys).values()) == ["3", "1e-05", "null", "[0.6, 1.0]", "same_class"]
    assert values_at(zeroshot, ["skip.depth"]) == {"skip.depth": "–"}
