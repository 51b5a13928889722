"""The field's 15 data sets: read exactly, under other names too, and what is said where something is broken."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.catalog import DATASETS
from harness.data.clip_datasets import CLIP_ROWS
from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.fewshot import few_shot_sample
from harness.data.pictures import broken_pictures, check_pictures, read_picture
from harness.data.status import dataset_status
from harness.errors import UserError
from tests.harness.data.trees import TreeOf, check, one_line_error

NAMES = [row.name for row in DATASETS.values() if row.expected and row not in CLIP_ROWS]
LISTED = ["imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
FOLDERS = ["caltech101", "food101", "dtd", "eurosat"]
"""Data sets whose class folders suffice for a split of their own."""
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


@pytest.mark.parametrize("name", NAMES)
def test_windows_line_ends_byte_order_mark_and_blank_lines(name: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of(name)
    tree.write(tmp_path)
    for path in tree.texts:
        file = tmp_path / tree.folder / path
        text = file.read_text().replace("\n", "  \r\n") + "\r\n\r\n"
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    check(read_dataset(name, str(tmp_path)), tree)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in [*FOLDERS, *LISTED]])
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


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("imagenet", "images/val/n01440764", "lacks the folders of 1 of 4 classes (n01440764)"),
        (
            "imagenet",
            "images/val",
            "has no images/val nor val nor ILSVRC/Data/CLS-LOC/val nor Data/CLS-LOC/val: it must contain the test",
        ),
        ("imagenetv2", "imagenetv2-matched-frequency-format-val/10", "lacks the folders of 1 of 12 classes (10)"),
        ("imagenet_sketch", "images/n01491361", "lacks the folders of 1 of 4 classes (n01491361)"),
        ("imagenet_r", "imagenet-r", "no folder of a class of ImageNet in"),
        ("fgvc_aircraft", "images_variant_val.txt", "images_variant_val.txt' does not exist"),
    ],
)
def test_what_is_not_there(name: str, change: str, expected: str, tree_of: TreeOf, tmp_path: Path) -> None:
    tree_of(name).write(tmp_path)
    path = tmp_path / find_dataset(name).folder / change
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert expected in one_line_error(name, tmp_path)


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
