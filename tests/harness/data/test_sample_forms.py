"""The public forms of k-shot samples: each read to the exact sample, each with one thing broken refused in one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.readers import Picture, Splits
from harness.data.sample_file import Sample, read_index
from harness.data.sample_forms import index_files
from harness.errors import UserError
from tests.official_pickles import pickled_sample

NAMES = ("banded", "polka_dotted")


def pictures(split: str, count: int) -> tuple[Picture, ...]:
    return tuple(
        Picture(f"{name}/{split}_{number}.jpg", label) for label, name in enumerate(NAMES) for number in range(count)
    )


SPLITS = Splits(Path("anywhere"), NAMES, pictures("train", 6), pictures("val", 5), pictures("test", 2))
SAMPLE = Sample(
    [Picture(f"{name}/train_{number}.jpg", label) for label, name in enumerate(NAMES) for number in (4, 1)],
    [Picture(f"{name}/val_{number}.jpg", label) for label, name in enumerate(NAMES) for number in (2, 0)],
)
Images = dict[str, list[list[Any]]]
Write = Callable[[Path, Images], Path]
"""Writes a sample into a folder, and returns the file to be given."""


def images_of(sample: Sample, root: str) -> Images:
    """Rows [path, label, class name] under another root, as others have them."""
    return {
        split: [[f"{root}/{path}", label, NAMES[label].replace("_", " ")] for path, label in part]
        for split, part in zip(("train", "val"), sample, strict=True)
    }


def official(folder: Path, images: Images) -> Path:
    path = folder / "shot_2-seed_1.pkl"
    with pytest.MonkeyPatch.context() as patch:
        path.write_bytes(pickled_sample(patch, **images))  # type: ignore[arg-type]
    return path


def cross_modal(folder: Path, images: Images) -> Path:
    path = folder / "shot_2-seed_1.json"
    rows = {
        split: {
            "data": [dict(zip(("impath", "label", "classname"), row, strict=True)) for row in part],
            "indices": list(range(len(part))),
        }
        for split, part in images.items()
    }
    path.write_text(json.dumps(rows, indent=4))
    return path


def two_stage(folder: Path, images: Images) -> Path:
    for split, part in images.items():
        lines = [{"_impath": path, "_label": label, "_domain": 0, "_classname": name} for path, label, name in part]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"shot_2-seed_1_{split}.jsonl").write_text(text)
    return folder / "shot_2-seed_1_train.jsonl"


FORMS = {
    official: "/home/them/data/dtd/images",
    cross_modal: "./data/dtd/images",
    two_stage: "dtd/images",
}
every_form = pytest.mark.parametrize("write", list(FORMS), ids=lambda write: str(write.__name__))


def error_of(path: Path, shots: int = 2) -> str:
    with pytest.raises(UserError) as caught:
        read_index(path, SPLITS, shots, "dtd")
    assert "\n" not in str(caught.value)
    assert f"'{path}'" in str(caught.value)
    return str(caught.value)


@every_form
def test_read_to_the_exact_sample(write: Write, tmp_path: Path) -> None:
    assert read_index(write(tmp_path, images_of(SAMPLE, FORMS[write])), SPLITS, 2, "dtd") == SAMPLE  # type: ignore[index]


@every_form
def test_without_validation_images(write: Write, tmp_path: Path) -> None:
    images = images_of(SAMPLE, FORMS[write])  # type: ignore[index]
    del images["val"]
    if write is cross_modal:
        images["val"] = []
    assert read_index(write(tmp_path, images), SPLITS, 2, "dtd") == Sample(SAMPLE.train, [])


BROKEN: list[tuple[Callable[[Images], Any], str]] = [
    (lambda images: images["train"].pop(), "has 1 training images of class 1 'polka_dotted', expected 2"),
    (lambda images: images["val"].pop(), "has 1 validation images of class 1 'polka_dotted', expected 2"),
    (lambda images: images["train"].append(images["train"][0]), "banded/train_4.jpg' twice"),
    (lambda images: images["train"][0].__setitem__(1, 1), "class 1 'banded', and the data set 0 'banded'"),
    (lambda images: images["train"][0].__setitem__(2, "striped"), "class 0 'striped', and the data set 0 'banded'"),
    (lambda images: images["train"][0].__setitem__(0, "/x/banded/test_0.jpg"), "is a test image of the data set"),
    (lambda images: images["val"][0].__setitem__(0, "/x/banded/train_0.jpg"), "is a train image of the data set"),
    (lambda images: images["train"][0].__setitem__(0, "/x/banded/other.jpg"), "is not in the data set"),
    (lambda images: images["train"][0].__setitem__(0, "/x/train_4.jpg"), "is not in the data set"),
    (lambda images: images["train"][0].__setitem__(1, [0]), "is no k-shot index: expected"),
    (lambda images: images["train"][0].__setitem__(0, 5), "is no k-shot index: expected"),
]


@every_form
@pytest.mark.parametrize(("break_it", "expected"), BROKEN)
def test_one_thing_broken(write: Write, tmp_path: Path, break_it: Callable[[Images], Any], expected: str) -> None:
    images = images_of(SAMPLE, FORMS[write])  # type: ignore[index]
    break_it(images)
    assert expected in error_of(write(tmp_path, images))


@every_form
def test_a_file_that_is_cut_off(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path, images_of(SAMPLE, FORMS[write]))  # type: ignore[index]
    path.write_bytes(path.read_bytes()[:-40])
    assert "is no k-shot index: expected" in error_of(path)


def test_a_pickle_is_refused_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"
    path.write_bytes(b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.")
    told = error_of(path)
    assert "of dassl.data.datasets.base_dataset.Datum (it has the instruction TUPLE)" in told
    assert told.endswith("nothing in a pickle is executed")


def test_a_pickle_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "preprocessed.pkl"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert "cannot be read (it has 64 MiB, at most 64 are read)" in error_of(path)


def test_the_two_files_of_a_sample(tmp_path: Path) -> None:
    path = two_stage(tmp_path, images_of(SAMPLE, "dtd/images"))
    beside = tmp_path / "shot_2-seed_1_val.jsonl"
    assert index_files(path) == (path, beside)
    assert "has no training images: give the file of the training images beside it" in error_of(beside)
    beside.write_text("{}\n")
    with pytest.raises(UserError, match=re.escape(f"'{beside}' is no k-shot index")):
        read_index(path, SPLITS, 2, "dtd")


def test_the_longest_ending_counts_in_all_splits(tmp_path: Path) -> None:
    splits = Splits(Path("x"), ("cat",), (Picture("1.jpg", 0), Picture("2.jpg", 0)), (), (Picture("a/1.jpg", 0),))
    path = official(tmp_path, {"train": [["/data/pets/a/1.jpg", 0, "cat"]]})
    with pytest.raises(UserError, match="is a test image of the data set"):
        read_index(path, splits, 1)
    path = official(tmp_path, {"train": [["/data/pets/b/1.jpg", 0, "cat"]]})
    assert read_index(path, splits, 1) == Sample([splits.train[0]], [])


def test_training_images_stand_in_for_validation_images(tmp_path: Path) -> None:
    """As in the index files of cross_modal_adaptation for ImageNet, which has no validation images of its own."""
    splits = Splits(Path("x"), NAMES, SPLITS.train, (), SPLITS.test)
    other = [Picture(f"{name}/train_{number}.jpg", label) for label, name in enumerate(NAMES) for number in (0, 2)]
    path = cross_modal(tmp_path, images_of(Sample(SAMPLE.train, other), "./data/dtd/images"))
    assert read_index(path, splits, 2) == Sample(SAMPLE.train, other)
    path = cross_modal(tmp_path, images_of(Sample(SAMPLE.train, SAMPLE.train), "./data/dtd/images"))
    with pytest.raises(UserError, match=r"val image .* is a train image of the data set"):
        read_index(path, splits, 2)
