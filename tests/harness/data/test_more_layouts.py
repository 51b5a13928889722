"""GTSRB, Country211, RESISC45 and Birdsnap: read to the exact lists, and what is said if something is broken."""

from pathlib import Path

import pytest

from harness.data.class_lists import named_classes
from harness.data.datasets import read_dataset
from harness.data.pictures import broken_pictures, missing_pictures
from harness.data.readers import UNTESTED
from tests.harness.data.archives import class_tree, touch_pictures, write_lines
from tests.harness.data.trees import one_line_error, pairs

CODES = [line.split(" ", 1)[0] for line in named_classes("country211")]


def country_tree(root: Path, jpeg: bytes) -> None:
    for part in ("train", "valid", "test"):
        class_tree(root / part, CODES, jpeg, 1)


def signs_tree(root: Path, jpeg: bytes, inside: str = "GTSRB") -> None:
    class_tree(root / inside / "Training", [f"{label:05}" for label in range(43)], jpeg, 1)
    touch_pictures(root / inside / "Final_Test" / "Images", ["00000.ppm", "00001.ppm"], jpeg)
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    rows = ["00000.ppm;53;54;6;5;48;49;16", "00001.ppm;42;45;5;5;36;40;1"]
    write_lines(root / "GT-final_test.csv", [header, *rows])


def birds_tree(root: Path, jpeg: bytes) -> None:
    class_tree(root / "download" / "images", ["Acadian_Flycatcher", "Acorn_Woodpecker"], jpeg, 3)
    write_lines(
        root / "test_images.txt", ["path", "Acorn_Woodpecker/001.jpg", "Acadian_Flycatcher/000.jpg", "Gone/1.jpg"]
    )


def test_country211(tmp_path: Path, tiny_jpeg: bytes) -> None:
    country_tree(tmp_path / "country211", tiny_jpeg)
    splits = read_dataset("country211", str(tmp_path))
    assert (len(splits.class_names), splits.class_names[0], splits.class_names[-1]) == (211, "Andorra", "Zimbabwe")
    assert pairs(splits.test)[:2] == [("test/AD/000.jpg", 0), ("test/AE/000.jpg", 1)]
    assert pairs(splits.val)[-1] == ("valid/ZW/000.jpg", 210)
    assert splits.class_names[CODES.index("SJ")] == "Svalbard and Jan Mayen Islands"
    assert not missing_pictures(splits.folder, [*splits.train, *splits.val, *splits.test])
    assert read_dataset("country211", str(tmp_path), UNTESTED).test == ()
    (tmp_path / "country211" / "test" / "DE").rename(tmp_path / "country211" / "train" / "DD")
    (tmp_path / "country211").rename(tmp_path / "Country_211")
    assert "Country_211/train' has the folder of no country: DD" in one_line_error("country211", tmp_path)
    (tmp_path / "Country_211" / "train" / "DD").rename(tmp_path / "DD")
    assert "Country_211/test' lacks folders of countries: DE" in one_line_error("country211", tmp_path)
    (tmp_path / "Country_211" / "valid").rename(tmp_path / "val")
    assert "has no valid/" in one_line_error("country211", tmp_path)


@pytest.mark.parametrize(("folder", "inside"), [("gtsrb", "GTSRB"), ("GTSRB", "")])
def test_gtsrb(folder: str, inside: str, tmp_path: Path, tiny_jpeg: bytes) -> None:
    signs_tree(tmp_path / folder, tiny_jpeg, inside)
    splits = read_dataset("gtsrb", str(tmp_path))
    assert (len(splits.class_names), splits.class_names[14]) == (43, "stop")
    assert pairs(splits.train) == [(f"Training/{label:05}/000.jpg", label) for label in range(43)]
    assert pairs(splits.test) == [("Final_Test/Images/00000.ppm", 16), ("Final_Test/Images/00001.ppm", 1)]
    assert not broken_pictures(splits.folder, [*splits.train, *splits.test])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["Filename;ClassId", "00000.ppm;43"], "has the image '00000.ppm' with the class '43': 0 to 42 are expected"),
        (["Filename;Class", "00000.ppm;4"], "has the image '00000.ppm' with the class ''"),
        (["Filename;ClassId", "../1.ppm;4"], "'../1.ppm' leads out of the data set's folder"),
    ],
)
def test_broken_labels_of_gtsrb(rows: list[str], expected: str, tmp_path: Path, tiny_jpeg: bytes) -> None:
    signs_tree(tmp_path / "gtsrb", tiny_jpeg)
    write_lines(tmp_path / "gtsrb" / "GT-final_test.csv", rows)
    message = one_line_error("gtsrb", tmp_path)
    assert expected in message
    assert "GT-final_test.csv'" in message


def test_parts_of_gtsrb_that_are_missing(tmp_path: Path, tiny_jpeg: bytes) -> None:
    signs_tree(tmp_path / "gtsrb", tiny_jpeg)
    (tmp_path / "gtsrb" / "GT-final_test.csv").rename(tmp_path / "elsewhere")
    assert "has no GT-final_test.csv, the labels of its test images" in one_line_error("gtsrb", tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "gtsrb" / "GT-final_test.csv")
    training = tmp_path / "gtsrb" / "GTSRB" / "Training"
    (training / "00007").rename(training / "7")
    assert "Training' must have the folders 00000 to 00042; it differs in 00007, 7" in one_line_error("gtsrb", tmp_path)
    training.rename(tmp_path / "Training")
    assert "has neither GTSRB/Training/ nor Training/" in one_line_error("gtsrb", tmp_path)


@pytest.mark.parametrize("folder", ["NWPU-RESISC45", "resisc45/NWPU-RESISC45", "resisc45"])
def test_resisc45_without_lists_is_split_here(folder: str, tmp_path: Path, tiny_jpeg: bytes) -> None:
    class_tree(tmp_path / folder, ["airplane", "baseball_diamond"], tiny_jpeg)
    splits = read_dataset("resisc45", str(tmp_path))
    assert splits.class_names == ("airplane", "baseball_diamond")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [12, 4, 4]
    assert splits.remarks == ("own split 60/20/20 by hash (no resisc45-train.txt)",)


def resisc_lists(root: Path, test: str = "airplane_9.jpg") -> None:
    names = [f"{name}_{number}.jpg" for name in ("airplane", "wetland") for number in (1, 2)]
    for part, lines in (("train", names[:2]), ("val", names[2:]), ("test", [test])):
        write_lines(root / f"resisc45-{part}.txt", lines)


def test_resisc45_with_lists_is_read_as_they_say(tmp_path: Path, tiny_jpeg: bytes) -> None:
    root = tmp_path / "resisc45"
    paths = [f"{name}/{name}_{number}.jpg" for name in ("airplane", "wetland") for number in (1, 2, 9)]
    touch_pictures(root / "NWPU-RESISC45", paths, tiny_jpeg)
    resisc_lists(root)
    splits = read_dataset("resisc45", str(tmp_path))
    assert pairs(splits.train) == [("airplane/airplane_1.jpg", 0), ("airplane/airplane_2.jpg", 0)]
    assert pairs(splits.val) == [("wetland/wetland_1.jpg", 1), ("wetland/wetland_2.jpg", 1)]
    assert pairs(splits.test) == [("airplane/airplane_9.jpg", 0)]
    assert splits.remarks == ()
    root.rename(tmp_path / "RESISC45")
    resisc_lists(tmp_path / "RESISC45", "airplane_8.jpg")
    assert "resisc45-test.txt': 'airplane_8.jpg' is in no class folder" in one_line_error("resisc45", tmp_path)


def test_birdsnap(tmp_path: Path, tiny_jpeg: bytes) -> None:
    birds_tree(tmp_path / "birdsnap", tiny_jpeg)
    splits = read_dataset("birdsnap", str(tmp_path))
    assert splits.class_names == ("Acadian_Flycatcher", "Acorn_Woodpecker")
    assert pairs(splits.test) == [("Acadian_Flycatcher/000.jpg", 0), ("Acorn_Woodpecker/001.jpg", 1)]
    assert len(splits.train) == 4
    assert splits.remarks == ("1 of 3 test images are not there",)
    (tmp_path / "birdsnap" / "test_images.txt").unlink()
    (tmp_path / "birdsnap").rename(tmp_path / "Birdsnap")
    assert "Birdsnap' has no test_images.txt: run get_birdsnap.py" in one_line_error("birdsnap", tmp_path)
