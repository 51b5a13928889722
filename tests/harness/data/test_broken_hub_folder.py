"""Each form of the hub with one thing broken, and options that do not fit: one line that says what is wrong."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from harness.data.datasets import read_dataset
from harness.errors import UserError
from tests.harness.data.hub_trees import (
    FEATURES,
    cells,
    class_label,
    image_table,
    labels,
    with_features,
    write_dataset,
    write_parquet,
)

TRAIN, TEST, VAL = (f"data/{split}-00000-of-00001.parquet" for split in ("train", "test", "validation"))


def error_of(folder: Path, options: str = "") -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(f"hf:{folder}{options}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def no_file(folder: Path) -> None:
    shutil.rmtree(folder / "data")


def cut_file(folder: Path) -> None:
    (folder / TRAIN).write_bytes((folder / TRAIN).read_bytes()[:-40])


def empty_file(folder: Path) -> None:
    (folder / TRAIN).write_bytes(b"")


def pointer(folder: Path) -> None:
    (folder / TRAIN).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 34\n")


def pipe(folder: Path) -> None:
    (folder / TRAIN).unlink()
    os.mkfifo(folder / TRAIN)


def missing_part(folder: Path) -> None:
    (folder / TRAIN).rename(folder / "data/train-00000-of-00002.parquet")


def other_columns(folder: Path) -> None:
    write_parquet(folder / TRAIN, pa.table({"text": ["a"], "number": [1]}))


def columns_of_train(**columns: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        features = {**FEATURES, **{name: class_label() for name in columns if name.endswith("_label")}}
        if "fine_label" in columns:
            table = image_table(6, **columns).drop_columns(["label"])
            write_parquet(folder / TRAIN, with_features(table, features))
        else:
            for file in (TRAIN, TEST):
                write_parquet(folder / file, image_table(6, features=None, **columns))

    return change


def other_test_columns(folder: Path) -> None:
    write_parquet(folder / TEST, image_table(6).drop_columns(["image"]))


def half_embedded(folder: Path) -> None:
    some = [*cells(3), *({"bytes": None, "path": "x.png"} for _ in range(3))]
    write_parquet(folder / TRAIN, image_table(6, image=some))


def outside(folder: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array([{"bytes": None, "path": "/elsewhere/x.png"}] * 3, kind), "label": labels(3)})
    write_parquet(folder / TRAIN, with_features(table, FEATURES))


def other_splits(folder: Path) -> None:
    (folder / TRAIN).rename(folder / "data/one-00000-of-00001.parquet")
    (folder / TEST).rename(folder / "data/two-00000-of-00001.parquet")


def class_in_test_alone(folder: Path) -> None:
    write_parquet(folder / TRAIN, image_table(6, label=[0, 1] * 3))


def unlabelled(folder: Path) -> None:
    write_parquet(folder / TRAIN, image_table(3, label=[0, -1, 2]))


def other_numbers(folder: Path) -> None:
    features = {**FEATURES, "label": class_label(["dog", "cat", "red_panda"])}
    write_parquet(folder / TEST, image_table(6, features=features))


def same_names(folder: Path) -> None:
    features = {**FEATURES, "label": class_label(["cat", "a dog", "a_dog"])}
    for file in (TRAIN, TEST):
        write_parquet(folder / file, image_table(6, features=features))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (no_file, "has no .parquet, .arrow or .tar files (it is empty)"),
        (cut_file, "train-00000-of-00001.parquet' cannot be read ("),
        (empty_file, "train-00000-of-00001.parquet' cannot be read ("),
        (pipe, "train-00000-of-00001.parquet' cannot be read (it is no regular file)"),
        (pointer, "train-00000-of-00001.parquet' cannot be read: it is a pointer of Git LFS: `git lfs pull`"),
        (missing_part, "lacks 'data/train-00001-of-00002.parquet', of which the names of its other files tell"),
        (other_columns, "has no column of pictures; its columns are text, number: name one, as in ':image=text'"),
        (columns_of_train(label=[0.5] * 6), "has no column of classes; its columns are image, label: name one"),
        (
            columns_of_train(fine_label=labels(6), coarse_label=labels(6)),
            "columns of classes, fine_label, coarse_label",
        ),
        (columns_of_train(label=labels(6)), "has numbers for classes and no names: put a classnames.txt into"),
        (other_test_columns, "has no column 'image', which '"),
        (half_embedded, "3 of the 6 cells of column 'image' hold no picture"),
        (outside, "names '/elsewhere/x.png', which lies outside"),
        (other_splits, "has the splits one, two, none to test on: name one, as in ':test=NAME'"),
        (class_in_test_alone, "class 'red_panda' has images in split test of"),
        (unlabelled, "split train has pictures without a label, the first is 'data/train-0"),
        (other_numbers, "test-00000-of-00001.parquet' numbers its classes in another way than other files"),
        (same_names, "are both called 'a_dog': give them names of their own with :names=FILE"),
    ],
)
def test_one_thing_is_broken(tmp_path: Path, change: Callable[[Path], None], expected: str) -> None:
    change(write_dataset(tmp_path))
    assert expected in error_of(tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (":fine", "has no configuration 'fine', it has no configurations"),
        (":label=lable", "has no column 'lable' for label=. Did you mean 'label'?"),
        (":image=img", "has no column 'img' for image=."),
        (":test=tset", "has no split 'tset' for test=. Did you mean 'test'?"),
        (":test=train:train=train", "has split 'train' for two of train, val and test"),
        (":names=nowhere.txt", "names=nowhere.txt does not exist"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: str, expected: str) -> None:
    assert expected in error_of(write_dataset(tmp_path), options)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert f"folder '{tmp_path}/x' does not exist: name one with parquet" in error_of(tmp_path / "x")
    write_dataset(tmp_path)
    with pytest.raises(UserError, match=r"has \.parquet files: write hf:/.*; wds: reads .tar files"):
        read_dataset(f"wds:{tmp_path}")
