"""The rows of the catalog: prompts, counts, names of folders."""

import pytest

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.datasets import find_dataset
from harness.data.filesystem import spelling
from tests.harness.data.trees import TreeOf

# name: classes; prompt of one class under both template sets
PROMPTS = {
    "imagenet": (1000, "a photo of a great white shark.", "a photo of a great white shark."),
    "caltech101": (100, "a photo of a water lilly.", "itap of a water lilly."),
    "oxford_pets": (37, "a photo of a pug, a type of pet.", "a bad photo of a pug, a type of pet."),
    "stanford_cars": (196, "a photo of a 2012 Acura RL Sedan.", "a photo of the 2012 Acura RL Sedan, a type of car."),
    "oxford_flowers": (
        102,
        "a photo of a pink primrose, a type of flower.",
        "a close-up photo of a pink primrose.",
    ),
    "food101": (101, "a photo of baby back ribs, a type of food.", "a photo of the nice baby back ribs."),
    "fgvc_aircraft": (
        100,
        "a photo of a Cessna 172, a type of aircraft.",
        "a bright photo of a Cessna 172, a type of aircraft.",
    ),
    "sun397": (397, "a photo of a outdoor church.", "a photo of a outdoor church."),
    "dtd": (47, "zigzagged texture.", "itap of a zigzagged."),
    "eurosat": (
        10,
        "a centered satellite photo of Annual Crop Land.",
        "a centered satellite photo of Annual Crop Land.",
    ),
    "ucf101": (
        101,
        "a photo of a person doing Apply Eye Makeup.",
        "a photo of a Apply Eye Makeup, a type of sport.",
    ),
    "imagenetv2": (1000, "a photo of a class 10.", "a photo of a class 10."),
    "imagenet_sketch": (1000, "a photo of a tench.", "a sketch of a tench."),
    "imagenet_a": (200, "a photo of a goldfish.", "a bad photo of a goldfish."),
    "imagenet_r": (200, "a photo of a goldfish.", "a rendition of a goldfish."),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(name: str, tree_of: TreeOf) -> None:
    row = find_dataset(name)
    classes, zeroshot, finetune = PROMPTS[name]
    assert row.expected is not None
    assert row.expected.classes == classes
    for which, expected in (("zeroshot", zeroshot), ("finetune", finetune)):
        prompts = [fill_template(row.template_of(which), class_name) for class_name in tree_of(name).class_names]
        assert expected in prompts
    assert row.template_of("my {} here") == "my {} here"


def test_expected_counts() -> None:
    known = {row.name: tuple(row.expected)[1:] for row in DATASETS.values() if row.expected}
    assert known == {
        "imagenet": (1281167, 0, 50000),
        "caltech101": (4128, 1649, 2465),
        "oxford_pets": (2944, 736, 3669),
        "stanford_cars": (6509, 1635, 8041),
        "oxford_flowers": (4093, 1633, 2463),
        "food101": (50500, 20200, 30300),
        "fgvc_aircraft": (3334, 3333, 3333),
        "sun397": (15880, 3970, 19850),
        "dtd": (2820, 1128, 1692),
        "eurosat": (13500, 5400, 8100),
        "ucf101": (7639, 1898, 3783),
        "imagenetv2": (0, 0, 10000),
        "imagenet_sketch": (0, 0, 50889),
        "imagenet_a": (0, 0, 7500),
        "imagenet_r": (0, 0, 30000),
        "cifar10": (50000, 0, 10000),
        "cifar100": (50000, 0, 10000),
        "mnist": (60000, 0, 10000),
        "stl10": (5000, 0, 8000),
        "pcam": (262144, 32768, 32768),
        "gtsrb": (26640, 0, 12630),
        "country211": (31650, 10550, 21100),
        "resisc45": (18900, 6300, 6300),
        "birdsnap": (47386, 0, 2443),
    }
    assert all("https://" in row.source for row in DATASETS.values() if row.expected)


def test_no_folder_name_means_two_data_sets() -> None:
    names = [(row.name, name) for row in DATASETS.values() if row.expected for name in (row.folder, *row.aliases)]
    owners: dict[str, str] = {}
    for owner, name in names:
        assert owners.setdefault(spelling(name), owner) == owner
