"""ImageNet and its variants: one folder of images per class, and `classnames.txt` with the names of the classes."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.data.class_lists import imagenet_names
from harness.data.filesystem import folders_in, images_in, left_out_in_words, listed, locate
from harness.data.readers import INSTRUCTIONS, SPLITS, Picture, Splits, unusual_place
from harness.data.text_files import check_class_name, check_path, read_lines
from harness.errors import UserError

CLASS_NAMES = "classnames.txt"
BUILT_IN = f"class names of open_clip (no {CLASS_NAMES})"
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's labels of the validation images, which lie there in one folder."""
IMAGENET = ("imagenet", "imagenet-1k", "ILSVRC2012", "imagenet-object-localization-challenge", "ILSVRC")
"""Usual names of ImageNet's own folder; the last two are Kaggle's."""
KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
"""Where Kaggle's archive has the images, in its own folder and in `ILSVRC/`."""

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


def find_class_names(folder: Path) -> tuple[Names, tuple[Path, ...], tuple[str, ...]]:
    """The class names of ImageNet or a variant: from its own folder, from ImageNet's next to it, or built in.

    Returns:
        WordNet id -> class name in label order; the file that they are from, if any; a note if it is not in `folder`.

    Raises:
        UserError: a file has another form.
    """
    imagenet = locate(folder.parent, IMAGENET)
    places: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    if imagenet:
        places.append((folder.parent / imagenet, (f"{CLASS_NAMES} of {imagenet}/",)))
    for place, note in places:
        path = place / CLASS_NAMES
        if path.is_file():
            return read_class_names(path), (path,), note
    return dict(imagenet_names()), (), (BUILT_IN,)


def read_imagenet(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read ImageNet: labels in the order of its class names, `train/` to train on and `val/` to test on.

    Where the images in `val/` are not in class folders, Kaggle's `LOC_val_solution.csv` says which class they are of.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain `train/` and `val/`, the usual one first.
        splits: which to read; the folders of the others are not listed.

    Returns:
        Splits without validation images, and without training images if there is no `train/`.

    Raises:
        UserError: `val/` is missing, or folders and class names do not agree.
    """
    names, sources, noted = find_class_names(folder)
    place = next((place for place in images if (folder / place / "val").is_dir()), None)
    if place is None:
        looked = " nor ".join(str(Path(place, "val")) for place in images)
        raise UserError(f"'{folder}' has no {looked}: it must contain the test images, one folder per WordNet id")
    layout = (*unusual_place(place, images[0]), *noted)
    root = folder / place
    left_out: Counter[str] = Counter()
    train: tuple[Picture, ...] = ()
    if (root / "train").is_dir():
        train = read_classes(root, "train/", names, left_out) if "train" in splits else ()
    else:
        layout += (f"no {Path(place, 'train')}/: for testing only",)
    test: tuple[Picture, ...] = ()
    solution = None if folders_in(root / "val") else find_solution(folder, root)
    if "test" in splits:
        test = read_solution(solution, names) if solution else read_classes(root, "val/", names, left_out)
    sources = (*sources, solution) if solution else sources
    return Splits(
        root,
        tuple(names.values()),
        train,
        (),
        test,
        layout,
        sources,
        left_out_in_words(left_out),
        official_order=False,
    )


def find_solution(folder: Path, root: Path) -> Path | None:
    """Kaggle's file of the validation images' classes: in ImageNet's folder, above it, or beside the images."""
    places = (folder, folder.parent, root, *root.parents[:3])
    return next((place / SOLUTION for place in places if (place / SOLUTION).is_file()), None)


def read_solution(path: Path, names: Names) -> tuple[Picture, ...]:
    """The validation images of Kaggle's archive: `ILSVRC2012_val_00048981,n03995372 85 1 499 272` in each line.

    Args:
        path: of the file, with a header line.
        names: WordNet id -> class name, in label order.

    Returns:
        Pictures in the order of their labels, then of their names.

    Raises:
        UserError: a line has another form, or names no class or one image twice.
    """
    labels = {wordnet_id: label for label, wordnet_id in enumerate(names)}
    found: dict[str, int] = {}
    for image, *boxes in list(csv.reader(read_lines(path, "it comes with Kaggle's archive")))[1:]:
        wordnet_id = boxes[0].split(" ")[0] if boxes else ""
        if wordnet_id not in labels or image in found:
            problem = "twice" if image in found else f"with the class '{wordnet_id}', which has no name"
            raise UserError(f"'{path}' has the image '{image}' {problem}")
        try:
            check_path(image)
        except ValueError as error:
            raise UserError(f"'{path}': {error}") from None
        found[image] = labels[wordnet_id]
    return tuple(
        Picture(f"val/{image}.JPEG", label) for label, image in sorted((label, image) for image, label in found.items())
    )


def read_variant(folder: Path, images: Sequence[str], choose: Choose, splits: Sequence[str] = SPLITS) -> Splits:
    """Read a variant of ImageNet, which is for testing only.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain the class folders, the usual one first; '' is the folder itself.
        choose: which folders are its classes: `all_classes`, `numbered_classes` or `own_classes`.
        splits: which to read.

    Raises:
        UserError: there are no class folders, or they and the class names do not agree.
    """
    names, sources, layout = find_class_names(folder)
    for place in images:
        found = folders_in(folder / place) if (folder / place).is_dir() else []
        classes = choose(names, found)
        if classes.keys() & set(found):
            left_out: Counter[str] = Counter()
            test = read_classes(folder / place, "", classes, left_out) if "test" in splits else ()
            remarks = left_out_in_words(left_out)
            layout = (*unusual_place(place, images[0]), *layout)
            return Splits(folder / place, tuple(classes.values()), (), (), test, layout, sources, remarks)
    looked = " nor ".join(f"'{folder / place}'" for place in images)
    raise UserError(f"no folder of a class of ImageNet in {looked}: get the images as {INSTRUCTIONS} says")


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
                f"the images of '{root / prefix}' are not in class folders: sort them into one per WordNet id, or add "
                f"Kaggle's {SOLUTION}"
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
