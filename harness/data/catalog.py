"""The data sets that are known by name. To add one, add a row to ROWS."""

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.data.clip_datasets import CLIP_ROWS
from harness.data.description import Counts, DataSet
from harness.data.imagenet import (
    IMAGENET,
    KAGGLE,
    Choose,
    all_classes,
    numbered_classes,
    own_classes,
    read_imagenet,
    read_variant,
)
from harness.data.official_lists import (
    CALTECH_LEFT_OUT,
    CALTECH_NAMES,
    EUROSAT_NAMES,
    Official,
    class_folders,
    read_cars,
    read_flowers,
    read_pets,
    read_sun,
    read_ucf,
)
from harness.data.own_split import read_or_split
from harness.data.readers import INSTRUCTIONS, Splits, read_aircraft, read_categories, read_names

EMBEDDED = str(files("harness.embedded"))


def coop_layout(
    name: str,
    folder: str,
    split: str,
    images: tuple[str, ...],
    template: str,
    finetune_template: str,
    expected: Counts,
    page: str,
    aliases: tuple[str, ...] = (),
    official: Official = class_folders,
    **own: Any,
) -> DataSet:
    """A row for a data set in the CoOp layout with a split file, or as its own archive lays it out.

    Args:
        name: of the data set.
        folder: under the data root.
        split: last part of the name of its split file.
        images: folders in it that may contain the images, the usual one first.
        template: of prompts.
        finetune_template: of prompts of full fine-tuning and Skip Tuning.
        expected: what the complete data set contains.
        page: where its images come from.
        aliases: other names of its folder.
        official: reads the lists of its own archive, where there is no split file.
        own: how such a data set is split, as for `read_or_split`.
    """
    split_file = f"split_zhou_{split}.json"
    return DataSet(
        name,
        folder,
        partial(read_or_split, split_file=split_file, images=images, official=official, **own),
        template,
        finetune_template,
        aliases,
        about=f"{expected.classes} classes, split file of the CoOp layout",
        expected=expected,
        source=f"images: {page}; {split_file} and layout: {INSTRUCTIONS}",
    )


def imagenet_variant(
    name: str,
    folder: str,
    images: tuple[str, ...],
    classes: Choose,
    finetune_template: str,
    expected: Counts,
    page: str,
    aliases: tuple[str, ...] = (),
) -> DataSet:
    """A row for a variant of ImageNet, which is for testing only.

    Args:
        name: of the data set.
        folder: under the data root.
        images: folders in it that may contain the images, the usual one first.
        classes: which of its folders are which classes.
        finetune_template: of prompts of full fine-tuning and Skip Tuning.
        expected: what the complete data set contains.
        page: where its images come from.
        aliases: other names of its folder.
    """
    return DataSet(
        name,
        folder,
        partial(read_variant, images=images, choose=classes),
        "a photo of a {}.",
        finetune_template,
        aliases,
        about=f"{expected.classes} classes of ImageNet, test only",
        expected=expected,
        source=f"images: {page}; layout: {INSTRUCTIONS}",
    )


DRAWING = "a drawing of {article} {}."
# Images of 48 pixels lose their subject in the usual crops, which are as small as 8 % of the area.
EMOJI_SETTINGS = {"data": {"crop_scale": [0.6, 1.0]}}


def embedded(name: str, read: Callable[[Path], Splits], about: str) -> DataSet:
    """A row for a data set that comes with the project."""
    return DataSet(
        name,
        EMBEDDED,
        read,
        DRAWING,
        settings=EMOJI_SETTINGS,
        about=f"embedded: {about}",
        source="comes with the project: reinstall it",
    )


def emoji_categories(style: str) -> Callable[[Path], Splits]:
    """The reader of the 45 categories in one drawing style."""
    return partial(read_categories, archive=f"emoji-{style}.zip", categories="categories.txt")


def emoji_names(group: int) -> Callable[[Path], Splits]:
    """The reader of one group of images, each a class of its own name."""
    return partial(read_names, archive="emoji-color.zip", group=str(group))


ROWS = (
    embedded("emoji", emoji_categories("color"), "45 categories of colour drawings, 16 shots"),
    embedded("emoji-outline", emoji_categories("outline"), "the same categories as outlines, test only"),
    embedded("emoji-glyph", emoji_categories("glyph"), "the same categories in black and white, test only"),
    embedded("emoji-faces", emoji_names(0), "171 names of faces, test only"),
    embedded("emoji-animals", emoji_names(3), "160 names of animals and plants, test only"),
    embedded("emoji-food", emoji_names(4), "131 names of food, test only"),
    embedded("emoji-travel", emoji_names(5), "219 names of places and vehicles, test only"),
    embedded("emoji-objects", emoji_names(7), "266 names of objects, test only"),
    DataSet(
        "imagenet",
        IMAGENET[0],
        partial(read_imagenet, images=("images", "", *KAGGLE)),
        "a photo of a {}.",
        aliases=IMAGENET[1:],
        about="1000 classes, tested on its validation images",
        expected=Counts(1000, 1281167, 0, 50000),
        source=f"images: https://image-net.org/download.php, or Kaggle's archive as it is; layout: {INSTRUCTIONS}",
    ),
    coop_layout(
        "caltech101",
        "caltech-101",
        "Caltech101",
        ("101_ObjectCategories", "caltech-101/101_ObjectCategories"),
        "a photo of a {}.",
        "itap of a {}.",
        Counts(100, 4128, 1649, 2465),
        "https://data.caltech.edu/records/mzrjq-6wc02",
        official=partial(class_folders, names=CALTECH_NAMES, left_out=CALTECH_LEFT_OUT),
    ),
    coop_layout(
        "oxford_pets",
        "oxford_pets",
        "OxfordPets",
        ("images",),
        "a photo of a {}, a type of pet.",
        "a bad photo of a {}, a type of pet.",
        Counts(37, 2944, 736, 3669),
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        ("oxford-iiit-pet",),
        read_pets,
    ),
    coop_layout(
        "stanford_cars",
        "stanford_cars",
        "StanfordCars",
        ("",),
        "a photo of a {}.",
        "a photo of the {}, a type of car.",
        Counts(196, 6509, 1635, 8041),
        "cars_train/ and cars_test/ (the official page is gone)",
        official=read_cars,
    ),
    coop_layout(
        "oxford_flowers",
        "oxford_flowers",
        "OxfordFlowers",
        ("jpg",),
        "a photo of a {}, a type of flower.",
        "a close-up photo of a {}.",
        Counts(102, 4093, 1633, 2463),
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        ("Flower102", "flowers-102"),
        read_flowers,
    ),
    coop_layout(
        "food101",
        "food-101",
        "Food101",
        ("images", "food-101/images"),
        "a photo of {}, a type of food.",
        "a photo of the nice {}.",
        Counts(101, 50500, 20200, 30300),
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    ),
    DataSet(
        "fgvc_aircraft",
        "fgvc_aircraft",
        partial(read_aircraft, images=("images",)),
        "a photo of a {}, a type of aircraft.",
        "a bright photo of a {}, a type of aircraft.",
        aliases=("fgvc-aircraft-2013b/data", "fgvc-aircraft-2013b"),
        about="100 variants, its own text files",
        expected=Counts(100, 3334, 3333, 3333),
        source="data/ of the archive at https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/ is the folder",
    ),
    coop_layout(
        "sun397",
        "sun397",
        "SUN397",
        ("SUN397", ""),
        "a photo of a {}.",
        "a photo of a {}.",
        Counts(397, 15880, 3970, 19850),
        "https://vision.princeton.edu/projects/2010/SUN/",
        official=read_sun,
        # Where there are no partitions, as many images as the published ones have.
        shares=(0.4, 0.1),
        most=100,
    ),
    coop_layout(
        "dtd",
        "dtd",
        "DescribableTextures",
        ("images", "dtd/images"),
        "{} texture.",
        "itap of a {}.",
        Counts(47, 2820, 1128, 1692),
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    ),
    coop_layout(
        "eurosat",
        "eurosat",
        "EuroSAT",
        ("2750", "EuroSAT_RGB"),
        "a centered satellite photo of {}.",
        "a centered satellite photo of {}.",
        Counts(10, 13500, 5400, 8100),
        "https://github.com/phelber/EuroSAT",
        official=partial(class_folders, names=EUROSAT_NAMES),
    ),
    coop_layout(
        "ucf101",
        "ucf101",
        "UCF101",
        ("UCF-101-midframes",),
        "a photo of a person doing {}.",
        "a photo of a {}, a type of sport.",
        Counts(101, 7639, 1898, 3783),
        "the middle frames of https://www.crcv.ucf.edu/data/UCF101.php, UCF-101-midframes.zip of the CoOp layout",
        official=read_ucf,
    ),
    imagenet_variant(
        "imagenetv2",
        "imagenetv2",
        ("imagenetv2-matched-frequency-format-val", ""),
        numbered_classes,
        "a photo of a {}.",
        Counts(1000, 0, 0, 10000),
        "https://github.com/modestyachts/ImageNetV2 (matched frequency)",
    ),
    imagenet_variant(
        "imagenet_sketch",
        "imagenet-sketch",
        ("images", "sketch", ""),
        all_classes,
        "a sketch of a {}.",
        Counts(1000, 0, 0, 50889),
        "https://github.com/HaohanWang/ImageNet-Sketch",
    ),
    imagenet_variant(
        "imagenet_a",
        "imagenet-adversarial",
        ("imagenet-a", ""),
        own_classes,
        "a bad photo of a {}.",
        Counts(200, 0, 0, 7500),
        "https://github.com/hendrycks/natural-adv-examples",
        ("imagenet-a",),
    ),
    imagenet_variant(
        "imagenet_r",
        "imagenet-rendition",
        ("imagenet-r", ""),
        own_classes,
        "a rendition of a {}.",
        Counts(200, 0, 0, 30000),
        "https://github.com/hendrycks/imagenet-r",
        ("imagenet-r",),
    ),
    *CLIP_ROWS,
)
DATASETS = {row.name: row for row in ROWS}
