"""ImageNet and its variants: folders of pictures by class, and `classnames.txt` that says what classes are called."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.data.filesystem import folders_in, listed, locate, pictures_in, read_lines
from harness.data.readers import INSTRUCTIONS, SPLITS, Picture, Splits, unusual_place
from harness.errors import UserError

CLASS_NAMES = "classnames.txt"
IMAGENET = ("imagenet", "imagenet-1k", "ILSVRC2012")
"""Names that ImageNet's own folder goes by."""

Names = dict[str, str]
Choose = Callable[[Names, list[str]], dict[str, str]]
"""Class names by WordNet id, folders found -> class names by folder, in label order."""


def read_class_names(path: Path) -> Names:
    """Class names by WordNet id, in the order of the file: lines such as `n01440764 tench`.

    Raises:
        UserError: the file is missing, empty, or a line is not of this form.
    """
    names: Names = {}
    for line in read_lines(path, f"get it as {INSTRUCTIONS} says"):
        wordnet_id, _, name = line.partition(" ")
        if not name or wordnet_id in names:
            problem = "comes twice" if name else "has no class name"
            raise UserError(f"'{path}': '{wordnet_id}' {problem}; expected lines such as 'n01440764 tench'")
        names[wordnet_id] = name
    if not names:
        raise UserError(f"'{path}' is empty: expected lines such as 'n01440764 tench'")
    return names


def find_class_names(folder: Path) -> tuple[Names, tuple[str, ...]]:
    """Class names of a variant: from its own folder, else from ImageNet's folder beside it.

    Returns:
        Class names by WordNet id, and a note if they are ImageNet's.

    Raises:
        UserError: neither has them.
    """
    if (folder / CLASS_NAMES).is_file():
        return read_class_names(folder / CLASS_NAMES), ()
    imagenet = locate(folder.parent, IMAGENET)
    if imagenet and (folder.parent / imagenet / CLASS_NAMES).is_file():
        return read_class_names(folder.parent / imagenet / CLASS_NAMES), (f"{CLASS_NAMES} of {imagenet}/",)
    places = f"'{folder}' nor in '{folder.parent / (imagenet or IMAGENET[0])}'"
    raise UserError(f"{CLASS_NAMES} is neither in {places}: get it as {INSTRUCTIONS} says")


def read_imagenet(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read ImageNet: labels in the order of `classnames.txt`, `train/` to train on and `val/` to test on.

    Args:
        folder: the data set's folder.
        images: where in it `train/` and `val/` may lie, the usual place first.
        splits: which are wanted; the folders of the others are not looked into.

    Returns:
        Splits without validation pictures. Where only `val/` is there, they are for testing only.

    Raises:
        UserError: `classnames.txt` or `val/` is missing, or folders and class names do not agree.
    """
    names = read_class_names(folder / CLASS_NAMES)
    place = next((place for place in images if (folder / place / "val").is_dir()), None)
    if place is None:
        looked = " nor ".join(str(Path(place, "val")) for place in images)
        raise UserError(f"'{folder}' has no {looked}: the pictures to test on lie there, a folder for each WordNet id")
    layout = unusual_place(place, images[0])
    root = folder / place
    train: tuple[Picture, ...] = ()
    if (root / "train").is_dir():
        train = read_classes(root, "train/", names) if "train" in splits else ()
    else:
        layout += (f"no {Path(place, 'train')}/: for testing only",)
    test = read_classes(root, "val/", names) if "test" in splits else ()
    return Splits(root, tuple(names.values()), train, (), test, layout)


def read_variant(folder: Path, images: Sequence[str], choose: Choose, splits: Sequence[str] = SPLITS) -> Splits:
    """Read a variant of ImageNet, which is for testing only.

    Args:
        folder: the data set's folder.
        images: where in it the folders of the classes may lie, the usual place first; empty for the folder itself.
        choose: which folders make its classes: `all_classes`, `numbered_classes` or `own_classes`.
        splits: which are wanted.

    Raises:
        UserError: no class names, no class folders, or they do not agree.
    """
    names, layout = find_class_names(folder)
    for place in images:
        found = folders_in(folder / place) if (folder / place).is_dir() else []
        classes = choose(names, found)
        if classes.keys() & set(found):
            test = read_classes(folder / place, "", classes) if "test" in splits else ()
            layout = (*unusual_place(place, images[0]), *layout)
            return Splits(folder / place, tuple(classes.values()), (), (), test, layout)
    looked = " nor ".join(f"'{folder / place}'" for place in images)
    raise UserError(f"no folder of a class of {CLASS_NAMES} in {looked}: get the pictures as {INSTRUCTIONS} says")


def all_classes(names: Names, found: list[str]) -> dict[str, str]:
    """Every class of ImageNet, in folders named by WordNet id."""
    return names


def numbered_classes(names: Names, found: list[str]) -> dict[str, str]:
    """Every class of ImageNet, in folders 0, 1, ... named by label."""
    return {str(label): name for label, name in enumerate(names.values())}


def own_classes(names: Names, found: list[str]) -> dict[str, str]:
    """The classes whose folders are there, in the order of their WordNet ids, labelled from 0."""
    return {folder: names.get(folder, "") for folder in sorted(found)} if set(found) & set(names) else {}


def read_classes(root: Path, prefix: str, classes: dict[str, str]) -> tuple[Picture, ...]:
    """Pictures of a folder of class folders, labelled by the order of the classes.

    Args:
        root: what the pictures' paths are relative to.
        prefix: the folder in it, ending in `/`, or empty for itself.
        classes: class names by folder, in label order.

    Raises:
        UserError: a folder without a class name, or a class without a folder.
    """
    found = folders_in(root / prefix)
    unknown = [name for name in found if not classes.get(name)]
    if unknown:
        raise UserError(f"'{root / prefix / unknown[0]}' is no class of {CLASS_NAMES}: move the folder away")
    missing = sorted(classes.keys() - set(found))
    if missing:
        if not found and pictures_in(root / prefix):
            raise UserError(
                f"the pictures of '{root / prefix}' lie in no class folders: sort them into one for each WordNet id"
            )
        raise UserError(
            f"'{root / prefix}' lacks the folders of {len(missing)} of {len(classes)} classes ({listed(missing)}): "
            f"complete it, or leave only its classes in {CLASS_NAMES}"
        )
    return tuple(
        Picture(f"{prefix}{name}/{file}", label)
        for label, name in enumerate(classes)
        for file in pictures_in(root / prefix / name)
    )
