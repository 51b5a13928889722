"""Lists of pictures with mistakes: what is refused, and what is told because published lists must stay usable."""

import json
from pathlib import Path

import pytest

from harness.data.readers import Picture, Splits, read_aircraft, read_split_file
from harness.data.sample_file import Sample, read_index, sample_index
from harness.errors import UserError

A, B = ["a/1.jpg", 0, "ant"], ["b/1.jpg", 1, "bee"]


def read(folder: Path, train: list[object], test: list[object]) -> Splits:
    (folder / "split.json").write_text(json.dumps({"train": train, "val": [], "test": test}))
    return read_split_file(folder, "split.json", ["images"])


def refusal(folder: Path, train: list[object]) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, train, [A, B])
    message = str(caught.value)
    assert f"'{folder / 'split.json'}'" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("../../secret.png", "leads out of the data set's folder"),
        ("a/../../secret.png", "leads out of the data set's folder"),
        ("/etc/secret.png", "leads out of the data set's folder"),
        ("C:/secret.png", "is a path of Windows"),
        ("c:secret.png", "is a path of Windows"),
        ("a\\1.jpg", "is a path of Windows"),
        ("..\\secret.png", "is a path of Windows"),
        ("a/\n1.jpg", "is no path of a picture"),
        ("a/\0.jpg", "is no path of a picture"),
        ("\ud800.jpg", "is no path of a picture"),
        ("", "is no path of a picture"),
    ],
)
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, path: str, expected: str) -> None:
    assert expected in refusal(tmp_path, [[path, 0, "ant"], B])


def test_dots_within_a_name_are_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, [["a..b/..c.jpg", 0, "ant"], B], [A, B]).train[0] == Picture("a..b/..c.jpg", 0)


def test_a_link_out_of_the_data_set_is_refused(tmp_path: Path) -> None:
    home, out = tmp_path / "set", tmp_path / "out"
    for folder in (home / "images" / "b", home / "other", out / "a"):
        folder.mkdir(parents=True)
    for path in (out / "a" / "1.jpg", home / "images" / "b" / "1.jpg", home / "other" / "1.jpg"):
        path.touch()
    (home / "images" / "a").symlink_to(out / "a")
    assert "has 'a/1.jpg', which is a link out of" in refusal(home, [A, B])
    (home / "images" / "a").unlink()
    (home / "images" / "a").mkdir()
    (home / "images" / "a" / "1.jpg").symlink_to(out / "a" / "1.jpg")
    assert "has 'a/1.jpg', which is a link out of" in refusal(home, [A, B])
    # Within the data set links are fine, and so are links that nobody lists.
    (home / "images" / "a" / "1.jpg").rename(home / "images" / "a" / "2.jpg")
    (home / "images" / "a" / "1.jpg").symlink_to(home / "other" / "1.jpg")
    assert read(home, [A, B], [A, B]).folder == home / "images"
    (home / "images" / "a" / "2.jpg").unlink()
    # The folder of all images may be elsewhere.
    (home / "images").rename(out / "images")
    (home / "images").symlink_to(out / "images")
    assert len(read(home, [A, B], []).train) == 2


@pytest.mark.parametrize("train", [[A, ["a/1.jpg", 1, "bee"]], [["b/1.jpg", 0, "ant"]]])
def test_a_picture_of_two_classes_is_refused(tmp_path: Path, train: list[object]) -> None:
    assert "as class 0 'ant' and as class 1 'bee': remove one" in refusal(tmp_path, train)


def test_what_is_listed_twice_is_told(tmp_path: Path) -> None:
    splits = read(tmp_path, [A, B, A, A], [A, B])
    assert splits.remarks == (
        "train lists pictures more than once (2 rows too many, the first 'a/1.jpg')",
        "train and test have 2 pictures in common, such as 'a/1.jpg'",
    )
    assert [len(splits.train), len(splits.test)] == [4, 2]
    assert read(tmp_path, [A], [B]).remarks == ()
    assert splits.facts == (*splits.layout, *splits.remarks)


def test_a_sample_with_a_picture_twice_can_be_given_back(tmp_path: Path) -> None:
    splits = read(tmp_path, [A, B, A], [B])
    sample = Sample([*splits.train[::2], splits.train[1]], [])
    (tmp_path / "index.json").write_text(json.dumps(sample_index(sample, splits.class_names)))
    assert read_index(tmp_path / "index.json", splits, 2) == sample
    (tmp_path / "index.json").write_text(json.dumps({"train": [A, A, B, B]}))
    with pytest.raises(UserError, match=r"has train image 'b/1\.jpg' twice"):
        read_index(tmp_path / "index.json", splits, 2)


def test_the_files_of_aircraft_are_checked_like_split_files(tmp_path: Path) -> None:
    (tmp_path / "variants.txt").write_text("one\ntwo\n")
    for split in ("train", "val", "test"):
        (tmp_path / f"images_variant_{split}.txt").write_text("1 one\n2 two\n")
    assert len(read_aircraft(tmp_path, ["images"]).remarks) == 3
    (tmp_path / "images_variant_val.txt").write_text("1 two\n")
    with pytest.raises(UserError, match=r"'1\.jpg' as class 0 'one' and as class 1 'two'"):
        read_aircraft(tmp_path, ["images"])
    (tmp_path / "images_variant_val.txt").write_text("../1 two\n")
    with pytest.raises(UserError, match=r"images_variant_val\.txt': '\.\./1' leads out"):
        read_aircraft(tmp_path, ["images"])


@pytest.mark.parametrize("row", [["a/1.jpg", 1.7, "ant"], ["a/1.jpg", True, "ant"], [None, 0, "ant"], ["a", 0, 5]])
def test_values_of_another_kind_are_refused(tmp_path: Path, row: list[object]) -> None:
    assert "is none of these rows" in refusal(tmp_path, [row, B])


@pytest.mark.parametrize("name", ["", " _ ", "a\nb", "\ud800", "x" * 2000])
def test_names_that_no_class_can_have(tmp_path: Path, name: str) -> None:
    assert "name" in refusal(tmp_path, [["c.jpg", 2, name]])
