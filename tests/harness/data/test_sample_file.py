"""k-shot indexes: exported, given back, and refused where they do not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.datasets import read_dataset
from harness.data.fewshot import few_shot_sample
from harness.data.readers import Picture, Splits
from harness.data.sample_file import VALIDATION_SHOTS, Sample, read_index, sample_index
from harness.errors import UserError


def make_splits(counts: dict[str, list[int]]) -> Splits:
    """So many pictures of every label in each part; names of classes have underscores."""
    parts = {
        part: tuple(
            Picture(f"class_{label}/{part}_{number}.jpg", label)
            for label, count in enumerate(counts[part])
            for number in range(count)
        )
        for part in ("train", "val", "test")
    }
    return Splits(Path("anywhere"), tuple(f"class_{label}" for label in range(len(counts["train"]))), **parts)


SPLITS = make_splits({"train": [6, 9, 1], "val": [5, 2, 6], "test": [2, 2, 2]})


def draw(splits: Splits, shots: int, seed: int) -> Sample:
    few = min(shots, VALIDATION_SHOTS)
    return Sample(few_shot_sample(splits.train, shots, seed), few_shot_sample(splits.val, few, seed))


def write_lists(path: Path, sample: Sample, **about: Any) -> None:
    path.write_text(json.dumps(sample_index(sample, SPLITS.class_names, **about)))


def lines_of(sample: Sample, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"split": split, "path": path, "label": label, "class": names[label]}
        for split, pictures in zip(("train", "val"), sample, strict=True)
        for path, label in pictures
    ]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def error_of(path: Path, shots: int = 3, dataset: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_index(path, SPLITS, shots, dataset)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


COUNT = st.lists(st.integers(1, 7), min_size=3, max_size=3)


@given(st.fixed_dictionaries({"train": COUNT, "val": COUNT, "test": COUNT}), st.integers(1, 8), st.integers(0, 9))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, list[int]], shots: int, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "index.json"
    splits = make_splits(counts)
    sample = draw(splits, shots, seed)
    path.write_text(json.dumps(sample_index(sample, splits.class_names, dataset="dtd", shots=shots, seed=seed)))
    assert read_index(path, splits, shots, "dtd") == sample
    write_lines(path, lines_of(sample, splits.class_names))
    assert read_index(path, splits, shots, "dtd") == sample


def test_the_sample_of_a_run_with_the_embedded_pictures(tmp_path: Path) -> None:
    splits = read_dataset("emoji")
    sample = draw(splits, 16, 3)
    about = {"dataset": "emoji", "shots": 16, "seed": 3}
    (tmp_path / "sample.json").write_text(json.dumps(sample_index(sample, splits.class_names, **about)))
    assert read_index(tmp_path / "sample.json", splits, 16, "emoji") == sample


def test_a_plain_index_needs_no_validation_pictures(tmp_path: Path) -> None:
    sample = draw(SPLITS, 3, 1)
    rows = sample_index(sample, SPLITS.class_names)["train"]
    (tmp_path / "i.json").write_text(json.dumps({"train": rows}))
    assert read_index(tmp_path / "i.json", SPLITS, 3) == Sample(sample.train, [])


def test_rows_come_by_label_and_then_in_their_order(tmp_path: Path) -> None:
    sample = draw(SPLITS, 3, 1)
    lines = lines_of(sample, SPLITS.class_names)
    write_lines(tmp_path / "i.jsonl", lines[::-1])
    read = read_index(tmp_path / "i.jsonl", SPLITS, 3)
    assert [label for _, label in read.train] == [label for _, label in sample.train]
    for label in range(3):
        mine = [picture for picture in sample.train if picture.label == label]
        assert [picture for picture in read.train if picture.label == label] == mine[::-1]


def test_paths_of_another_machine_and_names_with_spaces(tmp_path: Path) -> None:
    sample = draw(SPLITS, 3, 1)
    lines = lines_of(sample, tuple(name.replace("_", " ") for name in SPLITS.class_names))
    for number, line in enumerate(lines):
        line["path"] = (f"/data/dtd/images/{line['path']}", "D:\\dtd\\" + line["path"].replace("/", "\\"))[number % 2]
    text = "\r\n".join(json.dumps(line) for line in lines) + "\r\n\r\n"
    (tmp_path / "i.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_index(tmp_path / "i.jsonl", SPLITS, 3) == sample


def change(**values: Any) -> Any:
    return lambda lines: lines[0].update(values)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            change(path="class_0/train_99.jpg"),
            "image 'class_0/train_99.jpg' is not in the data set. Did you mean",
        ),
        (change(path="other.jpg"), "train image 'other.jpg' is not in the data set."),
        (change(path="class_0/test_0.jpg"), "train image 'class_0/test_0.jpg' is a test image of the data set"),
        (change(path="class_0/val_0.jpg"), "train image 'class_0/val_0.jpg' is a val image of the data set"),
        (change(label=1), "class 1 'class_0', and the data set 0 'class_0'"),
        (change(**{"class": "class_1"}), "class 0 'class_1', and the data set 0 'class_0'"),
        (lambda lines: lines.append(lines[0]), "' twice"),
        (lambda lines: lines.pop(0), "has 2 training images of class 0 'class_0', expected 3"),
        (lambda lines: lines.pop(), "has 2 validation images of class 2 'class_2', expected 3"),
        (change(split="test"), "has a row of split 'test': only train and val can be given"),
        (change(label="one"), "is no k-shot index: expected"),
        (lambda lines: lines[1].pop("class"), "is no k-shot index: expected"),
    ],
)
def test_lines_that_do_not_fit(tmp_path: Path, changed: Any, expected: str) -> None:
    lines = lines_of(draw(SPLITS, 3, 1), SPLITS.class_names)
    changed(lines)
    write_lines(tmp_path / "i.jsonl", lines)
    assert expected in error_of(tmp_path / "i.jsonl")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is no k-shot index"),
        ("[1, 2]", "is no k-shot index"),
        ('{"val": []}', "is no k-shot index"),
        ('{"train": [["a.jpg", 0]]}', "is no k-shot index"),
        ('{"train": 5}', "is no k-shot index"),
        ('{"train": []}', "has no training images"),
        ('{"path": "a.jpg"\n', "is no k-shot index"),
    ],
)
def test_files_of_another_form(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "i.json").write_text(text)
    assert expected in error_of(tmp_path / "i.json")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "does not exist: give the sample.json of a run" in error_of(tmp_path / "gone.json")
    assert "cannot be read" in error_of(tmp_path)
    (tmp_path / "latin.json").write_bytes(b"\xe4")
    assert "cannot be read (it is no text in UTF-8" in error_of(tmp_path / "latin.json")


def test_what_a_file_says_of_itself_must_fit(tmp_path: Path) -> None:
    sample = draw(SPLITS, 3, 1)
    write_lists(tmp_path / "i.json", sample, dataset="dtd", shots=3)
    assert "has dataset 'dtd', and the run asks for 'eurosat'" in error_of(tmp_path / "i.json", dataset="eurosat")
    assert "has shots 3, and the run asks for 4" in error_of(tmp_path / "i.json", shots=4)
    write_lists(tmp_path / "i.json", sample, dataset="folder:/there", shots=3)
    assert read_index(tmp_path / "i.json", SPLITS, 3, "folder:/here") == sample
    content = sample_index(sample, SPLITS.class_names)
    others = [picture for picture in SPLITS.train if picture.label == 1 and picture not in sample.train]
    content["train"][3][0] = others[0].path
    (tmp_path / "i.json").write_text(json.dumps(content))
    assert f"do not have its hash {content['hash']}" in error_of(tmp_path / "i.json")


def test_a_data_set_for_testing_only_takes_no_index(tmp_path: Path) -> None:
    splits = make_splits({"train": [0, 0, 0], "val": [0, 0, 0], "test": [2, 2, 2]})
    write_lists(tmp_path / "i.json", draw(SPLITS, 3, 1))
    with pytest.raises(UserError, match="is not in the data set, which has no train images"):
        read_index(tmp_path / "i.json", splits, 3)


def test_the_sample_of_a_run_that_left_out_broken_pictures(tmp_path: Path) -> None:
    drawn = draw(SPLITS, 3, 1)
    broken = [drawn.train[0].path, drawn.val[-1].path]
    usable = Sample(drawn.train[1:], drawn.val[:-1])
    write_lists(tmp_path / "i.json", usable, shots=3, broken_images=broken)
    assert read_index(tmp_path / "i.json", SPLITS, 3) == usable
    write_lists(tmp_path / "i.json", usable, shots=3)
    assert "has 2 training images of class 0 'class_0', expected 3" in error_of(tmp_path / "i.json")


def test_the_sample_of_a_data_set_for_testing_only(tmp_path: Path) -> None:
    splits = make_splits({"train": [0, 0, 0], "val": [0, 0, 0], "test": [2, 2, 2]})
    write_lists(tmp_path / "i.json", draw(splits, 3, 1), shots=3)
    assert read_index(tmp_path / "i.json", splits, 3) == Sample([], [])


@pytest.mark.parametrize("about", [{"shots": "3"}, {"hash": 5}, {"dataset": []}, {"broken_images": [1]}])
def test_facts_of_another_kind(tmp_path: Path, about: dict[str, Any]) -> None:
    content = {**sample_index(draw(SPLITS, 3, 1), SPLITS.class_names), **about}
    (tmp_path / "i.json").write_text(json.dumps(content))
    assert f"ValueError: {next(iter(about))} is" in error_of(tmp_path / "i.json")


def test_a_file_name_with_a_backslash_is_that_file(tmp_path: Path) -> None:
    splits = Splits(Path("anywhere"), ("cat",), (Picture("cat/a\\b.jpg", 0),), (), ())
    sample = Sample([splits.train[0]], [])
    (tmp_path / "i.json").write_text(json.dumps(sample_index(sample, splits.class_names)))
    assert read_index(tmp_path / "i.json", splits, 1) == sample
