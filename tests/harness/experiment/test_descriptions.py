"""Files of class descriptions, whatever may be in them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.experiment import descriptions
from harness.experiment.descriptions import is_description_file, read_descriptions
from harness.experiment.recipes import EXPERIMENTS

ANIMALS = {"Sea_otter": ["an otter.", "it  swims\n in the sea."], "polar bear": ["a white bear."]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file and return its path: write(content, name)."""

    def make(content: Any, name: str = "animals.json") -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return make


@pytest.mark.parametrize(
    ("text", "is_file"),
    [
        ("a.json", True),
        ("../a b/c.YAML", True),
        ("a.yml", True),
        ("zeroshot", False),
        ("a photo of a {}", False),
        ("a {}.json", False),
        (("a {}", "b {}"), False),
        (3, False),
    ],
)
def test_a_file_is_known_by_its_ending(text: Any, is_file: bool) -> None:
    assert is_description_file(text) is is_file


@pytest.mark.parametrize("name", ["animals.json", "animals.yaml", "animals.yml", "ANIMALS.JSON"])
def test_classes_are_found_whatever_their_spelling(write: Callable[..., str], name: str) -> None:
    found = read_descriptions(write(ANIMALS, name))
    sea_otter = ("an otter.", "it swims in the sea.")
    for spelling in ("sea otter", "SEA-OTTER", "Sea_Otter", "seaotter"):
        assert found.of_classes([spelling, "Polar-Bear"]) == [sea_otter, ("a white bear.",)]
    assert found.has_several
    assert found.stand_ins(3) == [sea_otter, ("a white bear.",), sea_otter]


def test_a_missing_class_is_told_with_the_nearest(write: Callable[..., str]) -> None:
    found = read_descriptions(write(ANIMALS))
    with pytest.raises(UserError, match=r"animals.json' has no descriptions of class 'polar_beer'\. Did you mean 'pol"):
        found.of_classes(["sea otter", "polar_beer"])
    with pytest.raises(UserError, match=r"of class 'ant' \(nor of 1 more class\)\."):
        found.of_classes(["ant", "sea otter", "bee"])


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.json", "'{path}' is no JSON: Expecting value"),
        ("{", "a.json", "is no JSON"),
        ("[" * 100_000, "a.json", "is no JSON: it is nested too deeply"),
        ('{"cat": ["a"], "cat": ["b"]}', "a.json", "the key 'cat' is there twice"),
        ("[]", "a.json", "holds no descriptions: it needs the form"),
        ("{}", "a.json", "holds no descriptions"),
        ('"cat"', "a.json", "holds no descriptions"),
        ('{"cat": "a cat"}', "a.json", "class 'cat' has no list of sentences: write it in the form"),
        ('{"cat": []}', "a.json", "class 'cat' has no list of sentences"),
        ('{"cat": null}', "a.json", "class 'cat' has no list of sentences"),
        ('{"cat": {"a": 1}}', "a.json", "class 'cat' has no list of sentences"),
        ('{"cat": ["a", 3]}', "a.json", "class 'cat': sentence 2 is 3: write a text"),
        ('{"cat": [" "]}', "a.json", "class 'cat': sentence 1 is ' ': write a text"),
        ('{"cat": [["a"]]}', "a.json", "sentence 1 is ['a']"),
        ('{"cat": ["a\\u0000b"]}', "a.json", "sentence 1 is 'a\\x00b'"),
        ('{"cat": ["\\ud800"]}', "a.json", "sentence 1 is '\\ud800'"),
        (json.dumps({"cat": ["a" * 1001]}), "a.json", "write a text of at most 1,000 characters"),
        (json.dumps({"cat": ["a"] * 513}), "a.json", "class 'cat' has 513 sentences, at most 512 are possible"),
        ('{"cat": ["a"], "Cat": ["b"]}', "a.json", "'cat' and 'Cat' are two spellings of one class: keep one"),
        ("cat: [a]\ncat: [b]", "a.yaml", "line 2: 'cat' is given twice"),
        ("cat:\n- a: b", "a.yaml", "class 'cat': sentence 1 is {'a': 'b'}"),
        ("cat:\n- a cat\n- 7", "a.yml", "class 'cat': sentence 2 is 7"),
        ("- cat", "a.yaml", "holds no descriptions"),
        ("cat: [", "a.yaml", "not valid YAML"),
        ("cat: &x [a]", "a.yaml", "anchors"),
        ("", "a.yaml", "holds no descriptions"),
    ],
)
def test_another_form_is_refused_in_one_line(write: Callable[..., str], content: str, name: str, message: str) -> None:
    path = write(content, name)
    with pytest.raises(UserError) as caught:
        read_descriptions(path)
    assert message.replace("{path}", path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_what_is_no_regular_file_of_sensible_size_is_refused(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, folder, binary = tmp_path / "pipe.json", tmp_path / "folder.json", tmp_path / "binary.json"
    os.mkfifo(pipe)
    folder.mkdir()
    binary.write_bytes(b"\xff\xfe\x00")
    lines = {
        str(pipe): "cannot be read: it is no regular file",
        str(folder): "cannot be read: ",
        str(binary): "cannot be read: it is no text in UTF-8",
        str(tmp_path / "nothing.json"): "does not exist: name a file of the form",
        "a\x00.json": "cannot be read: ",
    }
    for path, line in lines.items():
        with pytest.raises(UserError, match=line):
            read_descriptions(path)
    monkeypatch.setattr(descriptions, "MOST_BYTES", 1 << 20)
    with pytest.raises(UserError, match="cannot be read: it has 2 MiB, at most 1 are read"):
        read_descriptions(
            write({"cat": ["a" * 999] * 500, "dog": ["a" * 999] * 500} | {str(n): ["a" * 999] * 500 for n in range(3)})
        )


def test_a_changed_file_is_read_anew(write: Callable[..., str]) -> None:
    path = write({"cat": ["a cat."]})
    assert read_descriptions(path).of_classes(["cat"]) == [("a cat.",)]
    assert read_descriptions(path) is read_descriptions(path)
    write({"cat": ["a tom."]})
    assert read_descriptions(path).of_classes(["cat"]) == [("a tom.",)]


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.lists(st.text(max_size=8), max_size=3), max_size=4))
def test_any_content_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, list[str]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.json"
    path.write_text(json.dumps(content))
    problem = ""
    try:
        found = read_descriptions(str(path)).of_classes(list(content))
    except UserError as error:
        problem = str(error)
    assert "\n" not in problem
    assert problem or list(map(len, found)) == list(map(len, content.values()))


def test_the_example_describes_every_class_of_the_embedded_benchmark() -> None:
    file = read_descriptions(str(EXPERIMENTS / "descriptions" / "emoji.json"))
    found = file.of_classes(read_dataset("emoji").class_names)
    assert len(found) == len(file.by_class) == 45
    assert {len(sentences) for sentences in found} == {3}
    assert len(set(found)) == 45
