"""Data sets of the paper about CLIP that lie as folders of images: GTSRB, Country211, RESISC45, Birdsnap."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.data.class_lists import named_classes
from harness.data.filesystem import folders_in, images_in, left_out_in_words, listed
from harness.data.official_lists import ADVICE, class_folders, lines_of, place_of, safe_path
from harness.data.own_split import own_splits
from harness.data.readers import SPLITS, Picture, Splits, checked_splits, unusual_place
from harness.data.text_files import read_lines
from harness.errors import UserError

RESISC_SHARES = (0.6, 0.2)
"""Those of the lists that torchgeo gives out; the authors published none."""


def read_country(folder: Path, splits: Sequence[str] = SPLITS) -> Splits:
    """Read Country211: `train/`, `valid/` and `test/` with a folder of images for each country code.

    Raises:
        UserError: a split lacks the folder of a country, or has one of none.
    """
    names = dict(line.split(" ", 1) for line in named_classes("country211"))
    labels = {code: label for label, code in enumerate(names)}
    left_out: Counter[str] = Counter()
    found: dict[str, tuple[Picture, ...]] = dict.fromkeys(SPLITS, ())
    for split, place in zip(SPLITS, ("train", "valid", "test"), strict=True):
        if split not in splits:
            continue
        if not (folder / place).is_dir():
            raise UserError(f"'{folder}' has no {place}/: {ADVICE}")
        codes = folders_in(folder / place)
        wrong = sorted(names.keys() ^ set(codes))
        if wrong:
            what = "has the folder of no country" if wrong[0] in codes else "lacks folders of countries"
            raise UserError(f"'{folder / place}' {what}: {listed(wrong)}; there are {len(names)}, AD to ZW")
        found[split] = tuple(
            Picture(f"{place}/{code}/{file}", labels[code])
            for code in names
            for file in images_in(folder / place / code, left_out)
        )
    train, val, test = (found[split] for split in SPLITS)
    return Splits(folder, tuple(names.values()), train, val, test, remarks=left_out_in_words(left_out))


def read_signs(folder: Path, splits: Sequence[str] = SPLITS) -> Splits:
    """Read GTSRB: `GTSRB/Training/00000/*.ppm` to train on, `GTSRB/Final_Test/Images/*.ppm` to test on.

    `GT-final_test.csv` has the labels of the latter, separated by semicolons.

    Raises:
        UserError: folders or labels are missing, or there are other classes than 0 to 42.
    """
    names = named_classes("gtsrb")
    places = ("GTSRB", "")
    place = next((place for place in places if (folder / place / "Training").is_dir()), None)
    if place is None:
        raise UserError(f"'{folder}' has neither GTSRB/Training/ nor Training/: {ADVICE}")
    root = folder / place
    layout = unusual_place(place, places[0])
    labels = {f"{label:05}": label for label in range(len(names))}
    train: tuple[Picture, ...] = ()
    if "train" in splits:
        wrong = sorted(labels.keys() ^ set(folders_in(root / "Training")))
        if wrong:
            raise UserError(
                f"'{root / 'Training'}' must have the folders 00000 to 00042; it differs in {listed(wrong)}"
            )
        train = tuple(
            Picture(f"Training/{name}/{file}", label)
            for name, label in labels.items()
            for file in images_in(root / "Training" / name)
        )
    source = place_of(folder, ("GTSRB", "GTSRB/Final_Test/Images", "Final_Test/Images"), "GT-final_test.csv")
    if source is None:
        raise UserError(f"'{folder}' has no GT-final_test.csv, the labels of its test images: {ADVICE}")
    test = read_sign_labels(source, len(names)) if "test" in splits else ()
    return Splits(root, names, train, (), test, layout, (source,))


def read_sign_labels(path: Path, classes: int) -> tuple[Picture, ...]:
    """The test images of GTSRB: lines under a header such as `00000.ppm;53;54;6;5;48;49;16`."""
    rows = list(csv.DictReader(read_lines(path, ADVICE), delimiter=";"))
    found = []
    for row in rows:
        name, label = row.get("Filename") or "", row.get("ClassId") or ""
        if not name or not label.isdigit() or int(label) >= classes:
            raise UserError(
                f"'{path}' has the image '{name}' with the class '{label}': 0 to {classes - 1} are expected"
            )
        found.append(Picture(f"Final_Test/Images/{safe_path(path, name)}", int(label)))
    return tuple(found)


def read_resisc(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read RESISC45: a folder of 700 images for each class, and `resisc45-train.txt`, `-val.txt`, `-test.txt` if there.

    Without these lists its images are split here, in the same proportions.

    Raises:
        UserError: there are no class folders, or a list names an image of no class.
    """
    archive = class_folders(folder, images)
    if archive is None:
        looked = " nor ".join(f"'{folder / place}'" for place in images)
        raise UserError(f"no class folders in {looked}: unpack NWPU-RESISC45 there")
    lists = {split: place_of(folder, images, f"resisc45-{split}.txt") for split in SPLITS}
    if None in lists.values():
        return own_splits(folder, archive, images, "no resisc45-train.txt", RESISC_SHARES, splits=splits)
    by_name = {picture.path.rpartition("/")[2]: picture for picture in archive.pictures}
    found: dict[str, tuple[Picture, ...]] = dict.fromkeys(SPLITS, ())
    sources = tuple(path for path in lists.values() if path)
    for split, path in zip(SPLITS, sources, strict=True):
        if split in splits:
            lines = lines_of(path)
            unknown = next((line for line in lines if line not in by_name), None)
            if unknown is not None:
                raise UserError(f"'{path}': '{unknown}' is in no class folder of '{folder}'")
            found[split] = tuple(by_name[line] for line in lines)
    return checked_splits(folder, images, archive.class_names, found, sources)


def read_birds(folder: Path, images: Sequence[str], splits: Sequence[str] = SPLITS) -> Splits:
    """Read Birdsnap: a folder of images for each species, and `test_images.txt` with the paths of test images.

    Its images are downloaded from where they once were on the web, so that some are always missing; a remark says how
    many of the test images. All others are for training.

    Raises:
        UserError: there are no class folders, or no list of test images.
    """
    archive, source = class_folders(folder, images), place_of(folder, images, "test_images.txt")
    if archive is None or source is None:
        what = "test_images.txt" if archive else f"folders of images in {' nor '.join(f'{place}/' for place in images)}"
        raise UserError(f"'{folder}' has no {what}: run get_birdsnap.py, which comes with the data set")
    names = {safe_path(source, line) for line in lines_of(source)[1:]}
    there = {picture.path for picture in archive.pictures}
    test = tuple(picture for picture in archive.pictures if picture.path in names)
    parts = {
        "train": tuple(picture for picture in archive.pictures if picture.path not in names),
        "val": (),
        "test": test,
    }
    wanted = {split: part if split in splits else () for split, part in parts.items()}
    found = checked_splits(folder, images, archive.class_names, wanted, (source,))
    gone = len(names - there)
    remarks = (f"{gone} of {len(names)} test images are not there",) if gone else ()
    return replace(found, remarks=(*found.remarks, *remarks))
