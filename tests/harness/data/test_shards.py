"""WebDataset shards: pictures read at their place in tar files, labels as numbers, names and JSON."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.data.datasets import own_content, read_dataset
from harness.data.picture_files import read_bytes
from harness.data.pictures import find_problem, missing_pictures
from harness.data.readers import Picture
from harness.errors import UserError
from tests.harness.data.hub_trees import picture, shard_files, write_shard


def write_shards(folder: Path) -> Path:
    write_shard(folder / "train" / "0.tar", shard_files(6))
    write_shard(folder / "train" / "1.tar", shard_files(3, 20))
    write_shard(folder / "test" / "0.tar", shard_files(3, 50))
    (folder / "classnames.txt").write_text("cat\ndog\nred panda\n")
    return folder


def error_of(folder: Path, options: str = "") -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(f"wds:{folder}{options}")
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["wds:", "hf:"])
def test_shards_to_the_exact_lists(tmp_path: Path, prefix: str) -> None:
    splits = read_dataset(f"{prefix}{write_shards(tmp_path)}")
    assert (splits.class_names, splits.val) == (("cat", "dog", "red panda"), ())
    first = [Picture(f"train/0.tar/s{row:04}.png", row % 3) for row in range(6)]
    assert splits.train == (*first, *(Picture(f"train/1.tar/s{row:04}.png", row) for row in range(3)))
    assert [read_bytes(tmp_path, path) for path, _ in splits.test] == [picture(row) for row in (50, 51, 52)]
    assert missing_pictures(tmp_path, [*splits.train, Picture("test/0.tar/none.png", 0)]) == ["test/0.tar/none.png"]
    assert splits.layout == ("splits as the data set has them", "WebDataset shards")
    assert [row[0] for row in own_content(f"wds:{tmp_path}")[-3:]] == ["test/0.tar", "train/0.tar", "train/1.tar"]


@pytest.mark.parametrize(
    ("ending", "contents", "options", "expected"),
    [
        ("txt", ["a dog", "a cat", "a dog"], "", ("a cat", "a dog")),
        ("json", ['{"label": "dog"}', '{"label": "cat"}', '{"label": "dog"}'], "", ("cat", "dog")),
        ("json", ['{"kind": 1, "label": 7}', '{"kind": 0}', '{"kind": 1}'], ":label=kind", ("x", "y")),
        ("cls", ["1\n", "0", "1"], "", ("x", "y")),
    ],
)
def test_labels(tmp_path: Path, ending: str, contents: Sequence[str], options: str, expected: tuple[str, ...]) -> None:
    files = [
        file
        for row, text in enumerate(contents)
        for file in ((f"a/{row}.png", picture(row)), (f"a/{row}.{ending}", text))
    ]
    for split in ("train", "test"):
        write_shard(tmp_path / f"set-{split}-000000.tar", files)
    if expected == ("x", "y"):
        (tmp_path / "classnames.json").write_text('["x", "y"]')
    splits = read_dataset(f"wds:{tmp_path}{options}")
    assert splits.class_names == expected
    assert splits.train == tuple(Picture(f"set-train-000000.tar/a/{row}.png", int(row != 1)) for row in range(3))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([("1.png", picture(1))], "0.tar' has no .cls, .json, .txt with the class of example '1'"),
        ([("1.cls", "0")], "0.tar' has no pictures: a shard has files such as 0001.jpg and 0001.cls"),
        ([("1.png", picture(1)), ("1.jpg", picture(1)), ("1.cls", "0")], "several pictures of example '1'"),
        (
            [("1.png", picture(1)), ("1.json", '{"a": 1}')],
            "it has no key label or cls or class; its keys are a:",
        ),
        ([("1.png", picture(1)), ("1.json", "{")], "'1.json' names no class ("),
        ([("1.png", picture(1)), ("1.cls", "")], "'1.cls' names no class (it is empty)"),
        ([("1.png", picture(1)), ("1.cls", "0"), ("1.png", picture(2))], "has several members '1.png'"),
    ],
)
def test_shards_that_do_not_fit(tmp_path: Path, files: list[tuple[str, bytes | str]], expected: str) -> None:
    write_shard(write_shards(tmp_path) / "train" / "0.tar", files)
    assert expected in error_of(tmp_path)


def test_numbers_without_names(tmp_path: Path) -> None:
    (write_shards(tmp_path) / "classnames.txt").unlink()
    assert "has numbers for classes and no names: put a classnames.txt into the folder" in error_of(tmp_path)


@pytest.mark.parametrize(("keep", "expected"), [(100, "cannot be read as a tar file"), (0, "cannot be read as a tar")])
def test_a_tar_file_that_is_cut(tmp_path: Path, keep: int, expected: str) -> None:
    path = write_shards(tmp_path) / "train" / "0.tar"
    path.write_bytes(path.read_bytes()[:keep])
    assert expected in error_of(tmp_path)


def test_a_tar_file_that_is_cut_between_two_files(tmp_path: Path) -> None:
    path = write_shards(tmp_path) / "train" / "0.tar"
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip(b"\0").ljust(-(-len(whole.rstrip(b"\0")) // 512) * 512, b"\0"))
    assert "it ends without the mark of its end" in error_of(tmp_path)


def test_tar_files_that_were_put_together(tmp_path: Path) -> None:
    path = write_shards(tmp_path) / "train" / "0.tar"
    path.write_bytes(2 * path.read_bytes())
    assert "it goes on behind the mark of its end" in error_of(tmp_path)


def test_a_compressed_tar_file(tmp_path: Path) -> None:
    path = write_shards(tmp_path) / "train" / "0.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "cannot be read as a tar file: it is compressed with gzip: unpack it" in error_of(tmp_path)


def test_a_picture_that_is_cut(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [("0.cls", "0"), ("1.png", picture(1)), ("2.png", b"")])
    data = (tmp_path / "0.tar").read_bytes()
    assert "it is empty" in str(find_problem(tmp_path, "0.tar/2.png"))
    assert "is missing" in str(find_problem(tmp_path, "0.tar/3.png"))
    (tmp_path / "0.tar").write_bytes(data[: 3 * 512 + 10])
    assert "cannot be decoded" in str(find_problem(tmp_path, "0.tar/1.png"))
