"""A space is refused where no value of it can be meant, and the line names the file and the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UserError
from harness.tune.space import Parameter, same_value
from harness.tune.sweep_file import load_sweep

INT, FLOAT = "skip.depth", "skip.class_ratio"


@pytest.mark.parametrize(
    ("key", "about", "words"),
    [
        (INT, {"int": [0, 4], "step": 0}, "the step must be above 0"),
        (INT, {"int": [0, 4], "step": -1}, "the step must be above 0"),
        (INT, {"int": [0, 4], "step": 0.5}, "must be a whole number"),
        (INT, {"int": [0, 4], "step": "x"}, "no number: 'x'"),
        (INT, {"int": [0, 4], "step": True}, "no number: True"),
        (INT, {"int": [4, 0]}, "must not be above"),
        (INT, {"int": [0]}, "two numbers"),
        (INT, {"int": 3}, "two numbers"),
        (INT, {"int": [0, 1, 2]}, "two numbers"),
        (INT, {"int": [0, 2.5]}, "no whole number"),
        (INT, {"int": [False, True]}, "no number: False"),
        (INT, {"int": ["a", "b"]}, "no number: 'a'"),
        (INT, {"int": [0, 99]}, "skip.depth"),
        (INT, {"int": [-3, 4]}, "skip.depth"),
        (INT, {"int": None}, "give one of"),
        (INT, {}, "give one of"),
        (INT, {"integer": [0, 1]}, "unknown key"),
        (FLOAT, {"float": [-1e308, 1e308]}, "too far apart"),
        (FLOAT, {"float": [0.1, 1], "step": 1e-300}, "too small"),
        (FLOAT, {"float": [0, 1], "log": True}, "begins above 0"),
        (FLOAT, {"float": [-1, 1], "log": True}, "begins above 0"),
        (FLOAT, {"float": [0.1, 1], "log": True, "step": 0.1}, "has no step"),
        (FLOAT, {"float": [0.1, 1], "log": "yes"}, "write true or false"),
        (FLOAT, {"choice": []}, "at least one value"),
        (FLOAT, {"choice": 0.5}, "give a list"),
        (FLOAT, {"choice": [0.1, 0.2, 0.1]}, "0.1 stands in it twice"),
        (FLOAT, {"choice": [1, 1.0]}, "1.0 stands in it twice"),
        (FLOAT, {"choice": ["1e-1", 0.1]}, "0.1 stands in it twice"),
        (FLOAT, {"choice": [[0.1]]}, "no single value"),
        (FLOAT, {"choice": ["a", "b"]}, FLOAT),
        (FLOAT, {"choice": [0.1, -5.0]}, FLOAT),
        (FLOAT, {"choice": [0.1], "step": 1}, "belong to int and float"),
        (FLOAT, {"choice": [0.1], "log": True}, "belong to int and float"),
        (FLOAT, {"float": [0.1, 1], "when": 3}, "list of its values"),
        (FLOAT, {"float": [0.1, 1], "when": {INT: 2}}, "list of its values"),
        (FLOAT, [], "at least one value"),
        ("skip.nothing", {"int": [0, 1]}, "unknown key 'skip.nothing'"),
        ("nothing", {"int": [0, 1]}, "unknown key 'nothing'"),
        ("data.shots", {"int": [1, 4]}, "is an axis"),
        ("runtime.threads", {"int": [1, 4]}, "changes no result"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_mistakes_in_a_space_name_file_and_key(key: str, about: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"method": "skip", "space": {key: about}}))
    with pytest.raises(UserError) as told:
        load_sweep(str(path), {})
    line = str(told.value)
    assert words in line
    assert "mine.yaml" in line
    assert key in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"int": [0, 10**30]}, "is too large"),
        ({"int": [0, float("inf")]}, "a finite number is needed"),
        ({"float": [0.1, 1], "step": float("nan")}, "a finite number is needed"),
        ({"choice": [0.1, float("nan")]}, "a finite number is needed"),
    ],
)
def test_numbers_that_no_file_may_hold_name_file_and_line(about: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"method": "skip", "space": {FLOAT: about}}))
    with pytest.raises(UserError, match=rf"mine\.yaml' line \d+: .*{words}"):
        load_sweep(str(path), {})


@pytest.mark.parametrize("space", [None, {}, [], 3, "skip.depth"])
def test_what_is_no_space_names_the_file(space: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"method": "skip", "space": space}))
    with pytest.raises(UserError, match=r"mine\.yaml.*space"):
        load_sweep(str(path), {})


def test_a_grid_that_has_no_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fine = {"float": [0.1, 1], "step": 1e-5}
    path.write_text(yaml.safe_dump({"method": "skip", "sampler": "grid", "space": {FLOAT: fine}}))
    with pytest.raises(UserError, match=r"skip\.class_ratio.*more than 10,000 values"):
        load_sweep(str(path), {})
    several = {key: {"float": [0.1, 1], "step": 1e-3} for key in (FLOAT, "skip.lambda")}
    path.write_text(yaml.safe_dump({"method": "skip", "sampler": "grid", "space": several}))
    with pytest.raises(UserError, match="the grid has 811,801 points"):
        load_sweep(str(path), {})


def test_values_are_the_same_up_to_rounding() -> None:
    assert same_value(0.1 + 0.2, 0.3)
    assert same_value(1, 1.0)
    assert not same_value(1, True)
    assert not same_value(0.3, 0.3001)
    assert not same_value(None, 0)
    assert same_value("a", "a")
    assert not Parameter.model_validate({"int": [0, 4]}).holds(1.5)
    assert Parameter.model_validate({"float": [0, 1], "step": 0.1}).holds(0.1 + 0.2)
