"""Files of a data set of the hub: which belong to which configuration and split."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.data.hub_layout import Card, Layout, find_layout, gaps, missing_files, read_card, split_of
from harness.errors import UserError

NOTHING = Card()


def error_of(*files: str, config: str | None = None, card: Card = NOTHING) -> str:
    with pytest.raises(UserError) as caught:
        find_layout(files, card, config, "my/set")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("data/train-00000-of-00001-0c3a9f1e5d7b2468.parquet", "train"),
        ("data/validation-00001-of-00003.parquet", "validation"),
        ("data/valid-00000-of-00001.parquet", "validation"),
        ("data/dev-00000-of-00001.parquet", "validation"),
        ("data/contrast-00000-of-00004.parquet", "contrast"),
        ("data/train_small-00000-of-00001.parquet", "train"),
        ("default/test/0000.parquet", "test"),
        ("default/partial-train/0000.parquet", "partial-train"),
        ("test/0.tar", "test"),
        ("train/data-00000-of-00002.arrow", "train"),
        ("pets-validation.arrow", "validation"),
        ("pets_val.parquet", "validation"),
        ("contest.parquet", "train"),
        ("0001.parquet", "train"),
        ("eval/part.parquet", "test"),
    ],
)
def test_the_split_of_a_file(path: str, split: str) -> None:
    assert split_of(path) == split


def test_one_configuration_without_a_name() -> None:
    files = ["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "README.md", "a.txt"]
    layout = find_layout([*files, "data/test-00000-of-00001.parquet"], NOTHING, None, "my/set")
    assert (layout.kind, layout.config) == ("parquet", "")
    assert layout.files == {"test": ("data/test-00000-of-00001.parquet",), "train": (files[1], files[0])}
    assert missing_files(layout) == []


def test_files_whose_names_tell_of_others() -> None:
    layout = find_layout(["data/train-00000-of-00003.parquet"], NOTHING, None, "my/set")
    assert missing_files(layout) == ["data/train-00001-of-00003.parquet", "data/train-00002-of-00003.parquet"]


def test_configurations_as_folders() -> None:
    files = ["fine/train/0000.parquet", "coarse/train/0000.parquet", "fine/test/0000.parquet"]
    assert find_layout(files, NOTHING, "fine", "my/set").files == {"test": (files[2],), "train": (files[0],)}
    assert "my/set' has several configurations, coarse, fine: name one, such as ':coarse'" in error_of(*files)
    assert "no configuration 'fin'" in error_of(*files, config="fin")
    assert "Did you mean 'fine'?" in error_of(*files, config="fin")
    assert find_layout([*files, "default/train/0.parquet"], NOTHING, None, "my/set").config == "default"
    assert "it has no configurations" in error_of("train.parquet", config="fine")


def test_configurations_of_a_card(tmp_path: Path) -> None:
    text = """---
configs:
- config_name: fine
  data_files:
  - split: train
    path: a/*
  - {split: dev, path: [b/1.parquet, b/2.parquet]}
- config_name: coarse
  default: true
  data_files: {train: c/t*}
- config_name: gone
  data_files: nowhere/*
dataset_info:
  config_name: fine
  features:
  - {name: image, dtype: image}
---
# Text
"""
    (tmp_path / "README.md").write_text(text)
    card = read_card(tmp_path / "README.md")
    assert card.features == {"fine": [{"name": "image", "dtype": "image"}]}
    files = ["a/0.parquet", "b/1.parquet", "b/2.parquet", "b/3.parquet", "c/t0.parquet", "c/u0.parquet"]
    assert find_layout(files, card, "fine", "x").files == {"train": files[:1], "validation": tuple(files[1:3])} | {
        "train": tuple(files[:1])
    }
    assert find_layout(files, card, None, "x").files == {"train": ("c/t0.parquet",)}
    assert "the configurations fine, coarse." in error_of(*files, config="x", card=card)


@pytest.mark.parametrize("text", ["", "no front", "---\nnot closed", "---\n[1]\n---\n", "---\nconfigs: 3\n---\n"])
def test_a_card_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path / "README.md") == read_card(tmp_path / "nowhere") == NOTHING


def test_a_card_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(UserError, match=r"the YAML in front of '.*README.md' cannot be read"):
        read_card(tmp_path / "README.md")


def test_no_files_that_can_be_read() -> None:
    assert "'my/set' has no .parquet, .arrow or .tar files (it has README.md, a.jpg): folder:PATH" in error_of(
        "README.md", "a.jpg"
    )
    assert "(it has README.md, a.tar.gz): unpack 'a.tar.gz'" in error_of("README.md", "a.tar.gz")
    assert "it is empty" in error_of()
    assert "has no .parquet" in error_of("cache-1.arrow")


def test_what_is_not_read_is_told() -> None:
    files = ("train-000000.tar", "train-000001.tar.gz", "test-000000.tar", "cache-1.arrow", "README.md")
    assert find_layout(files, NOTHING, None, "x").remarks == (
        "left out: 1 files that are not .tar, such as train-000001.tar.gz",
    )
    assert not find_layout(("train-000000.tar", "test-000000.tar", "a.json"), NOTHING, None, "x").remarks


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (range(3, 9), ()),
        ([0], ()),
        ([0, 1, 5], ("split train lacks 3 of its numbers, such as a/train-0002.tar",)),
    ],
)
def test_shards_whose_numbers_have_gaps(numbers: Sequence[int], expected: tuple[str, ...]) -> None:
    files = [f"a/train-{number:04d}.tar" for number in numbers]
    assert gaps(Layout("tar", "", {"train": tuple(files)})) == expected
