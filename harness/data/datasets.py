"""The data sets: one row each. Adding one is adding a row."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.data.readers import Splits, read_categories, read_names, read_split_file
from harness.errors import UserError, nearest

EMBEDDED = str(files("harness.embedded"))


@dataclass(frozen=True)
class DataSet:
    """One row of the table.

    Attributes:
        name: its key on the command line, in YAML and in tables.
        folder: its folder under the data root (an absolute folder needs no data root).
        read: folder -> splits.
        template: prompt template of zero-shot CLIP and CLIP-Adapter; `{}` is the class name, `{article}` a or an.
        finetune_template: prompt template of full fine-tuning and Skip Tuning, where the authors use another.
        aliases: other names that its folder goes by.
        settings: settings of a run that this data set calls for, below those of any recipe.
        about: a few words for `skipbench list`.
    """

    name: str
    folder: str
    read: Callable[[Path], Splits]
    template: str
    finetune_template: str | None = None
    aliases: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    about: str = ""

    def template_of(self, which: str) -> str:
        """The template that `which` asks for: 'zeroshot', 'finetune', or a template itself (it holds `{}`)."""
        if "{}" in which:
            return which
        return (self.finetune_template or self.template) if which == "finetune" else self.template


def coop_layout(
    name: str,
    folder: str,
    split: str,
    images: str,
    template: str,
    finetune_template: str | None = None,
    aliases: tuple[str, ...] = (),
) -> DataSet:
    """A row for a data set in the CoOp layout with a split file."""
    read = partial(read_split_file, split_file=f"split_zhou_{split}.json", images=images)
    return DataSet(name, folder, read, template, finetune_template, aliases, about="CoOp layout, split file")


DRAWING = "a drawing of {article} {}."
# Pictures of 48 pixels lose their subject under the field's crops of down to 8 % of the area.
EMOJI_SETTINGS = {"data": {"crop_scale": [0.6, 1.0]}}


def embedded(name: str, read: Callable[[Path], Splits], about: str) -> DataSet:
    """A row for a data set that comes with the project."""
    return DataSet(name, EMBEDDED, read, DRAWING, settings=EMOJI_SETTINGS, about=f"embedded: {about}")


def emoji_categories(style: str) -> Callable[[Path], Splits]:
    """Reader of the 45 categories in one drawing style."""
    return partial(read_categories, archive=f"emoji-{style}.zip", categories="categories.txt")


def emoji_names(group: int) -> Callable[[Path], Splits]:
    """Reader of the pictures of one group by their own names."""
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
    coop_layout(
        "caltech101",
        "caltech-101",
        "Caltech101",
        "101_ObjectCategories",
        "a photo of a {}.",
        "itap of a {}.",
        ("Caltech101", "caltech101"),
    ),
    coop_layout(
        "oxford_pets",
        "oxford_pets",
        "OxfordPets",
        "images",
        "a photo of a {}, a type of pet.",
        "a bad photo of a {}, a type of pet.",
        ("OxfordPets",),
    ),
    coop_layout(
        "stanford_cars",
        "stanford_cars",
        "StanfordCars",
        "",
        "a photo of a {}.",
        "a photo of the {}, a type of car.",
        ("StanfordCars",),
    ),
    coop_layout(
        "oxford_flowers",
        "oxford_flowers",
        "OxfordFlowers",
        "jpg",
        "a photo of a {}, a type of flower.",
        "a close-up photo of a {}.",
        ("Flower102", "OxfordFlowers"),
    ),
    coop_layout(
        "food101",
        "food-101",
        "Food101",
        "images",
        "a photo of {}, a type of food.",
        "a photo of the nice {}.",
        ("Food101", "food101"),
    ),
    coop_layout("sun397", "sun397", "SUN397", "SUN397", "a photo of a {}.", aliases=("SUN397",)),
    coop_layout("dtd", "dtd", "DescribableTextures", "images", "{} texture.", "itap of a {}.", ("DTD",)),
    coop_layout(
        "eurosat", "eurosat", "EuroSAT", "2750", "a centered satellite photo of {}.", aliases=("EuroSAT", "EuroSat")
    ),
    coop_layout(
        "ucf101",
        "ucf101",
        "UCF101",
        "UCF-101-midframes",
        "a photo of a person doing {}.",
        "a photo of a {}, a type of sport.",
        ("UCF101",),
    ),
)
DATASETS = {row.name: row for row in ROWS}


def find_dataset(name: str) -> DataSet:
    """The row of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}'.{nearest(name, DATASETS)}")
    return DATASETS[name]


def find_folder(dataset: DataSet, data_root: str | None) -> Path:
    """The data set's folder on this machine.

    Raises:
        UserError: no data root is set, it does not exist, or the folder is not in it under any of its names.
    """
    names = (dataset.folder, *dataset.aliases)
    if Path(dataset.folder).is_absolute():
        return Path(dataset.folder)
    if not data_root:
        raise UserError(
            f"data set '{dataset.name}' needs a data root: set DATA=/path/to/data, the folder that holds "
            f"{dataset.folder}/ in the CoOp layout"
        )
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise UserError(f"data root '{data_root}' does not exist: set DATA to the folder that holds {dataset.folder}/")
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"data set '{dataset.name}' is not in data root '{data_root}': looked for {', '.join(names)}")


@cache
def read_dataset(name: str, data_root: str | None = None) -> Splits:
    """Read a data set's classes and picture lists (no picture is opened).

    Raises:
        UserError: unknown, missing or malformed.
    """
    dataset = find_dataset(name)
    return dataset.read(find_folder(dataset, data_root))
