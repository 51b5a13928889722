"""Your own pictures: folders of class folders, with and without splits, names and a template."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clip.prompts import fill_template
from harness.data.datasets import find_dataset, find_folder, read_dataset
from harness.data.image_folder import hashed_splits, read_own_folder
from harness.data.readers import Picture, Splits
from harness.data.status import dataset_status
from harness.errors import UserError

PARTS = ("train", "val", "test")
FILES = st.sets(st.integers(0, 99), min_size=2, max_size=30)


def write(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def some(name: str, count: int) -> list[str]:
    return [f"{name}/{number}.jpg" for number in range(count)]


def parts(splits: Splits) -> dict[str, list[str]]:
    return {part: [path for path, _ in getattr(splits, part)] for part in PARTS}


def error_of(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_own_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    write(tmp_path, *some("red_panda", 10), *some("Fox", 6), *some("emu", 2), "notes.txt", "Fox/list.csv", ".git/a.jpg")
    splits = read_dataset(f"folder:{tmp_path}")
    assert splits.class_names == ("Fox", "emu", "red_panda")
    labels = {part: [label for _, label in getattr(splits, part)] for part in PARTS}
    counts = {part: [labels[part].count(label) for label in range(3)] for part in PARTS}
    assert counts == {"train": [3, 1, 5], "val": [1, 0, 2], "test": [2, 1, 3]}
    every = [picture for part in PARTS for picture in getattr(splits, part)]
    assert sorted(every) == sorted(
        Picture(path, label)
        for label, (name, count) in enumerate((("Fox", 6), ("emu", 2), ("red_panda", 10)))
        for path in some(name, count)
    )
    assert splits.layout == ("split 50/20/30 by hash",)
    # The same on any machine.
    test = ["Fox/1.jpg", "Fox/5.jpg", "emu/1.jpg", "red_panda/4.jpg", "red_panda/6.jpg", "red_panda/9.jpg"]
    assert parts(splits)["test"] == test


def test_it_is_a_data_set_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pets", *some("red_panda", 4), *some("fox", 4))
    monkeypatch.chdir(tmp_path)
    row = find_dataset("folder:pets")
    assert find_folder(row, None) == find_folder(row, "/elsewhere") == tmp_path / "pets"
    assert fill_template(row.template_of("zeroshot"), "red_panda") == "a photo of a red panda."
    assert row.template_of("finetune") == row.template_of("zeroshot")
    assert read_dataset("folder:pets", "/elsewhere").folder == tmp_path / "pets"
    status = dataset_status("folder:pets")
    assert (status.state, status.counts, status.expected) == ("ready", (2, 4, 0, 4), None)


def test_given_splits(tmp_path: Path) -> None:
    train, test = [*some("train/a", 3), *some("train/b", 2)], [*some("test/a", 1), *some("test/b", 2)]
    write(tmp_path, *train, *test)
    splits = read_own_folder(tmp_path)
    assert splits.class_names == ("a", "b")
    assert parts(splits) == {"train": train, "val": [], "test": test}
    assert [label for _, label in splits.train] == [0, 0, 0, 1, 1]
    assert splits.layout == ("train/, val/, test/ as given",)
    write(tmp_path, "val/b/x.PNG")
    assert read_own_folder(tmp_path).val == (Picture("val/b/x.PNG", 1),)


def test_pictures_for_testing_only(tmp_path: Path) -> None:
    write(tmp_path, *some("test/a", 1), *some("test/b", 2))
    splits = read_own_folder(tmp_path)
    assert (splits.class_names, len(splits.train), len(splits.test)) == (("a", "b"), 0, 3)


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    write(tmp_path, *some("train", 4), *some("bus", 4), *some("test", 4))
    assert read_own_folder(tmp_path).class_names == ("bus", "test", "train")


def test_class_names_and_template(tmp_path: Path) -> None:
    write(tmp_path, *some("n01", 2), *some("my cat", 2), *some("my", 2), *some("dog_a", 2))
    text = "n01 tench, Tinca tinca\r\nmy cat  the_cat of mine\r\n\r\nmy\tall mine \r\n"
    (tmp_path / "classnames.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "template.txt").write_text("\n a picture of {article} {}!\n\n")
    assert read_own_folder(tmp_path).class_names == ("dog_a", "all mine", "the_cat of mine", "tench, Tinca tinca")
    row = find_dataset(f"folder:{tmp_path}")
    assert row.template_of("finetune") == "a picture of {article} {}!"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("classnames.txt", "cst a cat\n", "'cst' is no class folder in"),
        ("classnames.txt", "cst a cat\n", "Did you mean 'cat'?"),
        ("classnames.txt", "cat\n", "class folder 'cat' gets no name; expected lines such as 'cat its name'"),
        ("classnames.txt", "cat a\ncat b\n", "class folder 'cat' is named twice"),
        ("classnames.txt", "cat a b\ndog a_b\n", "classes 'cat' and 'dog' in"),
    ],
)
def test_class_names_that_do_not_fit(tmp_path: Path, file: str, text: str, expected: str) -> None:
    write(tmp_path, *some("cat", 2), *some("dog", 2))
    (tmp_path / file).write_text(text)
    assert expected in error_of(tmp_path)


@pytest.mark.parametrize("text", ["a photo", "", "{} one\n{} two\n"])
def test_a_file_that_holds_no_template(tmp_path: Path, text: str) -> None:
    write(tmp_path, *some("cat", 2))
    (tmp_path / "template.txt").write_text(text)
    with pytest.raises(
        UserError, match=r"template.txt' must contain one line with \{\} for the class name, such as 'a"
    ):
        find_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.jpg"], "has no class folders: expected a folder of images for each class, or train/"),
        ([*some("cat", 3), "dog/readme.md"], "class 'dog' has no images in"),
        ([*some("cat", 3), "dog/1.jpg"], "class 'dog' in"),
        ([*some("train/cat", 2), *some("val/cat", 2)], "has train, val but no test: add test/"),
        ([*some("train/cat", 2), *some("test/cat", 2), "vale/cat/1.jpg"], "is next to test, train: only train, val"),
        ([*some("train/cat", 2), *some("test/cat", 2), "vale/cat/1.jpg"], "Did you mean 'val'?"),
        (
            [*some("train/cat", 2), *some("test/cat", 2), "val/cat/1.jpg", "dev/cat/1.jpg"],
            "has dev, val: name one of them val",
        ),
        ([*some("train/cat", 2), *some("test/cat", 2), "valid/cet/1.jpg"], "valid/cet' is a class that train/ does"),
        ([*some("Train/cat", 2), *some("Test/cat", 2)], "if it is a split, rename it to test"),
        ([*some("training/cat", 2), *some("dog", 2)], "if it is a split, rename it to train"),
        (
            [*some("animals/cat", 2), *some("dog", 2)],
            "in the folder of their class itself, not in one such as 'cat'",
        ),
        (["set.zip"], "with such folders; unpack 'set.zip' if they are in it"),
        ([*some("caf\u00e9", 2), *some("cafe\u0301", 2)], "(the same letters in another form of Unicode"),
        (
            [*some("train/caf\u00e9", 2), *some("test/cafe\u0301", 2)],
            "the same letters in another form of Unicode, NFC and NFD)?",
        ),
        (["train/1.jpg", "test/1.jpg"], "test' has no class folders"),
        ([*some("train/cat", 2), *some("test/cats", 2)], "class 'cat' has images in"),
        ([*some("train/cat", 2), *some("test/cat", 2), "val/cet/1.jpg"], "Did you mean 'cat'?"),
        ([*some("train/cat", 2), "test/cat/1.txt"], "class 'cat' has no images in"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, paths: Sequence[str], expected: str) -> None:
    write(tmp_path, *paths)
    assert expected in error_of(tmp_path)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder '.*/nowhere' does not exist: name one that has a folder"):
        find_dataset(f"folder:{tmp_path}/nowhere")
    with pytest.raises(UserError, match="'folder:' names no folder: give folder:PATH"):
        find_dataset("folder:")


def test_a_path_without_folder_in_front_is_understood(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"unknown data set '{tmp_path}'. Did you mean 'folder:{tmp_path}'"):
        find_dataset(str(tmp_path))


@given(st.dictionaries(st.sampled_from("abcdef"), FILES, min_size=1), st.sampled_from("abcdef"), FILES)
def test_a_split_does_not_depend_on_other_classes(
    tmp_path_factory: pytest.TempPathFactory, classes: dict[str, set[int]], changed: str, files: set[int]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "own"
    splitting: Callable[[], dict[str, dict[str, list[str]]]] = lambda: hashed_splits(folder, sorted(classes), Counter())  # noqa: E731
    shutil.rmtree(folder, ignore_errors=True)
    for name, numbers in classes.items():
        write(folder, *(f"{name}/{number}.jpg" for number in numbers))
    before = splitting()
    for name, numbers in classes.items():
        sizes = [len(before[part][name]) for part in PARTS]
        assert sum(sizes) == len(numbers)
        assert sizes[0] == (len(numbers) + 1) // 2
        assert sizes[1] == len(numbers) // 5
        assert sizes[2] > 0
    write(folder, *(f"{changed}/{number}.jpg" for number in files))
    classes[changed] = classes.get(changed, set()) | files
    after = splitting()
    for name in classes.keys() - {changed}:
        assert {part: after[part][name] for part in PARTS} == {part: before[part][name] for part in PARTS}


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    write(
        tmp_path, *some("cat", 4), *some("dog", 4), "cat/1.avif", "dog/2.AVIF", "cat/3.heic", "cat/notes", "loose.jpg"
    )
    write(tmp_path, "cat/more/1.jpg", "cat/Thumbs.db", "dog/.hidden.jpg", "cat/desktop.ini", "cat/@eaDir/1.jpg")
    found, loose = read_own_folder(tmp_path).remarks
    assert found.startswith(
        "left out of the class folders: 2 .avif files, 1 .heic file, 1 folder, 1 file without an ending (images"
    )
    assert loose == f"left out: 1 images in '{tmp_path}' itself, in no class folder"
    assert dataset_status(f"folder:{tmp_path}").remarks == (found, loose)
    assert "has no images in" in error_of(write(tmp_path, "emu/1.avif", "emu/2.avif"))
    assert "' but 2 .avif files: add some" in error_of(tmp_path)


@pytest.mark.parametrize("junk", ["@eaDir", "__MACOSX", "#recycle", ".ipynb_checkpoints", "$RECYCLE.BIN"])
def test_folders_that_systems_leave_behind_are_no_classes(tmp_path: Path, junk: str) -> None:
    write(tmp_path, *some("cat", 4), *some("dog", 4), *some(junk, 4))
    splits = read_own_folder(tmp_path)
    assert (splits.class_names, splits.remarks) == (("cat", "dog"), ())


@pytest.mark.parametrize("name", ["red\npanda", "red\x1bpanda", "red\udcffpanda", "__"])
def test_folders_that_no_class_can_be_called_by(tmp_path: Path, name: str) -> None:
    write(tmp_path, *some("cat", 4), *some(name, 4))
    assert ascii(name)[1:-1] in error_of(tmp_path)


def test_a_file_whose_name_is_no_text_is_named(tmp_path: Path) -> None:
    write(tmp_path, *some("cat", 4), os.fsdecode(b"cat/\xe9.jpg"))
    assert r"has the name '\udce9.jpg', which is no text in UTF-8: rename it" in error_of(tmp_path)


@pytest.mark.parametrize("name", ["a b", "a'b\"c", "100%25", "#1?", "ünï", "a\nb", "x.zip", "a,b"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, *some("cat", 4), *some("dog.zip", 4))
    splits = read_dataset(f"folder:{tmp_path / name}")
    assert splits.folder == tmp_path / name
    assert dataset_status(f"folder:{tmp_path / name}").state == "ready"


@pytest.mark.parametrize("name", ["\0", "x" * 5000, "~nobody/pictures"])
def test_a_folder_that_cannot_be(name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_dataset(f"folder:{name}")


@pytest.mark.parametrize("name", ["valid", "validation", "dev"])
def test_validation_images_may_lie_under_other_names(tmp_path: Path, name: str) -> None:
    write(tmp_path, *some("train/cat", 2), *some("test/cat", 2), *some(f"{name}/cat", 1))
    found = read_own_folder(tmp_path)
    assert [picture.path for picture in found.val] == some(f"{name}/cat", 1)
    assert f"val is {name}/" in found.facts
    assert not read_own_folder(tmp_path, ("train",)).val


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "set.zip").touch()
    with pytest.raises(UserError, match=r"set\.zip' is a file: unpack it"):
        find_dataset(f"folder:{tmp_path}/set.zip")
    (tmp_path / "list.csv").touch()
    with pytest.raises(UserError, match=r"list\.csv' is a file: lists of images are not read"):
        find_dataset(f"folder:{tmp_path}/list.csv")
