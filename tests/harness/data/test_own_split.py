"""Data sets without the published split file, as their own archives and torchvision lay them out."""

from collections import Counter
from pathlib import Path

import pytest

from harness.data.class_lists import named_classes
from harness.data.datasets import read_dataset
from harness.data.own_split import OWN_SPLIT, split_classes
from harness.data.pictures import broken_pictures, missing_pictures
from harness.data.readers import UNTESTED, Picture, Splits
from tests.harness.data.archives import (
    PER_CLASS,
    cars_tree,
    class_tree,
    flowers_tree,
    pets_tree,
    sun_tree,
    ucf_tree,
    write_lines,
)
from tests.harness.data.trees import one_line_error, pairs


def per_class(splits: Splits) -> list[dict[int, int]]:
    return [dict(Counter(label for _, label in part)) for part in (splits.train, splits.val, splits.test)]


def check_own(splits: Splits, remark: str) -> None:
    """Nothing is in two parts or missing on disk, and the remark is the only one."""
    every = [*splits.train, *splits.val, *splits.test]
    assert len({path for path, _ in every}) == len(every)
    assert not missing_pictures(splits.folder, every)
    assert not broken_pictures(splits.folder, every)
    assert splits.remarks == (remark,)
    assert remark.startswith(OWN_SPLIT)


@pytest.mark.parametrize(
    ("name", "place", "folders", "class_names"),
    [
        ("dtd", "dtd/dtd/images", ["banded", "dotted"], ("banded", "dotted")),
        ("eurosat", "eurosat/2750", ["AnnualCrop", "Forest"], ("Annual Crop Land", "Forest")),
        ("food101", "food-101/images", ["apple_pie", "waffles"], ("apple_pie", "waffles")),
        (
            "caltech101",
            "caltech101/101_ObjectCategories",
            ["BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "accordion"],
            ("face", "leopard", "accordion"),
        ),
    ],
)
def test_class_folders_are_split_in_the_proportions_of_the_field(
    name: str, place: str, folders: list[str], class_names: tuple[str, ...], tmp_path: Path, tiny_jpeg: bytes
) -> None:
    class_tree(tmp_path / place, folders, tiny_jpeg)
    splits = read_dataset(name, str(tmp_path))
    assert splits.class_names == class_names
    split_file = {"dtd": "DescribableTextures", "eurosat": "EuroSAT", "food101": "Food101"}.get(name, "Caltech101")
    check_own(splits, f"own split 50/20/30 by hash (no split_zhou_{split_file}.json)")
    assert per_class(splits) == [dict.fromkeys(range(len(class_names)), number) for number in (5, 2, 3)]
    assert not {"BACKGROUND_Google", "Faces_easy"} & {path.partition("/")[0] for path, _ in splits.train}


def test_a_split_is_the_same_whatever_else_is_wanted(tmp_path: Path, tiny_jpeg: bytes) -> None:
    class_tree(tmp_path / "eurosat" / "2750", ["AnnualCrop", "Forest"], tiny_jpeg)
    whole, untested = read_dataset("eurosat", str(tmp_path)), read_dataset("eurosat", str(tmp_path), UNTESTED)
    assert (untested.train, untested.val, untested.test) == (whole.train, whole.val, ())


def test_a_published_split_file_comes_first(tmp_path: Path, tiny_jpeg: bytes) -> None:
    class_tree(tmp_path / "dtd" / "images", ["banded"], tiny_jpeg)
    row = '[["banded/000.jpg", 0, "banded"]]'
    text = f'{{"train": {row}, "val": [], "test": []}}'
    (tmp_path / "dtd" / "split_zhou_DescribableTextures.json").write_text(text)
    splits = read_dataset("dtd", str(tmp_path))
    assert (pairs(splits.train), splits.test, splits.remarks) == ([("banded/000.jpg", 0)], (), ())


def test_oxford_pets_are_tested_on_the_published_images(tmp_path: Path, tiny_jpeg: bytes) -> None:
    pets_tree(tmp_path / "oxford-iiit-pet", tiny_jpeg)
    splits = read_dataset("oxford_pets", str(tmp_path))
    assert splits.class_names == ("abyssinian", "american_bulldog", "pug")
    assert pairs(splits.test)[:4] == [
        ("Abyssinian_100.jpg", 0),
        ("american_bulldog_100.jpg", 1),
        ("pug_100.jpg", 2),
        ("Abyssinian_101.jpg", 0),
    ]
    assert per_class(splits) == [dict.fromkeys(range(3), number) for number in (8, 2, PER_CLASS)]
    reason = "of training and validation images by hash, test images as published (no split_zhou_OxfordPets.json)"
    check_own(splits, f"own split {reason}")
    folder = tmp_path / "oxford-iiit-pet"
    assert splits.sources == (folder / "annotations" / "trainval.txt", folder / "annotations" / "test.txt")


def test_stanford_cars_have_the_year_first(tmp_path: Path, tiny_jpeg: bytes) -> None:
    cars_tree(tmp_path / "stanford_cars", tiny_jpeg)
    splits = read_dataset("stanford_cars", str(tmp_path))
    assert splits.class_names == ("2000 AM General Hummer SUV", "2012 Acura RL Sedan")
    assert pairs(splits.test)[:2] == [("cars_test/00001.jpg", 0), ("cars_test/00002.jpg", 1)]
    assert per_class(splits) == [dict.fromkeys(range(2), number) for number in (8, 2, PER_CLASS)]
    assert not missing_pictures(splits.folder, [*splits.train, *splits.val, *splits.test])


def test_oxford_flowers_are_named_without_a_file_of_names(tmp_path: Path, tiny_jpeg: bytes) -> None:
    flowers_tree(tmp_path / "flowers-102", tiny_jpeg)
    splits = read_dataset("oxford_flowers", str(tmp_path))
    assert splits.class_names == ("pink primrose", "hard-leaved pocket orchid")
    assert per_class(splits) == [dict.fromkeys(range(2), number) for number in (5, 2, 3)]
    check_own(splits, "own split 50/20/30 by hash (no split_zhou_OxfordFlowers.json)")
    assert {label for path, label in splits.train if path <= "image_00010.jpg"} == {0}


def test_names_of_flowers_in_their_file_come_first(tmp_path: Path, tiny_jpeg: bytes) -> None:
    flowers_tree(tmp_path / "oxford_flowers", tiny_jpeg, {"2": "orchid", "1": "primrose", "3": "rose"})
    assert read_dataset("oxford_flowers", str(tmp_path)).class_names == ("primrose", "orchid")
    assert len(named_classes("oxford_flowers")) == 102
    assert named_classes("oxford_flowers")[101] == "blackberry lily"


def test_sun397_with_its_partitions_is_tested_on_the_published_images(tmp_path: Path, tiny_jpeg: bytes) -> None:
    sun_tree(tmp_path / "sun397", tiny_jpeg, partitions=True)
    splits = read_dataset("sun397", str(tmp_path))
    assert splits.class_names == ("abbey", "outdoor church")
    assert pairs(splits.test)[:2] == [("a/abbey/010.jpg", 0), ("c/church/outdoor/010.jpg", 1)]
    assert per_class(splits) == [dict.fromkeys(range(2), number) for number in (8, 2, PER_CLASS)]
    assert not missing_pictures(splits.folder, splits.test)


@pytest.mark.parametrize("inside", ["", "SUN397"])
def test_sun397_of_torchvision_has_no_partitions(inside: str, tmp_path: Path, tiny_jpeg: bytes) -> None:
    sun_tree(tmp_path / "SUN397", tiny_jpeg, partitions=False, inside=inside)
    splits = read_dataset("sun397", str(tmp_path))
    assert per_class(splits) == [dict.fromkeys(range(2), number) for number in (8, 2, 10)]
    check_own(splits, "own split 40/10/50 by hash of 100 images a class (no split_zhou_SUN397.json)")


def test_ucf101_is_tested_on_the_published_frames(tmp_path: Path, tiny_jpeg: bytes) -> None:
    ucf_tree(tmp_path / "ucf101", tiny_jpeg)
    splits = read_dataset("ucf101", str(tmp_path))
    assert splits.class_names == ("Apply_Eye_Makeup", "Yo_Yo")
    assert pairs(splits.test)[:2] == [
        ("Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg", 0),
        ("Yo_Yo/v_YoYo_g01_c01.jpg", 1),
    ]
    assert per_class(splits) == [dict.fromkeys(range(2), number) for number in (8, 2, 7)]
    assert not missing_pictures(splits.folder, [*splits.train, *splits.val, *splits.test])


def test_ucf101_as_videos_is_refused(tmp_path: Path) -> None:
    video = tmp_path / "UCF101" / "UCF-101" / "YoYo" / "v_YoYo_g01_c01.avi"
    video.parent.mkdir(parents=True)
    video.touch()
    message = one_line_error("ucf101", tmp_path)
    assert f"'{tmp_path}/UCF101/UCF-101' has videos: the field's UCF101 is the middle frame of each" in message


@pytest.mark.parametrize(
    ("name", "file", "text", "expected"),
    [
        (
            "oxford_pets",
            "annotations/test.txt",
            "Abyssinian\n",
            "'Abyssinian' is no line such as 'Abyssinian_100 1 1 1'",
        ),
        ("oxford_pets", "annotations/test.txt", "pug_1 1 1 1\n", "class 1 is called both 'abyssinian' and 'pug'"),
        ("oxford_pets", "annotations/trainval.txt", "../pug_1 3 1 1\n", "'../pug_1.jpg' leads out of the data set's"),
        ("oxford_pets", "annotations/trainval.txt", "pug_1 3 1 1\npug_2 3 1 1\n", "is there as class"),
        ("stanford_cars", "devkit/cars_meta.mat", "no such thing", "cars_meta.mat' cannot be read as a MATLAB file"),
        ("stanford_cars", "devkit/cars_train_annos.mat", "", "cars_train_annos.mat' cannot be read as a MATLAB file"),
        ("oxford_flowers", "imagelabels.mat", "text", "imagelabels.mat' cannot be read as a MATLAB file"),
        ("oxford_flowers", "cat_to_name.json", "[1]", "cat_to_name.json' is no JSON object of class numbers and names"),
        ("oxford_flowers", "cat_to_name.json", '{"1": "a"}', "class 2 has no name in"),
        ("sun397", "Testing_01.txt", "/a/abey/1.jpg\n", "is of no class of ClassName.txt. Did you mean 'a/abbey'"),
        ("sun397", "ClassName.txt", "", "ClassName.txt' is empty"),
        (
            "ucf101",
            "ucfTrainTestlist/testlist01.txt",
            "YoYos/v.avi\n",
            "is of no class of classInd.txt. Did you mean 'YoYo'",
        ),
        ("ucf101", "ucfTrainTestlist/classInd.txt", "1\n", "'1' is no line such as '1 ApplyEyeMakeup'"),
        ("ucf101", "ucfTrainTestlist/classInd.txt", "3 YoYo\n4 ApplyEyeMakeup\n", "has 2 classes, but no class 1"),
    ],
)
def test_one_thing_broken_is_one_line(
    name: str, file: str, text: str, expected: str, tmp_path: Path, tiny_jpeg: bytes
) -> None:
    folder = tmp_path / name
    if name == "sun397":
        sun_tree(folder, tiny_jpeg, partitions=True)
    else:
        {"oxford_pets": pets_tree, "stanford_cars": cars_tree, "oxford_flowers": flowers_tree, "ucf101": ucf_tree}[
            name
        ](folder, tiny_jpeg)
    (folder / file).write_text(text)
    if "is there as class" in expected:
        write_lines(folder / file, ["pug_1 3 1 1", "american_pug_1 2 1 1", "pug_1 2 1 1"])
        expected = "class 2 is called both 'american_pug' and 'pug'"
    message = one_line_error(name, tmp_path)
    assert expected in message
    assert file.rpartition("/")[2] in message or "imagelabels.mat" in message


def test_a_class_without_images_is_named(tmp_path: Path, tiny_jpeg: bytes) -> None:
    class_tree(tmp_path / "eurosat" / "2750", ["AnnualCrop"], tiny_jpeg)
    (tmp_path / "eurosat" / "2750" / "Forest").mkdir()
    assert "2750/Forest' has no images: restore them" in one_line_error("eurosat", tmp_path)


def test_a_missing_variable_of_matlab_is_named(tmp_path: Path, tiny_jpeg: bytes) -> None:
    flowers_tree(tmp_path / "oxford_flowers", tiny_jpeg)
    cars_tree(tmp_path / "stanford_cars", tiny_jpeg)
    (tmp_path / "stanford_cars" / "devkit" / "cars_meta.mat").rename(tmp_path / "oxford_flowers" / "imagelabels.mat")
    assert "imagelabels.mat' has no variable 'labels'" in one_line_error("oxford_flowers", tmp_path)


def test_shares_are_of_every_class_and_do_not_depend_on_other_classes() -> None:
    pictures = [Picture(f"{label}/{number}.jpg", label) for label in range(3) for number in range(7)]
    train, val, test = split_classes(pictures, (0.5, 0.2))
    assert [len(part) for part in (train, val, test)] == [12, 3, 6]  # 3.5 is rounded to 4, 1.4 to 1
    alone = split_classes(pictures[:7], (0.5, 0.2))
    assert [[picture for picture in part if picture.label == 0] for part in (train, val, test)] == [*map(list, alone)]
    assert sum(len(part) for part in split_classes(pictures, (0.4, 0.1), most=5)) == 15
