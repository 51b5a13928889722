"""Properties of a method's file and of its class, before anything is built."""

import ast
import re
import sys
from collections.abc import Iterator

from harness.experiment.registry import import_method, method_class, method_names
from harness.experiment.spec import SPEC_KEYS
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.verdicts import Broken, Remark
from methods.base import Method

NAME = re.compile(r"[a-z][a-z0-9_]*")
LINES = 120
# What a method may import besides the standard library: each of these and what is below it.
MAY_IMPORT = ("torch", "pydantic", "methods.base", "harness.clip")
# What reaches outside the mathematics, each with the reason why a method has no use for it.
DATA = "weights and images come from the harness, what is learned goes into its checkpoint"
LOG = "what a reader should know of a training goes into facts()"
DEVICE = "new parameters are moved for you, and other tensors belong on self.clip.device"
SEED = "the harness has seeded torch before build() and before every epoch"
PROCESS = "the harness starts processes"
MODULES = {
    **dict.fromkeys(("glob", "io", "os", "pathlib", "pickle", "shutil", "sqlite3", "tempfile", "zipfile"), DATA),
    **dict.fromkeys(("http", "socket", "urllib"), DATA),
    **dict.fromkeys(("multiprocessing", "subprocess"), PROCESS),
    "logging": LOG,
}
BUILTINS = {"open": DATA, "print": LOG, "input": PROCESS}
TORCH = {
    **dict.fromkeys(("torch.load", "torch.save", "torch.hub"), DATA),
    **dict.fromkeys(("torch.cuda", "torch.device", "torch.accelerator", "torch.backends", "torch.mps"), DEVICE),
    **dict.fromkeys(("torch.set_default_device", "torch.set_default_dtype"), DEVICE),
    **dict.fromkeys(("torch.manual_seed", "torch.seed"), SEED),
}
DEVICE_NAME = re.compile(r"(cpu|cuda|mps)(:\d+)?")


def can_be_imported(candidate: Candidate) -> str:
    """Python can read and import the file."""
    import_method(candidate.name)
    return str(candidate.files[0])


def has_a_usable_name(candidate: Candidate) -> str:
    """The file's name can stand in `name.option=value`, and no other file has it."""
    name = candidate.name
    if not NAME.fullmatch(name):
        raise Broken(f"'{name}' is no name for settings: use lower-case letters, digits and underscores")
    if name in SPEC_KEYS or name == "schedule":
        raise Broken(f"'{name}' is a section of every run's settings: name the file differently")
    first, *others = candidate.files
    if others:
        raise Broken(f"{others[0]} is never read: {first} has the same name, so rename one of them")
    return ""


def imports_only_what_a_method_may(candidate: Candidate) -> str:
    """The file imports torch, pydantic, methods.base, harness.clip, other methods, helpers, the standard library."""
    beside_it = {f"methods.{name}" for name in method_names()}
    for line, module in imported_modules(candidate.tree):
        allowed = any(module == known or module.startswith(f"{known}.") for known in MAY_IMPORT)
        helper = module.startswith("methods._") or module in beside_it
        if not (allowed or helper or module.partition(".")[0] in sys.stdlib_module_names):
            raise Broken(
                f"line {line} imports {module}: a method may import {', '.join(MAY_IMPORT)}, the standard library, "
                "other methods, and helper files beside it whose names begin with an underscore"
            )
    return ""


def reaches_for_nothing_outside(candidate: Candidate) -> str:
    """The file opens no files, writes no logs, asks for no device and sets no seed."""
    for line, what, reason in reaches_outside(candidate.tree):
        raise Broken(f"line {line} uses {what}: {reason}")
    return ""


def is_short(candidate: Candidate) -> str:
    """The file is of a length that is read in one go."""
    lines = len(candidate.source.splitlines())
    if lines > LINES:
        raise Remark(f"{lines} lines, and a method should have at most about {LINES}: leave in what the paper changes")
    return f"{lines} lines"


def is_one_documented_class(candidate: Candidate) -> str:
    """The file defines exactly one method, and file and class say what it is."""
    cls = method_class(candidate.name)
    if not ast.get_docstring(candidate.tree):
        raise Broken("the file has no docstring: begin it with one line that `skipbench list` shows, with the paper")
    if not (vars(cls).get("__doc__") or "").strip():
        raise Broken(f"class {cls.__name__} has no docstring: say in a line what it computes")
    return cls.__name__


def describes_its_options(candidate: Candidate) -> str:
    """Config is one of Method.Config, and each of its fields has a default and a description."""
    config = candidate.cls.Config
    if not issubclass(config, Method.Config):
        raise Broken("Config does not extend Method.Config: write `class Config(Method.Config)`")
    for name, field in config.model_fields.items():
        if not (field.description or "").strip():
            raise Broken(
                f"option '{field.alias or name}' has no description, which `skipbench keys {candidate.name}` prints: "
                'write Field(..., description="...")'
            )
        if field.is_required():
            raise Broken(f"option '{field.alias or name}' has no default: `skipbench bench {candidate.name}` needs one")
    return ", ".join(field.alias or name for name, field in config.model_fields.items()) or "no options"


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of every module that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from methods import base` imports methods.base.
            parents = ("methods", "harness")
            names = [f"{module}.{alias.name}" for alias in node.names] if module in parents else [module]
            yield from ((node.lineno, name) for name in names)


def reaches_outside(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, name and reason of all that a method should not use."""
    for line, module in imported_modules(tree):
        yield from ((line, part, MODULES[part]) for part in prefixes(module) if part in MODULES)
        yield from ((line, part, TORCH[part]) for part in prefixes(module) if part in TORCH)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            names = [f"torch.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name, TORCH[name]) for name in names if name in TORCH)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in TORCH:
            yield node.lineno, ast.unparse(node), TORCH[ast.unparse(node)]
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in BUILTINS:
                yield node.lineno, f"{name}()", BUILTINS[name]
            yield from ((node.lineno, device, DEVICE) for device in devices_in(node))


def devices_in(call: ast.Call) -> list[str]:
    """Devices that a call names: `.cuda()`, `.to("cuda:1")`, `device="cpu"`."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    called = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    moves = [f".{called}()"] if DEVICE_NAME.fullmatch(called) else []
    return [*moves, *(f"'{text}'" for text in texts if DEVICE_NAME.fullmatch(text))]


def prefixes(name: str) -> list[str]:
    """A dotted name and those above it: a, a.b, a.b.c."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
