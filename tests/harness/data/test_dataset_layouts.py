"""The field's 15 data sets: read exactly, under other names too, and what is said where something is broken."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.fewshot import few_shot_sample
from harness.data.filesystem import spelling
from harness.data.pictures import broken_pictures, check_pictures, read_picture
from harness.data.readers import Picture, Splits
from harness.data.status import dataset_status
from harness.errors import UserError

TreeOf = Callable[[str], Any]
# name: classes; prompt of one class under both template sets
PROMPTS = {
    "imagenet": (1000, "a photo of a great white shark.", "a photo of a great white shark."),
    "caltech101": (100, "a photo of a water lilly.", "itap of a water lilly."),
    "oxford_pets": (37, "a photo of a pug, a type of pet.", "a bad photo of a pug, a type of pet."),
    "stanford_cars": (196, "a photo of a 2012 Acura RL Sedan.", "a photo of the 2012 Acura RL Sedan, a type of car."),
    "oxford_flowers": (
        102,
        "a photo of a pink primrose, a type of flower.",
        "a close-up photo of a pink primrose.",
    ),
    "food101": (101, "a photo of baby back ribs, a type of food.", "a photo of the nice baby back ribs."),
    "fgvc_aircraft": (
        100,
        "a photo of a Cessna 172, a type of aircraft.",
        "a bright photo of a Cessna 172, a type of aircraft.",
    ),
    "sun397": (397, "a photo of a outdoor church.", "a photo of a outdoor church."),
    "dtd": (47, "zigzagged texture.", "itap of a zigzagged."),
    "eurosat": (
        10,
        "a centered satellite photo of Annual Crop Land.",
        "a centered satellite photo of Annual Crop Land.",
    ),
    "ucf101": (
        101,
        "a photo of a person doing Apply Eye Makeup.",
        "a photo of a Apply Eye Makeup, a type of sport.",
    ),
    "imagenetv2": (1000, "a photo of a class 10.", "a photo of a class 10."),
    "imagenet_sketch": (1000, "a photo of a tench.", "a sketch of a tench."),
    "imagenet_a": (200, "a photo of a goldfish.", "a bad photo of a goldfish."),
    "imagenet_r": (200, "a photo of a goldfish.", "a rendition of a goldfish."),
}
NAMES = list(PROMPTS)
LISTED = ["imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
ALIASES = [
    ("caltech101", "Caltech101"),
    ("caltech101", "caltech101"),
    ("oxford_pets", "OxfordPets"),
    ("oxford_pets", "oxford-iiit-pet"),
    ("stanford_cars", "StanfordCars"),
    ("oxford_flowers", "Flower102"),
    ("oxford_flowers", "OxfordFlowers"),
    ("oxford_flowers", "flowers102"),
    ("food101", "Food101"),
    ("fgvc_aircraft", "FGVCAircraft"),
    ("fgvc_aircraft", "fgvc-aircraft-2013b/data"),
    ("sun397", "SUN397"),
    ("dtd", "DTD"),
    ("eurosat", "EuroSAT"),
    ("ucf101", "UCF101"),
    ("imagenet", "ImageNet"),
    ("imagenetv2", "ImageNet-V2"),
    ("imagenet_sketch", "imagenet_sketch"),
    ("imagenet_a", "ImageNet-A"),
    ("imagenet_r", "imagenet_r"),
]
PLACES = [
    ("imagenet", ""),
    ("caltech101", "caltech-101/101_ObjectCategories"),
    ("food101", "food-101/images"),
    ("sun397", ""),
    ("dtd", "dtd/images"),
    ("eurosat", "EuroSAT_RGB"),
    ("imagenetv2", ""),
    ("imagenet_sketch", "sketch"),
    ("imagenet_a", ""),
]


def pairs(pictures: tuple[Picture, ...]) -> list[tuple[str, int]]:
    return [(path, label) for path, label in pictures]


def check(splits: Splits, tree: Any) -> None:
    assert splits.class_names == tree.class_names
    for part in ("train", "val", "test"):
        assert pairs(getattr(splits, part)) == getattr(tree, part), part


def one_line_error(name: str, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(name, str(root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_is_read_exactly(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    place = tree.write(tmp_path)
    splits = read_dataset(name, str(tmp_path))
    check(splits, tree)
    assert splits.folder == place
    assert splits.layout == ()
    assert not broken_pictures(splits.folder, [*splits.train, *splits.val, *splits.test])
    assert read_dataset(name, str(tmp_path)).train is splits.train  # read once


@pytest.mark.parametrize("name", NAMES)
def test_prompts(name: str, tree_of: TreeOf) -> None:
    row = find_dataset(name)
    classes, zeroshot, finetune = PROMPTS[name]
    assert row.expected is not None
    assert row.expected.classes == classes
    for which, expected in (("zeroshot", zeroshot), ("finetune", finetune)):
        prompts = [fill_template(row.template_of(which), class_name) for class_name in tree_of(name).class_names]
        assert expected in prompts
    assert row.template_of("my {} here") == "my {} here"


def test_expected_counts() -> None:
    known = {row.name: tuple(row.expected)[1:] for row in DATASETS.values() if row.expected}
    assert known == {
        "imagenet": (1281167, 0, 50000),
        "caltech101": (4128, 1649, 2465),
        "oxford_pets": (2944, 736, 3669),
        "stanford_cars": (6509, 1635, 8041),
        "oxford_flowers": (4093, 1633, 2463),
        "food101": (50500, 20200, 30300),
        "fgvc_aircraft": (3334, 3333, 3333),
        "sun397": (15880, 3970, 19850),
        "dtd": (2820, 1128, 1692),
        "eurosat": (13500, 5400, 8100),
        "ucf101": (7639, 1898, 3783),
        "imagenetv2": (0, 0, 10000),
        "imagenet_sketch": (0, 0, 50889),
        "imagenet_a": (0, 0, 7500),
        "imagenet_r": (0, 0, 30000),
    }
    assert all("https://" in row.source for row in DATASETS.values() if row.expected)


@pytest.mark.parametrize(("name", "alias"), ALIASES)
def test_other_names_of_the_folder(name: str, alias: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    tree.write(tmp_path, alias)
    assert find_folder(find_dataset(name), str(tmp_path)) == tmp_path / alias
    splits = read_dataset(name, str(tmp_path))
    check(splits, tree)
    assert splits.layout == (f"folder {alias}/ (usually {tree.folder}/)",)
    assert dataset_status(name, str(tmp_path)).layout == splits.layout


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_other_places_of_the_pictures(name: str, place: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    tree.write(tmp_path, images=place)
    shutil.rmtree(tmp_path / tree.folder / tree.images, ignore_errors=True)
    splits = read_dataset(name, str(tmp_path))
    # Same paths, so the same few-shot samples and indexes that fit both.
    check(splits, tree)
    assert splits.folder == tmp_path / tree.folder / place
    assert splits.layout == (f"pictures in {place or '.'}/ (usually {tree.images}/)",)
    assert not broken_pictures(splits.folder, splits.test)


def test_no_folder_name_means_two_data_sets() -> None:
    names = [(row.name, name) for row in DATASETS.values() if row.expected for name in (row.folder, *row.aliases)]
    owners: dict[str, str] = {}
    for owner, name in names:
        assert owners.setdefault(spelling(name), owner) == owner


@pytest.mark.parametrize("name", NAMES)
def test_windows_line_ends_byte_order_mark_and_blank_lines(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    tree.write(tmp_path)
    for path in tree.texts:
        file = tmp_path / tree.folder / path
        text = file.read_text().replace("\n", "  \r\n") + "\r\n\r\n"
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    check(read_dataset(name, str(tmp_path)), tree)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_labels_a_data_set_says_which_file_is_missing(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    tree.write(tmp_path)
    (tmp_path / tree.folder / tree.labels).unlink()
    message = one_line_error(name, tmp_path)
    assert tree.labels in message
    assert str(tmp_path / tree.folder) in message
    assert "DATASETS.md" in message
    status = dataset_status(name, str(tmp_path))
    assert (status.state, status.problem) == ("unreadable", message)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LISTED])
def test_a_missing_picture_is_named(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    place = tree.write(tmp_path)
    path, _ = tree.train[0]
    (place / path).unlink()
    splits = read_dataset(name, str(tmp_path))
    check(splits, tree)
    status = dataset_status(name, str(tmp_path))
    assert (status.missing, status.first_missing, status.state) == (1, (path,), "incomplete")
    with pytest.raises(UserError, match="is missing: restore it") as caught:
        check_pictures(splits.folder, few_shot_sample(splits.train, 16, 1))
    assert str(place / path) in str(caught.value)


@pytest.mark.parametrize("name", LISTED)
def test_a_missing_picture_of_a_listed_data_set_lacks_in_its_counts(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    place = tree.write(tmp_path)
    (place / tree.test[-1][0]).unlink()
    status = dataset_status(name, str(tmp_path))
    assert status.counts is not None
    assert status.counts.test == len(tree.test) - 1
    assert "test" in status.differing


@pytest.mark.parametrize("name", NAMES)
def test_counts_other_than_expected_are_said_and_no_error(
    name: str, tree_of: TreeOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tree_of(name)
    tree.write(tmp_path)
    status = dataset_status(name, str(tmp_path))
    expected = find_dataset(name).expected
    assert expected is not None
    assert (status.problem, status.missing, status.counts, status.expected) == (None, 0, tree.counts, expected)
    unequal = {
        part for part, count in zip(expected._fields, tree.counts, strict=True) if count != getattr(expected, part)
    }
    assert set(status.differing) == unequal
    assert status.state == "incomplete"


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_every_kind(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    place = tree.write(tmp_path)
    red = Image.new("RGB", (24, 20), (255, 0, 0))
    kinds = {
        "cmyk": (red.convert("CMYK"), "JPEG", (254, 0, 0)),
        "palette": (red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", (255, 0, 0)),
        "16 bits": (Image.fromarray(np.full((20, 24), 257 * 100, np.uint16)), "PNG", (100, 100, 100)),
    }
    (cut, _), *others = tree.test[:4]
    (place / cut).write_bytes((place / cut).read_bytes()[:-60])
    for (path, _), (image, form, _) in zip(others, kinds.values(), strict=False):
        data = io.BytesIO()
        image.save(data, form)
        (place / path).write_bytes(data.getvalue())
    splits = read_dataset(name, str(tmp_path))
    check(splits, tree)
    for (path, _), (_, _, colour) in zip(others, kinds.values(), strict=False):
        pixels = np.array(read_picture(splits.folder, path)).reshape(-1, 3)
        assert np.abs(pixels - np.array(colour)).max() <= 1
    with pytest.raises(UserError, match=r"cannot be decoded \(.*(?i:truncated)") as caught:
        check_pictures(splits.folder, splits.test)
    assert str(place / cut) in str(caught.value)
    usable, broken = check_pictures(splits.folder, splits.test, skip_broken=True)
    assert [problem.path for problem in broken] == [cut]
    assert usable == list(splits.test[1:])


@pytest.mark.parametrize("name", ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"])
@pytest.mark.parametrize("imagenet", ["imagenet", "ImageNet"])
def test_variants_take_class_names_from_imagenets_folder(
    name: str, imagenet: str, tree_of: TreeOf, tmp_path: Path
) -> None:
    tree = tree_of(name)
    tree.write(tmp_path)
    (tmp_path / imagenet).mkdir()
    (tmp_path / tree.folder / "classnames.txt").rename(tmp_path / imagenet / "classnames.txt")
    splits = read_dataset(name, str(tmp_path))
    check(splits, tree)
    assert splits.layout == (f"classnames.txt of {imagenet}/",)


def test_class_names_that_are_nowhere_are_missed_in_both_places(tree_of: TreeOf, tmp_path: Path) -> None:
    tree_of("imagenet_a").write(tmp_path)
    (tmp_path / "imagenet-adversarial" / "classnames.txt").unlink()
    message = one_line_error("imagenet_a", tmp_path)
    assert message.startswith(
        f"classnames.txt is neither in '{tmp_path}/imagenet-adversarial' nor in '{tmp_path}/imagenet': get it"
    )


def test_labels_of_the_variants_are_those_of_imagenet_or_their_own(tree_of: TreeOf, tmp_path: Path) -> None:
    for name in ("imagenet", "imagenet_sketch", "imagenet_a"):
        tree_of(name).write(tmp_path)
    imagenet, sketch, adversarial = (
        read_dataset(name, str(tmp_path)) for name in ("imagenet", "imagenet_sketch", "imagenet_a")
    )
    assert sketch.class_names == imagenet.class_names
    assert adversarial.class_names == ("goldfish", "tiger")
    assert {label for _, label in adversarial.test} == {0, 1}


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("imagenet", "images/val/n01440764", "lacks the folders of 1 of 4 classes (n01440764)"),
        (
            "imagenet",
            "images/val",
            "has no images/val nor val: it must contain the test images, one folder per WordNet id",
        ),
        ("imagenetv2", "imagenetv2-matched-frequency-format-val/10", "lacks the folders of 1 of 12 classes (10)"),
        ("imagenet_sketch", "images/n01491361", "lacks the folders of 1 of 4 classes (n01491361)"),
        ("imagenet_r", "imagenet-r", "no folder of a class of classnames.txt in"),
        ("fgvc_aircraft", "images_variant_val.txt", "images_variant_val.txt' does not exist"),
    ],
)
def test_what_is_not_there(name: str, change: str, expected: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree_of(name).write(tmp_path)
    path = tmp_path / find_dataset(name).folder / change
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert expected in one_line_error(name, tmp_path)


def test_imagenet_without_training_pictures_is_for_testing(tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of("imagenet")
    shutil.rmtree(tree.write(tmp_path) / "train")
    splits = read_dataset("imagenet", str(tmp_path))
    assert (splits.train, pairs(splits.test)) == ((), tree.test)
    assert splits.layout == ("no images/train/: for testing only",)


@pytest.mark.parametrize(
    ("name", "file", "text", "expected"),
    [
        ("imagenet", "classnames.txt", "n01440764\n", "'n01440764' has no class name; expected lines such as"),
        ("imagenet", "classnames.txt", "n1 a\nn1 b\n", "'n1' is named twice"),
        ("imagenet", "classnames.txt", "\n", "is empty: expected lines such as"),
        ("imagenet", "classnames.txt", "n01440764 tench\n", "n01443537' is no class of classnames.txt"),
        ("imagenet_a", "classnames.txt", "n01443537 goldfish\n", "n01491361' is no class of classnames.txt"),
        (
            "fgvc_aircraft",
            "images_variant_train.txt",
            "0034309 A301\n",
            "'0034309 A301' names no class of variants.txt. Did you mean 'A310'?",
        ),
        ("fgvc_aircraft", "variants.txt", "A310\nA310\n", "must name every class once"),
        ("fgvc_aircraft", "variants.txt", "", "must name every class once: it has 0 lines"),
    ],
)
def test_text_files_of_another_form(
    name: str, file: str, text: str, expected: str, tree_of: TreeOf, tmp_path: Path
) -> None:
    tree_of(name).write(tmp_path)
    (tmp_path / find_dataset(name).folder / file).write_text(text)
    assert expected in one_line_error(name, tmp_path)


def test_validation_pictures_of_imagenet_that_were_not_sorted_into_folders(tree_of: TreeOf, tmp_path: Path) -> None:
    place = tree_of("imagenet").write(tmp_path)
    for file in sorted((place / "val").glob("*/*")):
        file.rename(place / "val" / file.name)
    for wordnet_id in ("n01440764", "n01443537", "n01484850", "n01491361"):
        (place / "val" / wordnet_id).rmdir()
    assert "are not in class folders: sort them into one per WordNet id" in one_line_error("imagenet", tmp_path)


def test_files_that_are_no_pictures_are_left_out(tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of("imagenet")
    place = tree.write(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "list.txt"):
        (place / "val" / "n01440764" / name).write_text("no picture")
    (place / "val" / ".hidden").mkdir()
    (place / "train" / "notes.txt").write_text("no folder")
    check(read_dataset("imagenet", str(tmp_path)), tree)
