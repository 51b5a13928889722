"""A method is a file in `methods/`: adding one needs nothing else."""

from collections.abc import Callable

import pytest

from harness.errors import UserError
from harness.experiment.grid import Experiment, expand
from harness.experiment.registry import check_method, method_class, method_names
from methods.base import Method
from tests.commands import skipbench

ONE = """
from pydantic import Field

from methods.base import Method

class Mine(Method):
    class Config(Method.Config):
        strength: int = Field(3, ge=0)
"""
NONE = "from methods.base import Method\nfrom methods.zeroshot import ZeroShot\n"
TWO = ONE + "\nclass Other(Mine):\n    pass\n"


def test_every_method_is_found_with_its_class() -> None:
    names = method_names()
    assert {"finetune", "skip", "zeroshot"} <= set(names)
    assert names == sorted(names)
    assert not {"base", "__init__"} & set(names)
    for name in names:
        found = method_class(name)
        assert issubclass(found, Method)
        assert found.__module__ == f"methods.{name}"


def test_a_file_that_is_added_is_a_method(add_method: Callable[[str, str], None]) -> None:
    before = method_names()
    add_method("mine_", ONE)
    assert method_names() == sorted([*before, "mine_"])
    assert check_method("mine_") == "mine_"
    assert method_class("mine_").__name__ == "Mine"


def test_an_added_method_runs_with_its_defaults_and_takes_its_options(add_method: Callable[[str, str], None]) -> None:
    add_method("mine_", ONE)
    experiment = Experiment(methods=("mine_",), seeds=(1, 2))
    assert [spec.options for spec in expand(experiment)] == [{"strength": 3}] * 2
    assert expand(experiment, {"mine_": {"strength": 5}})[0].options == {"strength": 5}
    with pytest.raises(UserError, match=r"mine_\.strength=-1"):
        expand(experiment, {"mine_": {"strength": -1}})
    with pytest.raises(UserError, match=r"unknown key 'mine_\.strenght'\. Did you mean 'strength'\?"):
        expand(experiment, {"mine_": {"strenght": 1}})


@pytest.mark.parametrize(("code", "count"), [(NONE, 0), (TWO, 2)])
def test_a_file_without_exactly_one_method_is_refused(
    add_method: Callable[[str, str], None], code: str, count: int
) -> None:
    add_method("mine_", code)
    with pytest.raises(UserError, match=rf"mine_\.py must define one subclass of Method, it defines {count}"):
        method_class("mine_")


def test_helper_files_are_no_methods(add_method: Callable[[str, str], None]) -> None:
    add_method("_helper", "VALUE = 1\n")
    assert "_helper" not in method_names()


@pytest.mark.parametrize("name", ["base", "_helper", "skpi", "", "../harness/run"])
def test_an_unknown_method_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown method '{name}'"):
        method_class(name)


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'zeroshot'\?"):
        check_method("zero-shot")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import torch\nimport nowhere\n",
            r"mine_\.py cannot be imported: line 2: ModuleNotFoundError: No module named",
        ),
        (ONE + "\nVALUE = 1 / 0\n", r"mine_\.py cannot be imported: line 10: ZeroDivisionError"),
        ("class Mine(:\n", r"mine_\.py is not valid Python: line 1: "),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line(
    code: str, message: str, add_method: Callable[[str, str], None]
) -> None:
    add_method("mine_", code)
    with pytest.raises(UserError, match=message) as error:
        method_class("mine_")
    assert "\n" not in str(error.value)


def test_a_method_without_a_docstring_is_listed(add_method: Callable[[str, str], None]) -> None:
    add_method("mine_", ONE)
    assert "method    mine_" in skipbench("list").stdout.splitlines()
