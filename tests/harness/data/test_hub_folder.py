"""Parquet files and saved folders: from tables with pictures in them to the exact lists, and what may be wrong."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from harness.data.datasets import find_dataset, own_content, read_dataset
from harness.data.image_folder import HASHED
from harness.data.pictures import missing_pictures, read_picture
from harness.data.readers import UNTESTED, Picture, Splits
from harness.data.status import dataset_status
from harness.errors import UserError
from tests.harness.data.hub_trees import (
    FEATURES,
    NAMES,
    cells,
    class_label,
    image_table,
    picture,
    with_features,
    write_arrow,
    write_dataset,
    write_parquet,
    write_saved,
)

TRAIN, TEST, VAL = (f"data/{split}-00000-of-00001.parquet" for split in ("train", "test", "validation"))


def listed(file: str, count: int, name: str = "x_{}.png") -> tuple[Picture, ...]:
    """The pictures of a table of `hub_trees`."""
    return tuple(Picture(f"{file}/image/{row}/{name.format(row)}", row % 3) for row in range(count))


def colours(splits: Splits, split: str) -> list[int]:
    """What distinguishes the pictures of a split."""
    found = [read_picture(splits.folder, path).getpixel((0, 0)) for path, _ in getattr(splits, split)]
    return [pixel[0] for pixel in found if isinstance(pixel, tuple)]


def error_of(folder: Path, options: str = "") -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(f"hf:{folder}{options}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parquet_with_pictures_to_the_exact_lists(tmp_path: Path) -> None:
    splits = read_dataset(f"hf:{write_dataset(tmp_path, validation=3)}")
    assert (splits.folder, splits.class_names) == (tmp_path, NAMES)
    assert (splits.train, splits.val, splits.test) == (listed(TRAIN, 12), listed(VAL, 3), listed(TEST, 6))
    assert colours(splits, "train") == list(range(12))
    assert colours(splits, "test") == list(range(100, 106))
    assert (splits.layout, splits.remarks) == (("splits as the data set has them", "columns image and label"), ())
    assert missing_pictures(tmp_path, [*splits.train, *splits.test]) == []
    assert dataset_status(f"hf:{tmp_path}").counts == (3, 12, 3, 6)


def test_a_run_that_is_not_tested_reads_no_test_label(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    write_parquet(tmp_path / TEST, image_table(3, label=[0, 1, 77]))
    splits = read_dataset(f"hf:{tmp_path}", splits=UNTESTED)
    assert (splits.train, splits.test) == (listed(TRAIN, 12), ())
    assert "has the label 77, and the classes are labels 0 to 2" in error_of(tmp_path)


def test_it_is_known_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert own_content(f"hf:{tmp_path}/a") == own_content(f"hf:{tmp_path}/b")
    write_parquet(tmp_path / "b" / TEST, image_table(6, 101))
    assert own_content(f"hf:{tmp_path}/a") != own_content(f"hf:{tmp_path}/b")


def test_a_template_of_its_own(tmp_path: Path) -> None:
    (write_dataset(tmp_path) / "template.txt").write_text("a drawing of {article} {}.")
    assert find_dataset(f"hf:{tmp_path}").template == "a drawing of {article} {}."


def test_the_readme_names_the_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / TRAIN, image_table(6, features=None))
    write_parquet(tmp_path / TEST, image_table(6, features=None))
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - {name: image, dtype: image}\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': a\n          '2': c\n          '1': b\n---\n"
    )
    assert read_dataset(f"hf:{tmp_path}").class_names == ("a", "b", "c")


def test_a_folder_that_was_saved_to_disk(tmp_path: Path) -> None:
    table = image_table(7, features=None)
    write_saved(tmp_path / "train", table)
    write_saved(tmp_path / "test", image_table(4, 50), split="test")
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    splits = read_dataset(f"hf:{tmp_path}")
    assert (splits.class_names, splits.test) == (NAMES, listed("test/data-00000-of-00001.arrow", 4))
    assert colours(splits, "train") == list(range(7))
    assert colours(splits, "test") == [50, 51, 52, 53]


def test_one_split_that_was_saved_to_disk_is_split_by_hash(tmp_path: Path) -> None:
    splits = read_dataset(f"hf:{write_saved(tmp_path, image_table(30))}")
    assert splits.layout[0] == HASHED
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [15, 6, 9]
    assert sorted((*splits.train, *splits.val, *splits.test)) == sorted(listed("data-00000-of-00001.arrow", 30))


def test_a_selection_of_rows_is_refused(tmp_path: Path) -> None:
    write_saved(tmp_path, image_table(6))
    (tmp_path / "state.json").write_text(json.dumps({"_indices_data_files": [{"filename": "indices.arrow"}]}))
    assert "holds a selection of rows: save it again after flatten_indices()" in error_of(tmp_path)


def test_an_arrow_file_with_a_footer(tmp_path: Path) -> None:
    table = image_table(6)
    with pa.OSFile(str(tmp_path / "train.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    write_arrow(tmp_path / "test.arrow", table)
    splits = read_dataset(f"hf:{tmp_path}")
    assert colours(splits, "train") == colours(splits, "test") == list(range(6))


@pytest.mark.parametrize("beside", [True, False])
def test_paths_in_a_column(tmp_path: Path, beside: bool) -> None:
    for number in range(12):
        path = tmp_path / "imgs" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number))
    paths = [f"imgs/{number}.png" if beside else str(tmp_path / f"imgs/{number}.png") for number in range(12)]
    for name, some in (("train", paths[:6]), ("test", paths[6:])):
        write_parquet(tmp_path / f"{name}.parquet", pa.table({"file_name": some, "label": ["b", "a"] * 3}))
    splits = read_dataset(f"hf:{tmp_path}")
    assert splits.class_names == ("a", "b")
    assert splits.train[:2] == (Picture("imgs/0.png", 1), Picture("imgs/1.png", 0))
    assert colours(splits, "test") == [6, 7, 8, 9, 10, 11]


def test_structs_that_hold_paths_alone(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(picture(3))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array([{"bytes": None, "path": "x.png"}] * 4, kind), "label": [0, 1, 2, 0]})
    write_parquet(tmp_path / "test.parquet", with_features(table, FEATURES))
    assert colours(read_dataset(f"hf:{tmp_path}"), "test") == [3, 3, 3, 3]


def test_bytes_without_a_struct_and_names_of_another_column(tmp_path: Path) -> None:
    images = [picture(number) for number in range(6)]
    for name in ("train", "test"):
        table = pa.table({"jpg": images, "class_name": ["x y", "z", "z"] * 2, "id": list("abcdef")})
        write_parquet(tmp_path / f"{name}.parquet", table)
    splits = read_dataset(f"hf:{tmp_path}")
    assert (splits.class_names, splits.train[0]) == (("x y", "z"), Picture("train.parquet/jpg/0", 0))
    assert colours(splits, "test") == list(range(6))


def test_the_user_names_columns_and_splits(tmp_path: Path) -> None:
    features = {**FEATURES, "thumb": {"_type": "Image"}, "kind": class_label(["small", "large"])}
    for split in ("train", "contrast"):
        table = image_table(6, features=features, thumb=cells(6, 30), kind=[0, 1] * 3)
        write_parquet(tmp_path / f"data/{split}-00000-of-00001.parquet", table)
    splits = read_dataset(f"hf:{tmp_path}:image=thumb:label=kind:test=contrast")
    assert splits.class_names == ("small", "large")
    assert colours(splits, "test") == [30, 31, 32, 33, 34, 35]
    assert "test is split contrast" in splits.layout


def test_without_a_test_split_validation_is_tested_on(tmp_path: Path) -> None:
    write_dataset(tmp_path, test=0, validation=6)
    splits = read_dataset(f"hf:{tmp_path}")
    assert (splits.val, splits.test) == ((), listed(VAL, 6))
    assert any("tested on validation" in fact for fact in splits.layout)
    assert read_dataset(f"hf:{tmp_path}", splits=UNTESTED).val == ()


@pytest.mark.parametrize("label", [-1, None])
def test_a_test_split_without_labels_is_none(tmp_path: Path, label: int | None) -> None:
    write_dataset(tmp_path, validation=6)
    write_parquet(tmp_path / TEST, image_table(4, label=pa.array([label] * 4, pa.int64())))
    assert read_dataset(f"hf:{tmp_path}").test == listed(VAL, 6)


def test_for_testing_only(tmp_path: Path) -> None:
    splits = read_dataset(f"hf:{write_dataset(tmp_path, train=0)}")
    assert (splits.class_names, splits.train, len(splits.test)) == (NAMES, (), 6)
    assert read_dataset(f"hf:{tmp_path}", splits=UNTESTED).test == ()


def test_classes_without_pictures_are_left_out(tmp_path: Path) -> None:
    features = {**FEATURES, "label": class_label(["nothing", "cat", "dog"])}
    for file in (TRAIN, TEST):
        write_parquet(tmp_path / file, image_table(4, features=features, label=[1, 2, 1, 2]))
    splits = read_dataset(f"hf:{tmp_path}")
    assert (splits.class_names, [label for _, label in splits.train]) == (("cat", "dog"), [0, 1, 0, 1])
    assert splits.remarks == ("1 classes without images left out, such as 'nothing'",)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classnames.txt", "a cat\na dog\na panda\n"),
        ("classnames.txt", "2 a panda\n0 a cat\n1 a dog\n"),
        ("classnames.json", '["a cat", "a dog", "a panda"]'),
        ("classnames.json", '{"0": "a cat", "1": "a dog", "2": "a panda"}'),
        ("elsewhere.txt", "a cat\na dog\na panda\n"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_names_of_numbers_from_a_file(tmp_path: Path, file: str, text: str, named: bool) -> None:
    for split in (TRAIN, TEST):
        write_parquet(tmp_path / split, image_table(6, features=FEATURES if named else None))
    (tmp_path / file).write_text(text)
    options = f":names={file}" if file.startswith("elsewhere") else ""
    assert read_dataset(f"hf:{tmp_path}{options}").class_names == ("a cat", "a dog", "a panda")


def test_names_of_names_from_a_file(tmp_path: Path) -> None:
    for split in (TRAIN, TEST):
        write_parquet(tmp_path / split, image_table(6, features=None, label=["n01 x", "n02", "n01"] * 2))
    (tmp_path / "classnames.txt").write_text("n01 x tench\n")
    assert read_dataset(f"hf:{tmp_path}").class_names == ("n01", "tench", "n02")
    (tmp_path / "classnames.txt").write_text("n02 goldfish\nn03 shark\n")
    assert "'n03' is no class. Did you mean 'n02'?" in error_of(tmp_path, ":names=classnames.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n", "classnames.txt' has 2 names, and '"),
        ("a\n\nc\n", "gives no name to label 1"),
        ("0 a\n1 b\n5 c\n", "gives no name to label 2, which pictures have"),
        ("0 a\n1 b\n2 a\n", "classes 0 and 2 in '"),
    ],
)
def test_files_of_names_that_do_not_fit(tmp_path: Path, text: str, expected: str) -> None:
    for split in (TRAIN, TEST):
        write_parquet(tmp_path / split, image_table(6, features=None))
    (tmp_path / "classnames.txt").write_text(text)
    assert expected in error_of(tmp_path)


@pytest.mark.parametrize(("labels", "expected"), [([0, 1, 2] * 2, "extra"), ([-1] * 6, "extra, test")])
def test_a_split_that_serves_as_nothing_is_told(tmp_path: Path, labels: list[int], expected: str) -> None:
    write_dataset(tmp_path, test=0)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", image_table(6, label=labels))
    write_parquet(tmp_path / "data" / "extra-00000-of-00001.parquet", image_table(3))
    assert f"not used: split {expected}" in read_dataset(f"hf:{tmp_path}").remarks
