"""Fixture trees: each of the field's data sets in its real file formats, with a few classes and tiny pictures."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

Rows = list[tuple[str, int]]
COLOUR = (200, 60, 30)


def jpeg() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (24, 20), COLOUR).save(data, "JPEG", quality=95)
    return data.getvalue()


JPEG = jpeg()


@dataclass
class Tree:
    """One data set as it lies on disk, and what reading it must give.

    Attributes:
        name: of the data set.
        folder: its usual name under the data root.
        images: the folder in it that the paths of pictures are relative to.
        labels: the text file that says which picture is of which class (or what classes are called), and its content.
        texts: all text files by path.
        extra: paths of pictures on disk that belong to no split.
        class_names: expected, in label order.
        train, val, test: expected, in order.
    """

    name: str
    folder: str
    images: str
    labels: str
    texts: dict[str, str]
    class_names: tuple[str, ...]
    train: Rows
    val: Rows
    test: Rows
    extra: list[str] = field(default_factory=list)

    def write(self, root: Path, folder: str | None = None, images: str | None = None) -> Path:
        """Write the tree, under other names if asked, and return the folder of its pictures."""
        home = root / (folder or self.folder)
        place = home / (self.images if images is None else images)
        for path, text in self.texts.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text)
        for path in [*(path for path, _ in self.rows), *self.extra]:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(JPEG)
        return place

    @property
    def rows(self) -> Rows:
        return [*self.train, *self.val, *self.test]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return len(self.class_names), len(self.train), len(self.val), len(self.test)


# name: folder, pictures, split file, [class name, path of its pictures; * is a number]
SPLIT_FILES: dict[str, tuple[str, str, str, list[tuple[str, str]]]] = {
    "caltech101": (
        "caltech-101",
        "101_ObjectCategories",
        "Caltech101",
        [
            ("face", "Faces/image_*.jpg"),
            ("leopard", "Leopards/image_*.jpg"),
            ("water_lilly", "water_lilly/image_*.jpg"),
        ],
    ),
    "oxford_pets": (
        "oxford_pets",
        "images",
        "OxfordPets",
        [("abyssinian", "Abyssinian_*.jpg"), ("american_bulldog", "american_bulldog_*.jpg"), ("pug", "pug_*.jpg")],
    ),
    "stanford_cars": (
        "stanford_cars",
        "",
        "StanfordCars",
        [("2000 AM General Hummer SUV", "cars_train/00*.jpg"), ("2012 Acura RL Sedan", "cars_test/01*.jpg")],
    ),
    "oxford_flowers": (
        "oxford_flowers",
        "jpg",
        "OxfordFlowers",
        [("pink primrose", "image_067*.jpg"), ("hard-leaved pocket orchid", "image_050*.jpg")],
    ),
    "food101": (
        "food-101",
        "images",
        "Food101",
        [
            ("apple_pie", "apple_pie/10*.jpg"),
            ("baby_back_ribs", "baby_back_ribs/20*.jpg"),
            ("waffles", "waffles/*.jpg"),
        ],
    ),
    "sun397": (
        "sun397",
        "SUN397",
        "SUN397",
        [("abbey", "a/abbey/sun_a*.jpg"), ("outdoor church", "c/church/outdoor/sun_b*.jpg")],
    ),
    "dtd": (
        "dtd",
        "images",
        "DescribableTextures",
        [("banded", "banded/banded_*.jpg"), ("blotchy", "blotchy/blotchy_*.jpg"), ("zigzagged", "zigzagged/z_*.jpg")],
    ),
    "eurosat": (
        "eurosat",
        "2750",
        "EuroSAT",
        [("Annual Crop Land", "AnnualCrop/AnnualCrop_*.jpg"), ("Sea or Lake", "SeaLake/SeaLake_*.jpg")],
    ),
    "ucf101": (
        "ucf101",
        "UCF-101-midframes",
        "UCF101",
        [
            ("Apply_Eye_Makeup", "Apply_Eye_Makeup/v_ApplyEyeMakeup_g08_c*.jpg"),
            ("Yo_Yo", "Yo_Yo/v_YoYo_g01_c*.jpg"),
        ],
    ),
}
NUMBERS = {"train": (7, 3, 5), "val": (4,), "test": (9, 1)}
IMAGENET_NAMES = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark", "n01491361": "tiger"}
TWELVE = {f"n0{number + 2000000}": f"class {number}" for number in range(12)}


def class_list(names: dict[str, str]) -> str:
    return "".join(f"{wordnet_id} {name}\n" for wordnet_id, name in names.items())


def split_tree(name: str) -> Tree:
    folder, images, split, classes = SPLIT_FILES[name]
    # Not sorted by label: the order of the file is kept.
    rows = {
        part: [
            (pattern.replace("*", f"{number:02}"), label)
            for number in numbers
            for label, (_, pattern) in reversed(list(enumerate(classes)))
        ]
        for part, numbers in NUMBERS.items()
    }
    class_names = tuple(class_name for class_name, _ in classes)
    content = {part: [[path, label, class_names[label]] for path, label in rows[part]] for part in rows}
    labels = f"split_zhou_{split}.json"
    extra = ["BACKGROUND_Google/image_01.jpg", "Faces_easy/image_01.jpg"] if name == "caltech101" else []
    return Tree(name, folder, images, labels, {labels: json.dumps(content)}, class_names, **rows, extra=extra)


def aircraft_tree() -> Tree:
    class_names = ("707-320", "Boeing 717", "Cessna 172", "A310")
    rows = {
        part: [(f"00{label}{number}.jpg", label) for number in numbers for label in (2, 0, 3, 1)]
        for part, numbers in NUMBERS.items()
    }
    texts = {
        f"images_variant_{part}.txt": "".join(
            f"{path.removesuffix('.jpg')} {class_names[label]}\n" for path, label in pairs
        )
        for part, pairs in rows.items()
    }
    texts["variants.txt"] = "\n".join(class_names) + "\n"
    return Tree("fgvc_aircraft", "fgvc_aircraft", "images", "variants.txt", texts, class_names, **rows)


def imagenet_tree() -> Tree:
    def rows(part: str, count: int) -> Rows:
        return [
            (f"{part}/{wordnet_id}/{wordnet_id}_{number}.JPEG", label)
            for label, wordnet_id in enumerate(IMAGENET_NAMES)
            for number in range(count)
        ]

    texts = {"classnames.txt": class_list(IMAGENET_NAMES)}
    class_names = tuple(IMAGENET_NAMES.values())
    return Tree(
        "imagenet", "imagenet", "images", "classnames.txt", texts, class_names, rows("train", 3), [], rows("val", 2)
    )


def variant_tree(name: str, folder: str, images: str, names: dict[str, str], folders: dict[str, str]) -> Tree:
    """`folders`: class name by folder, in label order."""
    rows = [(f"{place}/{number}.jpeg", label) for label, place in enumerate(folders) for number in ("00", "01")]
    texts = {"classnames.txt": class_list(names)}
    return Tree(name, folder, images, "classnames.txt", texts, tuple(folders.values()), [], [], rows)


def make_tree(name: str) -> Tree:
    """The tree of a data set by name."""
    if name in SPLIT_FILES:
        return split_tree(name)
    if name == "fgvc_aircraft":
        return aircraft_tree()
    if name == "imagenet":
        return imagenet_tree()
    if name == "imagenetv2":
        numbered = {str(label): class_name for label, class_name in enumerate(TWELVE.values())}
        return variant_tree(name, "imagenetv2", "imagenetv2-matched-frequency-format-val", TWELVE, numbered)
    if name == "imagenet_sketch":
        return variant_tree(name, "imagenet-sketch", "images", IMAGENET_NAMES, IMAGENET_NAMES)
    own = {wordnet_id: IMAGENET_NAMES[wordnet_id] for wordnet_id in ("n01443537", "n01491361")}
    folder, images = {
        "imagenet_a": ("imagenet-adversarial", "imagenet-a"),
        "imagenet_r": ("imagenet-rendition", "imagenet-r"),
    }[name]
    tree = variant_tree(name, folder, images, IMAGENET_NAMES, own)
    tree.texts[f"{images}/README.txt"] = "about these pictures"
    return tree


@pytest.fixture
def tree_of() -> Callable[[str], Tree]:
    """Makes the tree of a data set: tree_of('dtd').write(data_root)."""
    return make_tree


@pytest.fixture
def tiny_jpeg() -> bytes:
    """A JPEG of one colour, (200, 60, 30), 24 x 20 pixels."""
    return JPEG
