"""Which methods there are: every file in `methods/` is one, its class is found by importing it."""

import ast
import importlib
import inspect
import traceback
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import methods
from harness.errors import UserError, first_line, nearest

if TYPE_CHECKING:
    from methods.base import Method

INTERFACE = "base"


def method_names() -> list[str]:
    """Names of all methods, without importing any.

    Raises:
        UserError: a folder of methods does not exist.
    """
    return _names_in(tuple((path, _changed(Path(path))) for path in methods.__path__))


def _changed(folder: Path) -> int:
    if not folder.is_dir():
        raise UserError(f"SKIPBENCH_METHODS='{folder}' is no folder: name one whose files are methods")
    return folder.stat().st_mtime_ns


@cache
def _names_in(folders: tuple[tuple[str, int], ...]) -> list[str]:
    files = {path.stem for folder, _ in folders for path in Path(folder).glob("*.py")}
    return sorted(name for name in files if name != INTERFACE and not name.startswith("_"))


def check_method(name: str) -> str:
    """The name, if there is such a method.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in method_names():
        raise UserError(
            f"unknown method '{name}'.{nearest(name, method_names())} `skipbench list` names all, and the variable "
            "SKIPBENCH_METHODS a folder with more"
        )
    return name


def method_file(name: str) -> Path:
    """The file of a method, which is not imported.

    Raises:
        UserError: no such method.
    """
    spec = find_spec(f"methods.{check_method(name)}")
    assert spec
    return Path(str(spec.origin))


def method_about(name: str) -> str:
    """The first line of what a method's file says about itself, without importing it: that would import torch.

    Raises:
        UserError: no such method, or its file is not valid Python; names the line.
    """
    path = method_file(name)
    try:
        text = ast.get_docstring(ast.parse(path.read_bytes(), str(path))) or ""
    except SyntaxError as error:
        raise not_valid(error) from error
    return text.partition("\n")[0]


def not_valid(error: SyntaxError) -> UserError:
    """The error of a method's file that is no Python."""
    return UserError(f"{error.filename} is not valid Python: line {error.lineno}: {error.msg}")


def method_class(name: str) -> "type[Method]":
    """The class of a method.

    Raises:
        UserError: no such method, or its file cannot be imported or does not define exactly one Method.
    """
    return _only_method_in(import_method(name))


def import_method(name: str) -> ModuleType:
    """The module of a method.

    Raises:
        UserError: no such method, or its file cannot be imported; names the line.
    """
    try:
        return importlib.import_module(f"methods.{check_method(name)}")
    except UserError:
        raise
    except SyntaxError as error:
        raise not_valid(error) from error
    except Exception as error:  # whatever a file of the user's does when it is imported
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
        where = next((frame for frame in reversed(frames) if Path(frame.filename).stem == name), None)
        line = f"line {where.lineno}: " if where else ""
        file = where.filename if where else f"method '{name}'"
        raise UserError(f"{file} cannot be imported: {line}{type(error).__name__}: {first_line(error)}") from error


@cache
def _only_method_in(module: ModuleType) -> "type[Method]":
    from methods.base import Method

    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Method) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"{module.__file__} must define one subclass of Method, it defines {len(found)}")
    return found[0]
