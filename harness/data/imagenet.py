"""ImageNet and its variants: one folder of images per class, and `classnames.txt` with the names of the classes."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.data.filesystem import folders_in, images_in, left_out_in_words, listed, locate
from harness.data.readers import INSTRUCTIONS, SPLITS, Picture, Splits, unusual_place
from harness.data.text_files import check_class_name, read_lines
from harness.errors import UserError

CLASS_NAMES = "classnames.txt"
IMAGENET = ("imagenet", "imagenet-1k", "ILSVRC2012")
"""Usual names of ImageNet's own folder."""

Names = dict[str, str]
Choose = Callable[[Names, list[str]], dict[str, str]]
"""(WordNet id -> class name, folders that were found) -> folder -> class name, in label order."""


def read_class_names(path: Path) -> Names:
    """WordNet id -> class name, in the order of a file with lines such as `n01440764 tench`.

    Raises:
        UserError: the file is missing or empty, or a line has another form.
    """
    names: Names = {}
    for line in read_lines(path, f"get it as {INSTRUCTIONS} says"):
        wordnet_id, _, name = line.partition(" ")
        if not name or wordnet_id in names:
            problem = "is named twice" if name else "has no class name"
            raise UserError(f"'{path}': '{wordnet_id}' {problem}; expected lines such as 'n01440764 tench'")
        check_class_name(path, name)
        names[wordnet_id] = name
    if not names:
        raise UserError(f"'{path}' is empty: expected lines such as 'n01440764 tench'")
    return names


def find_class_names(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The file of a variant's class names: from its own folder, otherwise from ImageNet's folder next to it.

    Returns:
        The file, and a note if it is from ImageNet's folder.

    Raises:
        UserError: neither folder has them.
    """
    if (folder / CLASS_NAMES).is_file():
        return folder / CLASS_NAMES, ()
    imagenet = locate(folder.parent, IMAGENET)
    if imagenet and (folder.parent / imagenet / CLASS_NAMES).is_file():
        return folder.parent / imagenet / CLASS_NAMES, (f"{CLASS_NAMES} of {imagenet}/",)
    places = f"'{folder}' nor in '{folder.parent / (imagenet or IMAGENET[0])}'"
    raise UserError(f"{CLASS_NAMES} is neither in {places}: get it as {INSTRUCTIONS} says")


def read_imagenet(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read ImageNet: labels in the order of `classnames.txt`, `train/` to train on and `val/` to test on.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain `train/` and `val/`, the usual one first.
        splits: which to read; the folders of the others are not listed.

    Returns:
        Splits without validation images, and without training images if there is no `train/`.

    Raises:
        UserError: `classnames.txt` or `val/` is missing, or folders and class names do not agree.
    """
    names = read_class_names(folder / CLASS_NAMES)
    place = next((place for place in images if (folder / place / "val").is_dir()), None)
    if place is None:
        looked = " nor ".join(str(Path(place, "val")) for place in images)
        raise UserError(f"'{folder}' has no {looked}: it must contain the test images, one folder per WordNet id")
    layout = unusual_place(place, images[0])
    root = folder / place
    left_out: Counter[str] = Counter()
    train: tuple[Picture, ...] = ()
    if (root / "train").is_dir():
        train = read_classes(root, "train/", names, left_out) if "train" in splits else ()
    else:
        layout += (f"no {Path(place, 'train')}/: for testing only",)
    test = read_classes(root, "val/", names, left_out) if "test" in splits else ()
    return Splits(
        root,
        tuple(names.values()),
        train,
        (),
        test,
        layout,
        (folder / CLASS_NAMES,),
        left_out_in_words(left_out),
        official_order=False,
    )


def read_variant(folder: Path, images: Sequence[str], choose: Choose, splits: Sequence[str] = SPLITS) -> Splits:
    """Read a variant of ImageNet, which is for testing only.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain the class folders, the usual one first; '' is the folder itself.
        choose: which folders are its classes: `all_classes`, `numbered_classes` or `own_classes`.
        splits: which to read.

    Raises:
        UserError: there are no class names or no class folders, or they do not agree.
    """
    source, layout = find_class_names(folder)
    names = read_class_names(source)
    for place in images:
        found = folders_in(folder / place) if (folder / place).is_dir() else []
        classes = choose(names, found)
        if classes.keys() & set(found):
            left_out: Counter[str] = Counter()
            test = read_classes(folder / place, "", classes, left_out) if "test" in splits else ()
            remarks = left_out_in_words(left_out)
            layout = (*unusual_place(place, images[0]), *layout)
            return Splits(folder / place, tuple(classes.values()), (), (), test, layout, (source,), remarks)
    looked = " nor ".join(f"'{folder / place}'" for place in images)
    raise UserError(f"no folder of a class of {CLASS_NAMES} in {looked}: get the images as {INSTRUCTIONS} says")


def all_classes(names: Names, found: list[str]) -> dict[str, str]:
    """Every class of ImageNet, in folders named by WordNet id."""
    return names


def numbered_classes(names: Names, found: list[str]) -> dict[str, str]:
    """Every class of ImageNet, in folders 0, 1, ... that are named by label."""
    return {str(label): name for label, name in enumerate(names.values())}


def own_classes(names: Names, found: list[str]) -> dict[str, str]:
    """The classes whose folders exist, in the order of their WordNet ids, labelled from 0."""
    return {folder: names.get(folder, "") for folder in sorted(found)} if set(found) & set(names) else {}


def read_classes(root: Path, prefix: str, classes: dict[str, str], left_out: Counter[str]) -> tuple[Picture, ...]:
    """The pictures in a folder of class folders, labelled by the order of the classes.

    Args:
        root: the folder that the pictures' paths are relative to.
        prefix: the folder of class folders in it, ending in `/`; empty for `root` itself.
        classes: folder -> class name, in label order.
        left_out: counts what is no image in them.

    Raises:
        UserError: a folder has no class name, or a class no folder.
    """
    found = folders_in(root / prefix)
    unknown = [name for name in found if not classes.get(name)]
    if unknown:
        raise UserError(f"'{root / prefix / unknown[0]}' is no class of {CLASS_NAMES}: move the folder away")
    missing = sorted(classes.keys() - set(found))
    if missing:
        if not found and images_in(root / prefix):
            raise UserError(
                f"the images of '{root / prefix}' are not in class folders: sort them into one per WordNet id"
            )
        raise UserError(
            f"'{root / prefix}' lacks the folders of {len(missing)} of {len(classes)} classes ({listed(missing)}): "
            f"add them, or leave only the other classes in {CLASS_NAMES}"
        )
    return tuple(
        Picture(f"{prefix}{name}/{file}", label)
        for label, name in enumerate(classes)
        for file in images_in(root / prefix / name, left_out)
    )
