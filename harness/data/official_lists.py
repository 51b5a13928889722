"""The lists that come with a data set's own archive, read where the published split file is missing.

Each reader knows one archive as its authors, and torchvision, lay it out. It gives class names and labels as the
published split file has them. What that file drew at random cannot be computed again: the official readers draw it with
Python's global generator, in the order of the file system, and whichever draw came first was published.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.class_lists import named_classes
from harness.data.filesystem import folders_in, images_in
from harness.data.matlab_files import read_matlab
from harness.data.readers import Picture
from harness.data.text_files import check_class_name, check_path, parse_json, read_lines, read_text
from harness.errors import UserError, nearest

EUROSAT_NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "SeaLake": "Sea or Lake",
}
CALTECH_NAMES = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}
CALTECH_LEFT_OUT = ("BACKGROUND_Google", "Faces_easy")
"""Folders of Caltech101 that are no classes of the field's data set of 100 classes."""
ADVICE = "it comes with the data set's archive"


@dataclass(frozen=True)
class Listed:
    """What the archive of a data set says.

    Attributes:
        class_names: in label order.
        pictures: all pictures, or those of the official training split (training and validation together).
        test: pictures of the official test split, in its order; None if the archive has no such split.
        sources: the files that were read.
    """

    class_names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    test: tuple[Picture, ...] | None = None
    sources: tuple[Path, ...] = ()


Official = Callable[[Path, Sequence[str]], Listed | None]
"""(the data set's folder, folders in it that may contain its images) -> its lists; None where its files are missing."""


def class_folders(
    folder: Path,
    images: Sequence[str],
    names: Mapping[str, str] | None = None,
    left_out: Sequence[str] = (),
) -> Listed | None:
    """Read one folder of images for each class: Caltech101, DTD, EuroSAT and Food101.

    Args:
        folder: the data set's folder.
        images: folders in it that may contain the class folders, the usual one first.
        names: class folder -> name of the class, where they differ.
        left_out: class folders that are none.

    Raises:
        UserError: a folder cannot be read, or a class has no images.
    """
    place = first_place(folder, images)
    if place is None:
        return None
    classes = [name for name in folders_in(place) if name not in left_out]
    pictures = [
        Picture(f"{name}/{file}", label) for label, name in enumerate(classes) for file in class_images(place, name)
    ]
    class_names = [(names or {}).get(name, name) for name in classes]
    return Listed(tuple(class_names), tuple(pictures)) if classes else None


def class_images(place: Path, name: str) -> list[str]:
    """Names of the images of a class.

    Raises:
        UserError: there are none, or the class cannot be called so.
    """
    check_class_name(place, name)
    files = images_in(place / name)
    if not files:
        raise UserError(f"'{place / name}' has no images: restore them, or remove the folder if it is no class")
    return files


def first_place(folder: Path, images: Sequence[str]) -> Path | None:
    """The first of the folders that may contain a data set's images and that exists with folders in it."""
    places = (folder / place for place in images)
    return next((place for place in places if place.is_dir() and folders_in(place)), None)


def read_pets(folder: Path, images: Sequence[str]) -> Listed | None:
    """Read `annotations/trainval.txt` and `test.txt` of the Oxford-IIIT Pets: `Abyssinian_100 1 1 1` in each line.

    Raises:
        UserError: a line has another form.
    """
    sources = (folder / "annotations" / "trainval.txt", folder / "annotations" / "test.txt")
    if not all(source.is_file() for source in sources):
        return None
    names: dict[int, str] = {}
    parts = []
    for source in sources:
        rows = []
        for line in lines_of(source):
            image, *numbers = line.split()
            breed = image.rpartition("_")[0].lower()
            if not breed or not numbers or not numbers[0].isdigit():
                raise UserError(f"'{source}': '{line}' is no line such as 'Abyssinian_100 1 1 1'")
            label = int(numbers[0]) - 1
            if names.setdefault(label, breed) != breed:
                raise UserError(f"'{source}': class {label + 1} is called both '{names[label]}' and '{breed}'")
            rows.append(Picture(safe_path(source, f"{image}.jpg"), label))
        parts.append(tuple(rows))
    return Listed(names_in_order(names, sources[0]), parts[0], parts[1], sources)


def read_cars(folder: Path, images: Sequence[str]) -> Listed | None:
    """Read the annotations of Stanford Cars in MATLAB's format; the year comes first in a class's name.

    Raises:
        UserError: a file has other content.
    """
    meta, train, test = (
        folder / path
        for path in ("devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")
    )
    if not all(path.is_file() for path in (meta, train, test)):
        return None
    titles = [str(title) for title in read_matlab(meta, "class_names")]
    names = [" ".join([title.rpartition(" ")[2], title.rpartition(" ")[0]]).strip() for title in titles]
    for name in names:
        check_class_name(meta, name)
    parts = []
    for path, place in ((train, "cars_train"), (test, "cars_test")):
        rows = []
        for row in read_matlab(path, "annotations", ("fname", "class")):
            label = int(row["class"]) - 1
            if not 0 <= label < len(names):
                raise UserError(f"'{path}': class {label + 1} of '{row['fname']}' is none of the {len(names)} classes")
            rows.append(Picture(safe_path(path, f"{place}/{row['fname']}"), label))
        parts.append(tuple(rows))
    return Listed(tuple(names), parts[0], parts[1], (train, test, meta))


def read_flowers(folder: Path, images: Sequence[str]) -> Listed | None:
    """Read `imagelabels.mat` of the Oxford Flowers: one label for each of `image_00001.jpg`, `image_00002.jpg`, ...

    Class names are those of `cat_to_name.json` where it is there, otherwise the same names from this project.

    Raises:
        UserError: a file has other content.
    """
    path, given = folder / "imagelabels.mat", folder / "cat_to_name.json"
    if not path.is_file():
        return None
    labels = [int(label) - 1 for label in read_matlab(path, "labels")]
    names = names_by_number(given) if given.is_file() else dict(enumerate(named_classes("oxford_flowers")))
    unknown = next((label for label in labels if label not in names), None)
    if unknown is not None:
        raise UserError(f"'{path}': class {unknown + 1} has no name{f' in {given}' if given.is_file() else ''}")
    pictures = tuple(Picture(f"image_{number:05}.jpg", label) for number, label in enumerate(labels, start=1))
    used = {label: names[label] for label in labels}
    sources = (path, given) if given.is_file() else (path,)
    return Listed(names_in_order(used, path), pictures, None, sources)


def names_by_number(path: Path) -> dict[int, str]:
    """Label -> class name, of a JSON object from numbers that begin at 1 to names.

    Raises:
        UserError: it is none.
    """
    try:
        return {int(number) - 1: str(name) for number, name in dict(parse_json(read_text(path))).items()}
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' is no JSON object of class numbers and names ({error})") from None


def read_sun(folder: Path, images: Sequence[str]) -> Listed | None:
    """Read `ClassName.txt` of SUN397, and `Training_01.txt` and `Testing_01.txt` where they are there.

    `/c/church/outdoor` is the class `outdoor church`. torchvision's folder has no partitions: all images are listed.

    Raises:
        UserError: a list names what `ClassName.txt` does not have, or a class has no images.
    """
    classes, train, test = (
        place_of(folder, images, name) for name in ("ClassName.txt", "Training_01.txt", "Testing_01.txt")
    )
    if classes is None:
        return None
    places = [line.removeprefix("/") for line in lines_of(classes)]
    labels = {place: label for label, place in enumerate(places)}
    names = tuple(" ".join(reversed(place.split("/")[1:])) for place in places)
    for name in names:
        check_class_name(classes, name)
    if train is None or test is None:
        root = next((folder / place for place in images if (folder / place / places[0]).is_dir()), None)
        if root is None:
            return None
        pictures = [
            Picture(f"{place}/{file}", label) for place, label in labels.items() for file in class_images(root, place)
        ]
        return Listed(names, tuple(pictures), None, (classes,))
    parts = [tuple(sun_rows(path, labels)) for path in (train, test)]
    return Listed(names, parts[0], parts[1], (train, test, classes))


def sun_rows(path: Path, labels: Mapping[str, int]) -> list[Picture]:
    """The pictures of one partition: `/a/abbey/sun_aaalbzqrimafwbiv.jpg` in each line."""
    rows = []
    for line in lines_of(path):
        image = line.removeprefix("/")
        place = image.rpartition("/")[0]
        if place not in labels:
            raise UserError(f"'{path}': '{line}' is of no class of ClassName.txt.{nearest(place, labels)}")
        rows.append(Picture(safe_path(path, image), labels[place]))
    return rows


def place_of(folder: Path, images: Sequence[str], name: str) -> Path | None:
    """A file in a data set's folder, or in one of those that may contain its images; None if it is in none."""
    paths = (folder / place / name for place in ("", *images))
    return next((path for path in paths if path.is_file()), None)


def read_ucf(folder: Path, images: Sequence[str]) -> Listed | None:
    """Read the first split in `ucfTrainTestlist/` of UCF101, whose videos stand for their middle frames.

    Raises:
        UserError: the frames are missing but videos are there, or a line names no class.
    """
    lists = folder / "ucfTrainTestlist"
    sources = (lists / "trainlist01.txt", lists / "testlist01.txt", lists / "classInd.txt")
    if first_place(folder, images) is None:
        refuse_videos(folder, images[0])
    if not all(source.is_file() for source in sources):
        return None
    labels: dict[str, int] = {}
    for line in lines_of(sources[2]):
        number, _, action = line.partition(" ")
        if not number.isdigit() or not action:
            raise UserError(f"'{sources[2]}': '{line}' is no line such as '1 ApplyEyeMakeup'")
        labels[action] = int(number) - 1
    parts = []
    for source in sources[:2]:
        rows = []
        for line in lines_of(source):
            action, _, video = line.split()[0].partition("/")
            if action not in labels:
                raise UserError(f"'{source}': '{line}' is of no class of classInd.txt.{nearest(action, labels)}")
            frame = f"{in_words(action)}/{video.removesuffix('.avi')}.jpg"
            rows.append(Picture(safe_path(source, frame), labels[action]))
        parts.append(tuple(rows))
    names = {label: in_words(action) for action, label in labels.items()}
    return Listed(names_in_order(names, sources[2]), parts[0], parts[1], sources)


def in_words(action: str) -> str:
    """The words of an action, as in the published names: ApplyEyeMakeup is Apply_Eye_Makeup."""
    return re.sub("(?<!^)(?=[A-Z])", "_", action)


def refuse_videos(folder: Path, frames: str) -> None:
    """Raise a UserError if a folder holds UCF101's videos, which are no pictures."""
    for place in (folder, folder / "UCF-101"):
        for name in folders_in(place) if place.is_dir() else ():
            if next((place / name).glob("*.avi"), None):
                raise UserError(
                    f"'{place}' has videos: the field's UCF101 is the middle frame of each, put these into "
                    f"'{folder / frames}' (Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg, ...)"
                )


def lines_of(path: Path) -> list[str]:
    """The lines of a list, which exists.

    Raises:
        UserError: it is no text, or has no lines.
    """
    lines = read_lines(path, ADVICE)
    if not lines:
        raise UserError(f"'{path}' is empty: {ADVICE}")
    return lines


def names_in_order(names: Mapping[int, str], source: Path) -> tuple[str, ...]:
    """Class names in label order.

    Raises:
        UserError: a number is missing, or a class cannot be called so.
    """
    gap = next((label for label in range(len(names)) if label not in names), None)
    if gap is not None:
        raise UserError(f"'{source}' has {len(names)} classes, but no class {gap + 1}")
    for name in names.values():
        check_class_name(source, name)
    return tuple(names[label] for label in range(len(names)))


def safe_path(source: Path, path: str) -> str:
    """A path in a list.

    Raises:
        UserError: it leads out of the data set's folder.
    """
    try:
        check_path(path)
    except ValueError as error:
        raise UserError(f"'{source}': {error}") from None
    return path
