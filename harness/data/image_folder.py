"""The user's own images: a folder of class folders, with or without splits."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.data.filesystem import (
    folders_in,
    images_in,
    left_out_in_words,
    listed,
    refuse_illegible,
    visible_names,
)
from harness.data.hub_layout import PACKED, WORDS
from harness.data.readers import SPLITS, Picture, Splits
from harness.data.text_files import check_class_name, read_lines
from harness.errors import UserError, nearest, twin

DEFAULT_TEMPLATE = "a photo of a {}."
HASHED = "split 50/20/30 by hash"
GIVEN = "train/, val/, test/ as given"
FORM = "expected a folder of images for each class, or train/, val/ and test/ with such folders"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
VALIDATION = ("val", "valid", "validation", "dev")
"""What the folder of the validation images may be called."""


def read_template(folder: Path) -> str:
    """The prompt template of a folder: the single line of its `template.txt`, or the default without that file.

    Raises:
        UserError: the folder does not exist, or the file contains no template.
    """
    path = folder / "template.txt"
    if os.path.isfile(folder):
        advice = "unpack it" if folder.suffix.lower() in ARCHIVES else "lists of images are not read"
        raise UserError(f"'{folder}' is a file: {advice}, name a folder that has one of images for each class")
    if not os.path.isdir(folder):
        raise UserError(f"folder '{folder}' does not exist: name one that has a folder of images for each class")
    if not os.path.lexists(path):
        return DEFAULT_TEMPLATE
    lines = read_lines(path, "")
    if len(lines) != 1 or "{}" not in lines[0]:
        raise UserError(f"'{path}' must contain one line with {{}} for the class name, such as '{DEFAULT_TEMPLATE}'")
    check_class_name(path, lines[0])
    return lines[0]


def read_own_folder(folder: Path, splits: Sequence[str] = SPLITS) -> Splits:
    """Read a folder of class folders, or of `train/`, `val/` and `test/` that contain class folders.

    `val/` may have another name of VALIDATION. It may be missing, and so may `train/` if nothing is trained. Without
    such splits the images of every class are split 50/20/30 by a hash of their names. Classes are labelled in the order
    of their folders' names. These are also the names of the classes, unless `classnames.txt` has lines of folder and
    class name.

    Args:
        folder: to read.
        splits: which to read; the others are returned empty.

    Raises:
        UserError: there are no classes, a class has no images, or folders and class names do not agree.
    """
    top = folders_in(folder)
    if not top:
        packed = [name for name in visible_names(folder) if name.lower().endswith((*PACKED, ".tar"))]
        hint = f"; unpack '{packed[0]}' if they are in it" if packed else ""
        raise UserError(f"'{folder}' has no class folders: {FORM}{hint}")
    split = set(top) <= set(SPLITS) or any(name in SPLITS and folders_in(folder / name) for name in top)
    left_out: Counter[str] = Counter()
    found = given_splits(folder, top, splits, left_out) if split else hashed_splits(folder, top, left_out)
    classes = sorted(found["train"] or found["test"])
    for name in sorted(found["val"]):
        if name not in classes:
            place = folder / os.path.dirname(found["val"][name][0])
            raise UserError(f"'{place}' is a class that train/ does not have.{nearest(name, classes)}")
    renamed = [name for name in top if split and name != "val" and role_of(name) == "val"]
    layout = (GIVEN if split else HASHED, *(f"val is {name}/" for name in renamed))
    names = own_class_names(folder, classes)
    pictures = {
        part: tuple(Picture(path, label) for label, name in enumerate(classes) for path in by_class.get(name, ()))
        if part in splits
        else ()
        for part, by_class in found.items()
    }
    train, val, test = (pictures[part] for part in SPLITS)
    places = [folder / name for part in splits for name in top if role_of(name) == part] if split else [folder]
    remarks = (*left_out_in_words(left_out), *loose_images(places))
    return Splits(folder, tuple(names[name] for name in classes), train, val, test, layout, remarks=remarks)


def role_of(name: str) -> str:
    """The split that a folder of this name is; the name itself if it is none."""
    return "val" if name in VALIDATION else name


def loose_images(places: Sequence[Path]) -> tuple[str, ...]:
    """Remarks on images that are next to class folders instead of in one."""
    numbers = ((place, len(images_in(place))) for place in places)
    return tuple(
        f"left out: {number} images in '{place}' itself, in no class folder" for place, number in numbers if number
    )


def given_splits(
    folder: Path, top: list[str], splits: Sequence[str], left_out: Counter[str]
) -> dict[str, dict[str, list[str]]]:
    """Split -> class -> paths of its images, from a folder with `train/`, `val/` and `test/`.

    Raises:
        UserError: other folders, no test split, an empty split, or classes that differ between train and test.
    """
    extra = [name for name in top if role_of(name) not in SPLITS]
    named_twice = [name for name in top if role_of(name) == "val"]
    if extra:
        raise UserError(
            f"'{folder / extra[0]}' is next to {listed(sorted(set(top) - set(extra)))}: "
            f"only train, val and test can be there.{nearest(extra[0], SPLITS)}"
        )
    if len(named_twice) > 1:
        raise UserError(f"'{folder}' has {listed(named_twice)}: name one of them val, and move the others away")
    if "test" not in top:
        raise UserError(f"'{folder}' has {listed(top)} but no test: add test/ with images to report accuracy on")
    found: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for part in (name for name in top if role_of(name) in splits):
        by_class = {name: pictures_of(folder / part / name, left_out) for name in folders_in(folder / part)}
        if not by_class:
            raise UserError(f"'{folder / part}' has no class folders: {FORM}")
        found[role_of(part)] = {name: [f"{part}/{name}/{file}" for file in files] for name, files in by_class.items()}
    if found["train"] and "test" in splits and found["train"].keys() != found["test"].keys():
        name = min(found["train"].keys() ^ found["test"].keys())
        there, gone = ("train", "test") if name in found["train"] else ("test", "train")
        raise UserError(
            f"class '{name}' has images in '{folder / there}' but none in '{folder / gone}'."
            f"{nearest(name, found[gone])}"
        )
    return found


def hashed_splits(folder: Path, top: list[str], left_out: Counter[str]) -> dict[str, dict[str, list[str]]]:
    """Split -> class -> paths of its images, from a folder of class folders.

    Half of the images of a class (rounded up) are for training, a fifth (rounded down) for validation, the rest for
    testing.

    Raises:
        UserError: a class has fewer than two images.
    """
    found: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for name in top:
        files = pictures_of(folder / name, left_out)
        if len(files) < 2:
            raise UserError(f"class '{name}' in '{folder}' has one image: it needs one to train and one to test on")
        paths = sorted((f"{name}/{file}" for file in files), key=split_order)
        half, fifth = (len(paths) + 1) // 2, len(paths) // 5
        found["train"][name] = sorted(paths[:half])
        found["val"][name] = sorted(paths[half : half + fifth])
        found["test"][name] = sorted(paths[half + fifth :])
    return found


def split_order(path: str) -> str:
    """The sort key of an image when its class is split: a hash of its path, the same on every machine."""
    return hashlib.sha256(f"split/{path}".encode()).hexdigest()


def pictures_of(folder: Path, left_out: Counter[str]) -> list[str]:
    """Names of the images of a class.

    Args:
        folder: of the class.
        left_out: counts what else is there.

    Raises:
        UserError: there are none, or the class cannot be called so.
    """
    refuse_illegible(folder.parent, folder.name)
    check_class_name(folder, folder.name)
    others: Counter[str] = Counter()
    files = images_in(folder, others)
    if not files:
        what = f" but {listed([f'{count} {kind}' for kind, count in others.items()])}" if others else ""
        raise UserError(f"class '{folder.name}' has no images in '{folder}'{what}: {way_out(folder, others)}")
    left_out.update(others)
    return files


def way_out(folder: Path, others: Counter[str]) -> str:
    """What to do with a class folder without images."""
    role = WORDS.get(folder.name.lower())
    if others["folders"] and role:
        return f"if it is a split, rename it to {'val' if role == 'validation' else role}"
    if others["folders"]:
        return (
            f"images must lie in the folder of their class itself, not in one such as '{folders_in(folder)[0]}' in it"
        )
    return "add some, or remove the folder"


def own_class_names(folder: Path, classes: list[str]) -> dict[str, str]:
    """Class folder -> name of the class: that of `classnames.txt`, otherwise that of the folder.

    Raises:
        UserError: a line names no class folder, repeats one or gives no name; or two classes have the same name.
    """
    path = folder / "classnames.txt"
    given: dict[str, str] = {}
    for line in read_lines(path, "") if os.path.lexists(path) else ():
        # Folder names may contain spaces: the longest one with which the line begins is meant.
        fitting = [name for name in classes if line == name or (line.startswith(name) and line[len(name)].isspace())]
        if not fitting:
            word = line.split()[0]
            raise UserError(f"'{path}': '{word}' is no class folder in '{folder}'.{nearest(word, classes)}")
        name = max(fitting, key=len)
        words = line[len(name) :].strip()
        if not words or name in given:
            problem = "is named twice" if words else "gets no name"
            raise UserError(
                f"'{path}': class folder '{name}' {problem}; expected lines such as '{classes[0]} its name'"
            )
        check_class_name(path, words)
        given[name] = words
    names = {name: given.get(name, name) for name in classes}
    seen: dict[str, str] = {}
    for name, words in names.items():
        other = seen.setdefault(unicodedata.normalize("NFC", words.replace("_", " ")), name)
        if other != name:
            raise UserError(
                f"classes '{other}' and '{name}' in '{folder}' are both called '{words}'{twin(other, name)}: rename one"
            )
    return names
