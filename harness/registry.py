"""Which methods there are: every file in `methods/` is one, its class is found by importing it."""

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import methods
from harness.errors import UserError, nearest

if TYPE_CHECKING:
    from methods.base import Method

INTERFACE = "base"


def method_names() -> list[str]:
    """Names of all methods, without importing any.

    Raises:
        UserError: a folder of methods does not exist.
    """
    folders = [Path(folder) for folder in methods.__path__]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise UserError(f"SKIPBENCH_METHODS='{missing[0]}' is no folder: name one whose files are methods")
    files = {path.stem for folder in folders for path in folder.glob("*.py")}
    return sorted(name for name in files if name != INTERFACE and not name.startswith("_"))


def check_method(name: str) -> str:
    """The name, if there is such a method.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in method_names():
        raise UserError(f"unknown method '{name}'.{nearest(name, method_names())}")
    return name


def method_class(name: str) -> "type[Method]":
    """The class of a method.

    Raises:
        UserError: no such method, or its file does not define exactly one Method.
    """
    from methods.base import Method

    module = importlib.import_module(f"methods.{check_method(name)}")
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Method) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"methods/{name}.py must define one subclass of Method, it defines {len(found)}")
    return found[0]
