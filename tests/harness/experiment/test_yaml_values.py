"""Settings in YAML mean what they seem to mean, or are refused with their line."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.settings import parse_overrides, read_yaml
from harness.experiment.yaml_values import MOST_BYTES, dump_yaml, parse_yaml
from tests.commands import ROOT


def fault(line: int, problem: str) -> UserError:
    return UserError(f"line {line}: {problem}")


def read(text: str) -> Any:
    return parse_yaml(text, fault)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-3", 0.002),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("y", "y"),
        ("2024-11-28", "2024-11-28"),
        ("ViT-B-16:random", "ViT-B-16:random"),
        ("'010'", "010"),
        ('"yes"', "yes"),
        ("0..12", "0..12"),
        ("90m", "90m"),
        ("inf", "inf"),
    ],
)
def test_a_scalar_is_that_of_yaml_1_2(text: str, value: Any) -> None:
    found = read(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


LOOK_ALIKES = ["yes", "No", "ON", "off", "010", "-007.5", "0x1F", "0o17", "0b11", "1_000", "1_0.5", "1:30", "190:20:30"]
LOOK_ALIKES += [".inf", "-.INF", ".nan", "1e400", "10" * 10, "9" * 5000, str(2**63)]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike_is_refused_in_files_and_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"method: skip\nseeds: [1, {text}]\ntrain: {{lr: 1}}\n")
    with pytest.raises(UserError, match=r"^'.*settings\.yaml' line 2: ") as refused:
        read_yaml(path)
    assert text[:30] in str(refused.value)
    path.write_text(f"seeds: {text}\n")
    with pytest.raises(UserError, match=r"line 1: seeds: "):
        read_yaml(path)
    with pytest.raises(UserError, match=r"^train\.epochs=") as refused:
        parse_overrides([f"train.epochs={text}"])
    assert "may be read in several ways" in str(refused.value) or "is too large" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice, first in line 1"),
        ("a: {b: 1,\n b: 2}", "line 2: 'b' is given twice, first in line 1"),
        ("a: &x [1]\nb: *x", "line 1: anchors"),
        ("a: *x", "line 1: anchors"),
        ("a: !!python/name:os.system x", "line 1: tags are not read"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here"),
        ("a: 1\nb:\n\tc: 1", "line 3: not valid YAML: found character that cannot start any token (indent with spaces"),
        ("{depth: 2, 4}", "line 1: 4 is no key: between braces, several values need brackets"),
        ("? [a]\n: 1", "line 1: a list or a section cannot be a key"),
        ('"a\\nb": 1', "line 1: 'a\\nb' is no key"),
        ("a: " + "[" * 30 + "]" * 30, "line 1: more than 20 levels of nesting"),
        ("a: 1\nb: \x00", "line 2: not valid YAML: it holds a character that is no text"),
        ("a: \ud800", "line 1: not valid YAML: it holds a character that is no text"),
        ("a: b: c", "line 1: not valid YAML: "),
    ],
)
def test_what_could_mean_something_else_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        read(text)
    assert str(refused.value).startswith(problem)


def test_nesting_without_end_is_an_error_and_no_recursion() -> None:
    with pytest.raises(UserError, match="nesting"):
        read("[" * 100_000)


def test_only_small_regular_files_of_text_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"# \n" * MOST_BYTES)
    (tmp_path / "utf-16").write_bytes("a: 1\n".encode("utf-16"))
    (tmp_path / "latin").write_bytes("a: 1\nb: è\n".encode("latin-1"))
    problems = {
        "/dev/zero": "'/dev/zero' is no regular file",
        tmp_path / "pipe": "pipe' is no regular file",
        tmp_path: "is a folder",
        tmp_path / "large": "is larger than 1 MiB",
        tmp_path / "utf-16": "utf-16' line 1 is not UTF-8 text: save the file as UTF-8",
        tmp_path / "latin": "latin' line 2 is not UTF-8 text",
        tmp_path / "none": "does not exist",
        tmp_path / ("x" * 300): "cannot be read: File name too long",
        tmp_path / "a\x00b": "cannot be read: ",
    }
    for path, problem in problems.items():
        with pytest.raises(UserError) as refused:
            read_yaml(Path(path))
        assert problem in str(refused.value)
    # Editors on Windows begin a file with a mark.
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(tmp_path / "mark") == {"a": 1}


LIKE_NO_TEXT = ["2e-3", "1.", "null", "~", "true", "&x", "*x", "!x", "- a"]
TEXTS = st.text(max_size=20) | st.sampled_from([*LOOK_ALIKES, *LIKE_NO_TEXT])
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.none() | st.booleans() | NUMBERS


@given(st.dictionaries(st.sampled_from("abc"), st.recursive(VALUES | TEXTS, st.lists, max_leaves=5)))
def test_what_we_write_is_read_as_it_was_here_and_by_yaml_1_1(value: dict[str, Any]) -> None:
    text = dump_yaml(value)
    assert read(text) == value
    assert yaml.safe_load(text) == value


def test_every_file_that_comes_with_the_project_is_read_as_before() -> None:
    for path in ROOT.glob("experiments/**/*.yaml"):
        assert read_yaml(path) == yaml.safe_load(path.read_text()), path
