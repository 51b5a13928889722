"""Files of data sets with anything in them: they are read, or one line names the file; no other exception, no hang."""

import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.datasets import own_dataset
from harness.data.imagenet import read_class_names
from harness.data.pictures import find_problem, read_picture
from harness.data.readers import Picture, Splits, read_categories, read_split_file
from harness.data.sample_file import read_index
from harness.errors import UserError
from harness.text import plain

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SPLITS = Splits(Path("anywhere"), ("cat", "dog"), (Picture("a/1.jpg", 0), Picture("b/1.jpg", 1)), (), ())
ROWS = [["a/1.jpg", 0, "cat"], ["b/1.jpg", 1, "dog"]]
SPLIT = {"train": ROWS, "val": [], "test": ROWS}
LINES = "".join(
    json.dumps({"split": "train", "path": path, "label": label, "class": name}) + "\n" for path, label, name in ROWS
)
DEEP = 30_000
ODD = (
    *(-1, 0.5, 1e400, 10**25, True, None, "", "a", "\0", "\ud800", "../x", "/x", "C:\\x", "a\nb", "x" * 5000),
    *([], {}, [[]], {"train": 1}, [["a/1.jpg", 0, "cat"]], [["a/1.jpg", 0]]),
)
TEXTS = (
    *("", " ", "\0", "[", "{}", "[]", "null", "1", '"', "[" * DEEP, '{"a":' * DEEP, "[" * DEEP + "]" * DEEP),
    *('{"train": [], "train": []}', '{"path": 1}', '{"path": 1}\n[', '{"path": "a", "path": "b"}', "1" * 5000),
    *("\ufeff\ufeff{}", "NaN", "cat", "cat \0", "{} {}", "{}" * 5000, "\x1b[31m{}", "a\rb", "\u2028{}"),
)
BYTES = (b"\xff\xfe{\0}\0", b"\xef\xbb\xbf", b"\x80\x04\x95", b"\xed\xa0\x80", b"PK\x05\x06" + bytes(18))


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content cut, overwritten, with something put in, in another encoding; or something else altogether."""

    def change(position: int, junk: bytes, kind: str) -> bytes:
        position %= len(content) + 1
        rest = {"cut": b"", "over": content[position + len(junk) :], "in": content[position:]}[kind]
        return content[:position] + junk + rest

    changed = st.builds(change, st.integers(0, 10**6), st.binary(max_size=6), st.sampled_from(("cut", "over", "in")))
    others = [*BYTES, *(text.encode() for text in TEXTS), content, content + content]
    return st.one_of(changed, st.sampled_from(others), st.binary(max_size=50))


@st.composite
def odd_json(draw: st.DrawFn, content: Any) -> bytes:
    """JSON in which one value was replaced by one of another kind."""
    copy = json.loads(json.dumps(content))
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            visit(value[key])

    visit(copy)
    where, key = draw(st.sampled_from(places))
    where[key] = draw(st.sampled_from(ODD))
    return json.dumps(copy).encode()


def read_or_refuse(read: Callable[[], object], file: Path) -> None:
    try:
        read()
    except UserError as error:
        message = str(error)
        assert plain(message) == message
        assert file.name in message
        assert len(message) < 5000
        assert " object at 0x" not in message


@quick
@given(content=st.one_of(damaged(json.dumps(SPLIT).encode()), odd_json(SPLIT)))
def test_split_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "split.json").write_bytes(content)
    read_or_refuse(lambda: read_split_file(tmp_path, "split.json", ["images", ""]), tmp_path / "split.json")


INDEX = {"dataset": "x", "shots": 1, "hash": "0", "broken_images": ["q"], "train": ROWS, "val": []}


@quick
@given(content=st.one_of(damaged(json.dumps({"train": ROWS}).encode()), damaged(LINES.encode()), odd_json(INDEX)))
def test_index_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sample.json").write_bytes(content)
    read_or_refuse(lambda: read_index(tmp_path / "sample.json", SPLITS, 1, "x"), tmp_path / "sample.json")


@quick
@given(content=damaged(b"cat a cat\ndog  the dog\n"), file=st.sampled_from(["classnames.txt", "template.txt"]))
def test_files_of_a_folder_of_ones_own(tmp_path_factory: pytest.TempPathFactory, content: bytes, file: str) -> None:
    folder = tmp_path_factory.mktemp("own")
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for number in range(2):
            (folder / name / f"{number}.jpg").touch()
    (folder / file).write_bytes(content)
    read_or_refuse(lambda: own_dataset(f"folder:{folder}").read(folder), folder)


@quick
@given(content=damaged(b"n01 cat\nn02 dog, hound\n"))
def test_class_names_of_imagenet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "classnames.txt").write_bytes(content)
    read_or_refuse(lambda: read_class_names(tmp_path / "classnames.txt"), tmp_path / "classnames.txt")


def archive(folder: Path) -> bytes:
    """A zip file with an index and a picture, in one of the ways of storing."""
    with zipfile.ZipFile(folder / "whole.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("index.csv", "file,name,category,split,group\n1.png,x,bird,train,1\n")
        file.writestr("1.png", random.Random(1).randbytes(50))
    return (folder / "whole.zip").read_bytes()


@quick
@given(data=st.data())
def test_zip_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("zip")
    (folder / "a.zip").write_bytes(data.draw(damaged(archive(folder))))
    (folder / "names.txt").write_text("bird\n")
    read_or_refuse(lambda: read_categories(folder, "a.zip", "names.txt"), folder / "a.zip")
    read_or_refuse(lambda: read_picture(folder, "a.zip/1.png"), folder / "a.zip")
    assert find_problem(folder, "a.zip/1.png") is not None


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "huge"])
@pytest.mark.parametrize("file", ["split.json", "sample.json", "classnames.txt", "template.txt"])
def test_what_is_no_regular_file_of_sensible_size(tmp_path: Path, file: str, kind: str) -> None:
    path = tmp_path / file
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as opened:
            opened.truncate(2 << 30)
    read = {
        "split.json": lambda: read_split_file(tmp_path, file, [""]),
        "sample.json": lambda: read_index(path, SPLITS, 1),
        "classnames.txt": lambda: read_class_names(path),
        "template.txt": lambda: own_dataset(f"folder:{tmp_path}"),
    }[file]
    with pytest.raises(UserError) as caught:
        read()
    assert str(path) in str(caught.value)
    assert "2,048 MiB" in str(caught.value) if kind == "huge" else "no regular file" in str(caught.value)
