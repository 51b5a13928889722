"""The four protocols: which runs, by which official recipe, evaluated on what; and on the embedded sets for real."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from harness.data.catalog import DATASETS
from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.experiment.grid import Experiment, describe_grid, expand, load_experiment
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.experiment.spec import RunSpec
from tests.commands import ROOT, Finished, error_line, run_process, skipbench

PAPER = EXPERIMENTS / "paper"
TEN = [
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
]
ELEVEN = ["imagenet", *TEN]
VARIANTS = ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
METHODS = ["clip_adapter", "cocoop", "coop", "finetune", "maple", "skip", "zeroshot"]
TRAINED = METHODS[:-1]
TARGETS = {name: protocol.targets for name, protocol in PROTOCOLS.items() if protocol.targets}
FOUR = ["base_to_new", "few_shot", "cross_dataset", "domain_generalization"]


def paper(protocol: str) -> tuple[Experiment, list[RunSpec]]:
    """The paper's grid under a protocol."""
    experiment = load_experiment(PAPER / f"{protocol}.yaml")
    return experiment, expand(experiment)


# Which runs.


def test_there_is_an_experiment_for_each_protocol_of_the_paper() -> None:
    assert sorted(path.stem for path in PAPER.glob("*.yaml")) == sorted(FOUR)
    assert set(FOUR) < set(PROTOCOLS)
    assert method_names() == METHODS


@pytest.mark.parametrize(
    ("protocol", "datasets", "shots"),
    [
        ("base_to_new", ELEVEN, [16]),
        ("few_shot", ELEVEN, [1, 2, 4, 8, 16]),
        ("cross_dataset", ["imagenet"], [16]),
        ("domain_generalization", ["imagenet"], [16]),
    ],
)
def test_the_papers_grid(protocol: str, datasets: list[str], shots: list[int]) -> None:
    _, specs = paper(protocol)
    # Zero-shot CLIP has nothing that a seed changes.
    seeds = {method: [1, 2, 3] for method in TRAINED} | {"zeroshot": [1]}
    assert [(spec.data.dataset, spec.data.shots, spec.method, spec.seed) for spec in specs] == [
        (dataset, count, method, seed)
        for dataset in datasets
        for count in shots
        for method in METHODS
        for seed in seeds[method]
    ]
    assert len(specs) == len(datasets) * len(shots) * 19
    assert len({spec.id for spec in specs}) == len(specs)
    assert {(spec.protocol, spec.backbone, spec.recipe) for spec in specs} == {
        (protocol, "ViT-B-16-quickgelu", "official")
    }


@pytest.mark.parametrize(
    ("protocol", "text"),
    [
        ("base_to_new", "11 data sets x 7 methods x 3 seeds = 231 runs, 209 of them different: "),
        ("few_shot", "11 data sets x 5 shots x 7 methods x 3 seeds = 1155 runs, 1045 of them different: "),
        ("cross_dataset", "7 methods x 3 seeds = 21 runs, 19 of them different: "),
        ("domain_generalization", "7 methods x 3 seeds = 21 runs, 19 of them different: "),
    ],
)
def test_a_grid_is_described_as_a_product(protocol: str, text: str) -> None:
    experiment, specs = paper(protocol)
    assert describe_grid(experiment, len(specs)) == f"{text}seeds change nothing where nothing trains"


def test_a_grid_whose_runs_all_differ_is_described_without_more_words() -> None:
    experiment = Experiment(methods=("skip", "coop"), seeds=(1, 2, 3), shots=(4, 16))
    assert describe_grid(experiment, len(expand(experiment))) == "2 shots x 2 methods x 3 seeds = 12 runs"


# Trained on what, evaluated on what.


def evaluated(spec: RunSpec) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(item.name, item.dataset, item.classes, item.splits) for item in spec.evaluate]


def test_base_to_new_trains_on_half_of_the_classes_and_tests_both_halves() -> None:
    for spec in paper("base_to_new")[1]:
        dataset = spec.data.dataset
        assert spec.data.classes == "base"
        assert evaluated(spec) == [("base", dataset, "base", ("test",)), ("new", dataset, "new", ("test",))]


def test_few_shot_trains_and_tests_on_all_classes() -> None:
    for spec in paper("few_shot")[1]:
        assert spec.data.classes == "all"
        assert evaluated(spec) == [("all", spec.data.dataset, "all", ("test",))]


@pytest.mark.parametrize(("protocol", "targets"), [("cross_dataset", TEN), ("domain_generalization", VARIANTS)])
def test_a_run_on_imagenet_is_tested_on_it_and_on_all_targets(protocol: str, targets: list[str]) -> None:
    for spec in paper(protocol)[1]:
        assert (spec.data.dataset, spec.data.classes, spec.data.shots) == ("imagenet", "all", 16)
        assert evaluated(spec) == [(name, name, "all", ("test",)) for name in ("imagenet", *targets)]


def test_the_embedded_sets_have_targets_of_their_own() -> None:
    for protocol, targets in TARGETS.items():
        (spec,) = expand(Experiment(protocol=protocol, methods=("zeroshot",)))
        names = ["emoji", *targets["emoji"]]
        assert evaluated(spec) == [(name, name, "all", ("test",)) for name in names]
        assert all(read_dataset(name).test for name in names)
    assert TARGETS["domain_generalization"]["emoji"] == ("emoji-outline", "emoji-glyph")
    # What is generalized over are domains: the classes stay.
    classes = {read_dataset(name).class_names for name in ("emoji", "emoji-outline", "emoji-glyph")}
    assert len(classes) == 1


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def test_an_experiment_can_choose_its_targets(tmp_path: Path) -> None:
    text = "methods: [zeroshot]\ndatasets: [dtd, imagenet]\nbackbone: ViT-B-16\ntargets: [eurosat, emoji]\n"
    specs = expand(load_experiment(write(tmp_path, f"{text}protocol: cross_dataset\nrecipe: official\n")))
    assert [[item.dataset for item in spec.evaluate] for spec in specs] == [
        ["dtd", "eurosat", "emoji"],
        ["imagenet", "eurosat", "emoji"],
    ]
    ours = expand(load_experiment(PAPER / "cross_dataset.yaml", {"methods": ["zeroshot"]}))
    assert ours[0].id != specs[1].id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "protocol: cross_dataset\ndatasets: [dtd]",
            "protocol 'cross_dataset' has no targets for training data set 'dtd': train on imagenet or emoji, "
            "or set `targets` in the experiment file",
        ),
        (
            "protocol: domain_generalization\ndatasets: [emoji-food]",
            "protocol 'domain_generalization' has no targets for training data set 'emoji-food': train on imagenet or "
            "emoji, or set `targets` in the experiment file",
        ),
        (
            "protocol: base_to_new\ntargets: [dtd]",
            "protocol 'base_to_new' takes no targets: use cross_dataset or domain_generalization",
        ),
        ("protocol: cross_dataset\ntargets: [dtdd]", "unknown data set 'dtdd'. Did you mean 'dtd'?"),
        ("protocol: cross_dataset\ntargets: [emoji, dtd]", "evaluations need different names"),
    ],
)
def test_targets_that_cannot_be_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(load_experiment(write(tmp_path, text)))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# The official recipes: facts of the methods' papers and repositories, for ViT-B/16.

LARGE = ("imagenet", "sun397", "food101")
WARM_UP = {"warmup_epochs": 1, "warmup_lr": 1e-5}


def coop_epochs(protocol: str, dataset: str, shots: int) -> int:
    if dataset == "imagenet":
        return 50
    return {1: 50, 2: 100, 4: 100}.get(shots, 200) if protocol == "few_shot" else 200


def official(spec: RunSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `train` and the method's options must hold."""
    protocol, dataset, shots = spec.protocol, spec.data.dataset, spec.data.shots
    to_others = protocol in ("cross_dataset", "domain_generalization")
    if spec.method == "coop":
        train = {"epochs": coop_epochs(protocol, dataset, shots), "batch_size": 32, "lr": 2e-3, **WARM_UP}
        words = "a photo of a" if protocol == "base_to_new" else None
        return train, {"n_ctx": 16, "ctx_init": words, "class_token_position": "end", "class_specific": False}
    if spec.method == "cocoop":
        return {"epochs": 10, "batch_size": 1, "lr": 2e-3, **WARM_UP}, {"n_ctx": 4, "ctx_init": "a photo of a"}
    if spec.method == "maple":
        options = {"n_ctx": 2, "ctx_init": "a photo of a", "depth": 3 if to_others else 9}
        epochs = 2 if to_others else 50 if protocol == "few_shot" else 5
        return {"epochs": epochs, "batch_size": 4, "lr": 2.6e-3 if to_others else 3.5e-3, **WARM_UP}, options
    if spec.method == "clip_adapter":
        return {"epochs": 100, "batch_size": 32, "lr": 2e-3, **WARM_UP}, {"reduction": 4, "residual_ratio": 0.2}
    if spec.method == "finetune":
        return {"epochs": 4 if to_others else 10, "batch_size": 4, "lr": 1e-5, "warmup_epochs": 0}, {"depth": 0}
    assert spec.method == "skip"
    rates: dict[str, Any] = {"lr": 2e-5, "lr_image": 5e-6, "warmup_epochs": 1, "warmup_lr": 1e-6}
    if to_others:
        rates = {"lr": 1e-5, "lr_image": 1e-6, "warmup_epochs": 1, "warmup_lr": 1e-8}
    elif protocol == "few_shot":
        rates = {"lr": 1e-5, "lr_image": None, "warmup_epochs": 0}
    epochs = (40 if protocol == "few_shot" else 20) // (4 if dataset in LARGE else 1)
    train = {"epochs": epochs, "batch_size": 4, "batches": "same_class", "lr_image": None, **rates}
    return train, {"depth": 6, "class_ratio": 0.5, "max_classes": 50, "lambda": 0.3}


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("protocol", FOUR)
def test_every_run_of_the_paper_trains_by_the_official_recipe(protocol: str, method: str) -> None:
    specs = [spec for spec in paper(protocol)[1] if spec.method == method]
    assert specs
    for spec in specs:
        train, options = official(spec)
        assert spec.options == options, spec.name
        everywhere = {"batches": "random", "lr_image": None, "momentum": 0.9, "weight_decay": 5e-4, "precision": "fp32"}
        for key, value in {**everywhere, **train}.items():
            assert getattr(spec.train, key) == value, (spec.name, key)
        # Their authors write other prompts for these two.
        assert spec.data.templates == ("finetune" if method in ("finetune", "skip") else "zeroshot")
        assert (spec.data.crop_scale, spec.data.flip) == ((0.08, 1.0), True)


@pytest.mark.parametrize(
    ("protocol", "method", "dataset", "shots", "epochs"),
    [
        ("base_to_new", "skip", "imagenet", 16, 5),
        ("base_to_new", "skip", "sun397", 16, 5),
        ("base_to_new", "skip", "food101", 16, 5),
        ("base_to_new", "skip", "dtd", 16, 20),
        ("few_shot", "skip", "imagenet", 1, 10),
        ("few_shot", "skip", "sun397", 4, 10),
        ("few_shot", "skip", "food101", 16, 10),
        ("few_shot", "skip", "ucf101", 2, 40),
        ("cross_dataset", "skip", "imagenet", 16, 5),
        ("domain_generalization", "skip", "imagenet", 16, 5),
        ("base_to_new", "coop", "imagenet", 16, 50),
        ("base_to_new", "coop", "sun397", 16, 200),
        ("few_shot", "coop", "imagenet", 16, 50),
        ("few_shot", "coop", "imagenet", 2, 50),
        ("few_shot", "coop", "dtd", 8, 200),
        ("few_shot", "coop", "dtd", 4, 100),
        ("few_shot", "coop", "dtd", 1, 50),
        ("cross_dataset", "coop", "imagenet", 16, 50),
        ("cross_dataset", "maple", "imagenet", 16, 2),
        ("domain_generalization", "maple", "imagenet", 16, 2),
        ("cross_dataset", "finetune", "imagenet", 16, 4),
        ("base_to_new", "finetune", "imagenet", 16, 10),
    ],
)
def test_epochs_of_a_data_set_that_is_an_exception(
    protocol: str, method: str, dataset: str, shots: int, epochs: int
) -> None:
    found = {
        spec.train.epochs
        for spec in paper(protocol)[1]
        if (spec.method, spec.data.dataset, spec.data.shots) == (method, dataset, shots)
    }
    assert found == {epochs}


def test_zeroshot_trains_nowhere_and_uses_the_usual_prompts() -> None:
    specs = [spec for protocol in FOUR for spec in paper(protocol)[1] if spec.method == "zeroshot"]
    assert len(specs) == 11 + 55 + 1 + 1
    assert {(spec.train.epochs, spec.data.templates, spec.seed) for spec in specs} == {(0, "zeroshot", 1)}


# `skipbench plan`.


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The paper's largest table, of which some runs have begun."""
    results = tmp_path_factory.mktemp("plan")
    _, specs = paper("base_to_new")
    for number, names in {
        0: ["result.json"],
        1: ["progress.safetensors", "metrics.jsonl"],
        # Killed between the result and the removal of what an unfinished run needs.
        2: ["result.json", "progress.safetensors"],
        # Started, and killed before its first epoch was saved.
        207: ["spec.yaml", "log.txt"],
        # A folder alone is no beginning.
        208: ["spec.yaml", "result.json.tmp"],
    }.items():
        folder = results / "runs" / specs[number].id
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("")
    words = ["plan", "experiments/paper/base_to_new.yaml", "--results", str(results)]
    return results, run_process(*words, options=("-X", "importtime"))


def test_plan_lists_every_run_once_with_its_state(planned: tuple[Path, Finished]) -> None:
    results, done = planned
    assert done.returncode == 0, done.stderr
    *runs, grid, states = done.stdout.splitlines()
    _, specs = paper("base_to_new")
    state = {0: "done", 1: "interrupted", 2: "done", 207: "interrupted"}
    assert [line.split() for line in runs] == [
        [state.get(number, "missing"), spec.id, "base_to_new", spec.name, "ViT-B-16-quickgelu"]
        for number, spec in enumerate(specs)
    ]
    assert grid.startswith("11 data sets x 7 methods x 3 seeds = 231 runs, 209 of them different")
    assert states == "2 done, 2 interrupted, 205 missing"
    # Nothing was computed, and nothing written.
    assert len(list(results.rglob("*"))) == 1 + 5 + 9


def test_plan_imports_nothing_that_takes_long_and_is_not_needed(
    planned: tuple[Path, Finished],
) -> None:
    _, done = planned
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"harness.experiment.grid", "pydantic"} <= modules
    assert not {name.partition(".")[0] for name in modules} & {"open_clip", "pandas", "wandb", "torchvision", "timm"}


def test_plan_changes_the_grid_like_bench() -> None:
    words = ["plan", "--protocol", "domain_generalization", "--seeds", "1,2", "--shots", "4,16", "train.epochs=1"]
    done = skipbench(*words, "--results", "nowhere")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[2:] for line in lines[:4]] == [
        ["domain_generalization", f"skip-emoji-{shots}shot-seed{seed}", "clip-emoji"]
        for shots in (4, 16)
        for seed in (1, 2)
    ]
    assert lines[4:] == ["2 shots x 2 seeds = 4 runs", "0 done, 0 interrupted, 4 missing"]
    assert not (ROOT / "nowhere").exists()


# For real, on the embedded sets.


@pytest.mark.parametrize("protocol", ["cross_dataset", "domain_generalization"])
def test_targets_are_evaluated_in_one_run_and_averaged(protocol: str, tmp_path: Path) -> None:
    words = ["bench", "zeroshot", "--protocol", protocol, "--shots", "1", "--results", str(tmp_path)]
    done = skipbench(*words)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("runs/*/result.json")
    found = {item["name"]: item for item in json.loads(path.read_text())["evaluations"]}
    targets = TARGETS[protocol]["emoji"]
    assert list(found) == ["emoji", *targets]
    for name, item in found.items():
        splits = read_dataset(name)
        assert item["images"] == len(splits.test)
        # All classes are to choose from; of those without pictures (no style has all) there is no accuracy.
        assert set(item["per_class"]) == {splits.class_names[picture.label] for picture in splits.test}
    lines = done.stdout.splitlines()
    number = next(number for number, line in enumerate(lines) if line.split()[:1] == ["method"])
    titles, cells = (re.split(r"\s{2,}", line.strip()) for line in lines[number : number + 2])
    row = dict(zip(titles, cells, strict=True))
    assert titles[:3] == ["method", "precision", "seeds"]
    assert titles[3 : 5 + len(targets)] == ["emoji", *targets, "average of targets"]
    assert "H" not in titles
    for name, item in found.items():
        assert row[name] == f"{item['accuracy']:.1f}"
    mean = statistics.mean(found[name]["accuracy"] for name in targets)
    assert row["average of targets"] == f"{mean:.1f}"
    # The training data set would raise it.
    assert mean < statistics.mean(item["accuracy"] for item in found.values())


def test_a_protocol_without_targets_for_its_data_set_stops_before_it_runs(tmp_path: Path) -> None:
    words = ["bench", "zeroshot", "--protocol", "cross_dataset", "--dataset", "dtd"]
    line = error_line(*words, "--results", str(tmp_path))
    assert line.startswith("error: protocol 'cross_dataset' has no targets for training data set 'dtd'")
    assert not list(tmp_path.iterdir())


def test_every_target_is_a_data_set() -> None:
    named = {name for known in TARGETS.values() for source, others in known.items() for name in (source, *others)}
    assert named <= set(DATASETS)
    assert {*ELEVEN, *VARIANTS} <= named
