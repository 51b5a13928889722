"""The data sets: one row each. Adding one is adding a row."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.filesystem import locate
from harness.data.image_folder import read_own_folder, read_template
from harness.data.imagenet import (
    IMAGENET,
    Choose,
    all_classes,
    numbered_classes,
    own_classes,
    read_imagenet,
    read_variant,
)
from harness.data.readers import (
    INSTRUCTIONS,
    SPLITS,
    Splits,
    read_aircraft,
    read_categories,
    read_names,
    read_split_file,
)
from harness.errors import UserError, nearest

EMBEDDED = str(files("harness.embedded"))
OWN = "folder:"
"""What names of data sets begin with that are folders of the user's own: folder:PATH."""


class Counts(NamedTuple):
    """How many classes a data set has, and how many pictures in each split."""

    classes: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class DataSet:
    """One row of the table.

    Attributes:
        name: its key on the command line, in YAML and in tables.
        folder: its folder under the data root (an absolute folder needs no data root).
        read: folder, and by keyword the `splits` that are wanted -> splits.
        template: prompt template of zero-shot CLIP and CLIP-Adapter; `{}` is the class name, `{article}` a or an.
        finetune_template: prompt template of full fine-tuning and Skip Tuning, where the authors use another.
        aliases: other names that its folder goes by; other cases, hyphens and underscores need not be named.
        settings: settings of a run that this data set calls for, below those of any recipe.
        about: a few words for `skipbench list`.
        expected: what the complete data set holds, where that is known.
        source: where to get it, for people.
    """

    name: str
    folder: str
    read: Callable[..., Splits]
    template: str
    finetune_template: str | None = None
    aliases: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    expected: Counts | None = None
    source: str = ""

    def template_of(self, which: str) -> str:
        """The template that `which` asks for: 'zeroshot', 'finetune', or a template itself (it holds `{}`)."""
        if "{}" in which:
            return which
        return (self.finetune_template or self.template) if which == "finetune" else self.template


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
) -> DataSet:
    """A row for a data set in the CoOp layout with a split file."""
    split_file = f"split_zhou_{split}.json"
    return DataSet(
        name,
        folder,
        partial(read_split_file, split_file=split_file, images=images),
        template,
        finetune_template,
        aliases,
        about=f"{expected.classes} classes, split file of the CoOp layout",
        expected=expected,
        source=f"pictures: {page}; {split_file} and layout: {INSTRUCTIONS}",
    )


def variant(
    name: str,
    folder: str,
    images: tuple[str, ...],
    classes: Choose,
    finetune_template: str,
    expected: Counts,
    page: str,
    aliases: tuple[str, ...] = (),
) -> DataSet:
    """A row for a variant of ImageNet."""
    return DataSet(
        name,
        folder,
        partial(read_variant, images=images, choose=classes),
        "a photo of a {}.",
        finetune_template,
        aliases,
        about=f"{expected.classes} classes of ImageNet, test only",
        expected=expected,
        source=f"pictures: {page}; classnames.txt (ImageNet's) and layout: {INSTRUCTIONS}",
    )


DRAWING = "a drawing of {article} {}."
# Pictures of 48 pixels lose their subject under the field's crops of down to 8 % of the area.
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
        source="comes with the project: install it again",
    )


def emoji_categories(style: str) -> Callable[[Path], Splits]:
    """Reader of the 45 categories in one drawing style."""
    return partial(read_categories, archive=f"emoji-{style}.zip", categories="categories.txt")


def emoji_names(group: int) -> Callable[[Path], Splits]:
    """Reader of the pictures of one group by their own names."""
    return partial(read_names, archive="emoji-color.zip", group=str(group))


# Columns of a row in the CoOp layout: name, folder, split file, where pictures lie (the usual place first), template,
# template of fine-tuning and Skip Tuning, counts, official page, other names of the folder.
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
        partial(read_imagenet, images=("images", "")),
        "a photo of a {}.",
        aliases=IMAGENET[1:],
        about="1000 classes, tested on its validation pictures",
        expected=Counts(1000, 1281167, 0, 50000),
        source=f"pictures: https://image-net.org/download.php; classnames.txt and layout: {INSTRUCTIONS}",
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
    ),
    variant(
        "imagenetv2",
        "imagenetv2",
        ("imagenetv2-matched-frequency-format-val", ""),
        numbered_classes,
        "a photo of a {}.",
        Counts(1000, 0, 0, 10000),
        "https://github.com/modestyachts/ImageNetV2 (matched frequency)",
    ),
    variant(
        "imagenet_sketch",
        "imagenet-sketch",
        ("images", "sketch", ""),
        all_classes,
        "a sketch of a {}.",
        Counts(1000, 0, 0, 50889),
        "https://github.com/HaohanWang/ImageNet-Sketch",
    ),
    variant(
        "imagenet_a",
        "imagenet-adversarial",
        ("imagenet-a", ""),
        own_classes,
        "a bad photo of a {}.",
        Counts(200, 0, 0, 7500),
        "https://github.com/hendrycks/natural-adv-examples",
        ("imagenet-a",),
    ),
    variant(
        "imagenet_r",
        "imagenet-rendition",
        ("imagenet-r", ""),
        own_classes,
        "a rendition of a {}.",
        Counts(200, 0, 0, 30000),
        "https://github.com/hendrycks/imagenet-r",
        ("imagenet-r",),
    ),
)
DATASETS = {row.name: row for row in ROWS}


def own_dataset(name: str) -> DataSet:
    """A row for `folder:PATH`, the user's own pictures.

    Raises:
        UserError: the folder does not exist, or its `template.txt` holds no template.
    """
    path = name.removeprefix(OWN)
    if not path:
        raise UserError(f"'{name}' names no folder: give folder:PATH, a folder that has one folder of pictures a class")
    folder = Path(os.path.abspath(Path(path).expanduser()))
    return DataSet(name, str(folder), read_own_folder, read_template(folder), about="your own pictures")


def find_dataset(name: str) -> DataSet:
    """The row of that name; `folder:PATH` makes one.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name.startswith(OWN):
        return own_dataset(name)
    if name not in DATASETS:
        known = [*DATASETS, *([OWN + name] if Path(name).is_dir() else [])]
        raise UserError(
            f"unknown data set '{name}'.{nearest(name, known)} `skipbench list` names all; "
            f"{OWN}PATH takes your own pictures."
        )
    return DATASETS[name]


def find_folder(dataset: DataSet, data_root: str | None) -> Path:
    """The data set's folder on this machine, under its usual name or another.

    Raises:
        UserError: no data root is set, it does not exist, or the folder is not in it under any of its names.
    """
    root, name = locate_folder(dataset, data_root)
    return root / name


def locate_folder(dataset: DataSet, data_root: str | None) -> tuple[Path, str]:
    """The data root, and the data set's folder in it as it is called there: `find_folder` in two parts.

    Raises:
        UserError: as `find_folder`.
    """
    if Path(dataset.folder).is_absolute():
        return Path("/"), dataset.folder
    if not data_root:
        raise UserError(
            f"data set '{dataset.name}' needs a data root: set DATA=/path/to/data, the folder that holds "
            f"{dataset.folder}/ in the CoOp layout"
        )
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise UserError(f"data root '{data_root}' does not exist: set DATA to the folder that holds {dataset.folder}/")
    names = (dataset.folder, *dataset.aliases)
    name = locate(root, names)
    if name is None:
        raise UserError(
            f"data set '{dataset.name}' is not in data root '{data_root}': looked for {', '.join(names)}, "
            "in any case and with or without - and _; `skipbench data` says where to get it"
        )
    return root, name


def read_dataset(name: str, data_root: str | None = None, splits: tuple[str, ...] = SPLITS) -> Splits:
    """Read a data set's classes and picture lists (no picture is opened), once a process.

    Args:
        name: of the data set.
        data_root: folder that holds the data sets.
        splits: which are wanted; the others come back empty. Who must not see test labels leaves `test` out.

    Raises:
        UserError: unknown, missing or malformed.
    """
    return read_folder(name, *locate_folder(find_dataset(name), data_root), splits)


@cache
def read_folder(name: str, root: Path, folder: str, wanted: tuple[str, ...] = SPLITS) -> Splits:
    """Read a data set in the folder that was found for it, and say so in its layout if it has not its usual name."""
    dataset = find_dataset(name)
    splits = dataset.read(root / folder, splits=wanted)
    found = () if folder == dataset.folder else (f"folder {folder}/ (usually {dataset.folder}/)",)
    return replace(splits, layout=(*found, *splits.layout))
