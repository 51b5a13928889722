"""The four protocols: which runs, by which official recipe, evaluated on what; and on the embedded sets for real."""

import json
import re
import statistics
from pathlib import Path

import pytest

from harness.data.catalog import DATASETS
from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.experiment.grid import Experiment, describe_grid, expand, load_experiment
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.experiment.spec import RunSpec
from tests.commands import error_line, skipbench

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
# Those that can be used for classes on which they were not trained.
GENERAL = [
    "zeroshot", "coop", "cocoop", "kgcoop", "prograd", "tcp", "dept", "clip_adapter", "maple", "vpt", "ivlp",
    "promptsrc", "coprompt", "mma", "mmrl", "finetune", "layernorm", "bitfit", "clip_lora", "skip", "image_tail", "gda",
    "prolip",
]  # fmt: skip
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
    assert set(GENERAL) < set(method_names())


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
    methods = method_names() if protocol == "few_shot" else GENERAL
    seeds = {method: [1, 2, 3] for method in methods} | {"zeroshot": [1]}
    assert [(spec.data.dataset, spec.data.shots, spec.method, spec.seed) for spec in specs] == [
        (dataset, count, method, seed)
        for dataset in datasets
        for count in shots
        for method in methods
        for seed in seeds[method]
    ]
    assert len(specs) == len(datasets) * len(shots) * (3 * len(methods) - 2)
    assert len({spec.id for spec in specs}) == len(specs)
    assert {(spec.protocol, spec.backbone, spec.recipe) for spec in specs} == {
        (protocol, "ViT-B-16-quickgelu", "official")
    }


@pytest.mark.parametrize(
    ("protocol", "text"),
    [
        ("base_to_new", "11 data sets x 23 methods x 3 seeds = 759 runs, 737 of them different: "),
        ("few_shot", "11 data sets x 5 shots x 30 methods x 3 seeds = 4,950 runs, 4,840 of them different: "),
        ("cross_dataset", "23 methods x 3 seeds = 69 runs, 67 of them different: "),
        ("domain_generalization", "23 methods x 3 seeds = 69 runs, 67 of them different: "),
    ],
)
def test_a_grid_is_described_as_a_product(protocol: str, text: str) -> None:
    experiment, specs = paper(protocol)
    assert describe_grid(experiment, len(specs)) == f"{text}seeds change nothing where nothing is learned"


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
