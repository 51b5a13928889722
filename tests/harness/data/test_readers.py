"""Data set layouts: the split file of the CoOp layout and the picture archives that come with the project."""

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, keep_classes
from harness.data.readers import Picture, read_categories, read_names, read_split_file
from harness.errors import UserError

SPLIT = {
    "train": [["cat/1.jpg", 1, "Cat"], ["dog/1.jpg", 0, "big_dog"], ["eel/1.jpg", 2, "eel"]],
    "val": [["cat/2.jpg", 1, "Cat"]],
    "test": [["dog/3.jpg", 0, "big_dog"], ["cat/3.jpg", 1, "Cat"]],
}


def write_split(folder: Path, content: object) -> Path:
    path = folder / "split_zhou_Pets.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_archive(path: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["file", "name", "category", "split", "group"])
    writer.writeheader()
    writer.writerows(rows)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.csv", text.getvalue())


def test_split_file(tmp_path: Path) -> None:
    write_split(tmp_path, SPLIT)
    splits = read_split_file(tmp_path, "split_zhou_Pets.json", ["images"])
    assert splits.folder == tmp_path / "images"
    assert splits.class_names == ("big_dog", "Cat", "eel")
    assert splits.train == (
        Picture("cat/1.jpg", 1),
        Picture("dog/1.jpg", 0),
        Picture("eel/1.jpg", 2),
    )
    assert splits.val == (Picture("cat/2.jpg", 1),)
    assert splits.test == (Picture("dog/3.jpg", 0), Picture("cat/3.jpg", 1))


def test_pictures_in_the_data_sets_folder_itself(tmp_path: Path) -> None:
    write_split(tmp_path, SPLIT)
    splits = read_split_file(tmp_path, "split_zhou_Pets.json", [""])
    assert (splits.folder, splits.val) == (tmp_path, (Picture("cat/2.jpg", 1),))


def test_the_first_place_that_has_a_picture_is_taken(tmp_path: Path) -> None:
    write_split(tmp_path, SPLIT)
    (tmp_path / "a").mkdir()
    for place in ("b", "c"):
        (tmp_path / place / "cat").mkdir(parents=True)
        (tmp_path / place / "cat" / "2.jpg").touch()
    splits = read_split_file(tmp_path, "split_zhou_Pets.json", ["a", "b", "c"])
    assert (splits.folder, splits.layout) == (tmp_path / "b", ("pictures in b/ (usually a/)",))


def test_a_missing_split_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"split_zhou_Pets.json' does not exist"):
        read_split_file(tmp_path, "split_zhou_Pets.json", ["images"])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{'train': ", id="not JSON"),
        pytest.param([], id="a list"),
        pytest.param({"train": [], "val": []}, id="no test key"),
        pytest.param({**SPLIT, "val": [["cat/2.jpg", 1]]}, id="row without a name"),
        pytest.param({**SPLIT, "val": [["cat/2.jpg", "one", "Cat"]]}, id="label is a word"),
        pytest.param({**SPLIT, "val": 5}, id="split is a number"),
        pytest.param({**SPLIT, "val": [["cat/2.jpg", 1, "cat"]]}, id="two names of a class"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: Any) -> None:
    write_split(tmp_path, content)
    with pytest.raises(UserError, match=r"split_zhou_Pets.json' is no split file: expected lists of") as caught:
        read_split_file(tmp_path, "split_zhou_Pets.json", ["images"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [(0, 2), (1, 2), (-1, 0)])
def test_labels_with_gaps_are_refused(tmp_path: Path, labels: tuple[int, int]) -> None:
    rows = [[f"{label}.jpg", label, f"name {label}"] for label in labels]
    write_split(tmp_path, {"train": rows, "val": [], "test": rows})
    with pytest.raises(UserError, match="expected every number from 0 to classes - 1"):
        read_split_file(tmp_path, "split_zhou_Pets.json", ["images"])


def test_archive_by_category(tmp_path: Path) -> None:
    rows = [
        {"file": "1.png", "name": "x", "category": "tree", "split": "train", "group": "1"},
        {"file": "2.png", "name": "y, z", "category": "bird", "split": "val", "group": "1"},
        {"file": "3.png", "name": "x", "category": "bird", "split": "test", "group": "2"},
        {"file": "4.png", "name": "x", "category": "rest", "split": "test", "group": "2"},
        {"file": "5.png", "name": "x", "category": "bird", "split": "", "group": "2"},
    ]
    write_archive(tmp_path / "a.zip", rows)
    (tmp_path / "c.txt").write_text("bird\ntree\n")
    splits = read_categories(tmp_path, "a.zip", "c.txt")
    assert splits.class_names == ("bird", "tree")
    assert (splits.train, splits.val) == ((Picture("a.zip/1.png", 1),), (Picture("a.zip/2.png", 0),))
    assert splits.test == (Picture("a.zip/3.png", 0),)
    names = read_names(tmp_path, "a.zip", "1")
    assert names.class_names == ("x", "y, z")
    assert (names.train, names.val) == ((), ())
    assert names.test == (Picture("a.zip/1.png", 0), Picture("a.zip/2.png", 1))


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("bird\n")
    with pytest.raises(UserError, match=r"image archive '.*a.zip' cannot be read"):
        read_categories(tmp_path, "a.zip", "c.txt")
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"image archive '.*a.zip' cannot be read"):
        read_names(tmp_path, "a.zip", "1")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("1.png", b"")
    with pytest.raises(UserError, match=r"image archive '.*b.zip' cannot be read"):
        read_names(tmp_path, "b.zip", "1")


def test_embedded_categories() -> None:
    splits = read_dataset("emoji", None)
    assert len(splits.class_names) == len(set(splits.class_names)) == 45
    assert (len(splits.train), len(splits.val), len(splits.test)) == (720, 180, 1336)
    labels = [picture.label for picture in splits.train]
    assert {label: labels.count(label) for label in range(45)} == dict.fromkeys(range(45), 16)
    assert len(keep_classes(splits.test, class_subset(45, "base"))) == 664
    assert len(keep_classes(splits.test, class_subset(45, "new"))) == 672
    paths = [picture.path for split in (splits.train, splits.val, splits.test) for picture in split]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(("style", "count"), [("outline", 829), ("glyph", 1170)])
def test_embedded_styles(style: str, count: int) -> None:
    splits = read_dataset(f"emoji-{style}", None)
    assert splits.class_names == read_dataset("emoji", None).class_names
    assert (len(splits.train), len(splits.val), len(splits.test)) == (0, 0, count)


@pytest.mark.parametrize(
    ("group", "pictures", "names"),
    [("faces", 338, 171), ("animals", 317, 160), ("food", 261, 131), ("travel", 437, 219), ("objects", 528, 266)],
)
def test_embedded_names(group: str, pictures: int, names: int) -> None:
    splits = read_dataset(f"emoji-{group}", None)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (0, 0, pictures)
    assert len(splits.class_names) == len(set(splits.class_names)) == names
    assert {picture.label for picture in splits.test} == set(range(names))


@pytest.mark.parametrize("archive", ["color", "outline", "glyph"])
def test_every_indexed_embedded_picture_is_in_its_archive(archive: str) -> None:
    sets = ["emoji", "emoji-faces", "emoji-animals", "emoji-food", "emoji-travel", "emoji-objects"]
    for name in sets if archive == "color" else [f"emoji-{archive}"]:
        splits = read_dataset(name, None)
        with zipfile.ZipFile(splits.folder / f"emoji-{archive}.zip") as file:
            members = {f"emoji-{archive}.zip/{member}" for member in file.namelist()}
        assert {picture.path for picture in (*splits.train, *splits.val, *splits.test)} <= members
