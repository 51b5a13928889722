"""The rooms of the code: which may import which, how long a file may be, and what is named in one place only."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.experiment.protocols import PROTOCOLS
from harness.experiment.registry import method_names
from harness.reference.contract.source import MAY_IMPORT
from harness.results.metrics import METRICS
from tests.commands import ROOT

# Lowest first: a room imports those before it and itself. Rooms of one line do not import each other.
FLOORS = (
    ("text",),
    ("errors",),
    ("statistics",),
    ("machine",),
    ("clip",),
    ("data",),
    ("methods",),
    ("experiment",),
    ("results",),
    ("rescore",),
    ("tracking",),
    ("training",),
    ("estimate",),
    ("reference",),
    ("schedule",),
    ("report",),
    ("tune",),
    ("board",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What a method's file may import; other methods too, whose classes it may extend.
METHODS_IMPORT = {*MAY_IMPORT, *(f"methods.{name}" for name in method_names()), *sys.stdlib_module_names}
MOST_LOOSE_MODULES = 5
MOST_LINES = 350
# Files that are longer, and why.
LONG_FILES: dict[str, str] = {}
# Files beside experiment/protocols.py that name a protocol, and why.
PROTOCOL_NAMES = {
    "harness/experiment/cards.py": "what official code selects on has the same name",
    "harness/experiment/grid.py": "the default",
    "harness/experiment/spec.py": "the default",
    "harness/tune/sweep.py": "the default",
}
# Files beside results/metrics.py that name a metric, and why.
METRIC_NAMES = {
    "harness/experiment/protocols.py": "the headline of each protocol",
    "harness/report/figures.py": "accuracy of single classes, which is no metric of a run",
    "harness/report/published_costs.py": "which measured cost is nearest to a published one",
    "harness/report/speed_table.py": "a cost of one step, which is no metric of a run",
    "harness/tune/report.py": "to be removed",
    "harness/tune/sweep.py": "the default objectives",
}


class Import(NamedTuple):
    """A module that a line of a file imports."""

    file: str
    line: int
    module: str


def imports_in(file: str, source: str) -> Iterator[Import]:
    """All imports of a file: inside functions too, and names of our modules in strings, which are imported later."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports name their module in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if re.fullmatch(r"harness(\.\w+)+", node.value) else []
        yield from (Import(file, node.lineno, name) for name in names)


def room_of_file(file: str) -> str:
    """harness/clip/load.py -> clip, methods/skip.py -> methods, harness/errors.py -> errors."""
    top, *rest = Path(file).with_suffix("").parts
    return top if top == "methods" else rest[0]


def room_of_module(module: str) -> str | None:
    """harness.clip.load -> clip, methods.skip -> methods; None for what is not ours, and for the package itself."""
    top, *rest = module.split(".")
    if top == "methods":
        return top
    return rest[0] if top == "harness" and rest and rest[0] in FLOOR else None


def breaches(imports: Iterable[Import]) -> list[str]:
    """Imports of a higher room, or of a neighbour on the same floor, one line each."""
    found = []
    for item in imports:
        mine, theirs = room_of_file(item.file), room_of_module(item.module)
        if theirs and theirs != mine and FLOOR[theirs] >= FLOOR[mine]:
            found.append(f"{item.file}:{item.line}: {mine} imports {item.module}, which is no lower room")
    return found


def sources(*folders: str, endings: tuple[str, ...] = (".py",)) -> dict[str, str]:
    """File -> text of all files in some folders of the project."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in endings]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(paths)}


def code_in_rooms() -> dict[str, str]:
    """File -> text of all files that belong to a room."""
    found = sources("harness", "methods")
    return {file: text for file, text in found.items() if room_of_file(file) in FLOOR}


def test_every_folder_is_a_room_and_few_modules_are_loose() -> None:
    folders = {path.name for path in (ROOT / "harness").iterdir() if (path / "__init__.py").is_file()}
    # What is embedded is data.
    assert folders - {"embedded"} == FLOOR.keys() - {"text", "errors", "methods"}
    loose = sorted(path.name for path in (ROOT / "harness").glob("*.py"))
    assert len(loose) <= MOST_LOOSE_MODULES, loose


def test_rooms_import_lower_rooms_only() -> None:
    imports = [item for file, text in code_in_rooms().items() for item in imports_in(file, text)]
    # The search works: it sees what is imported at the top, inside functions and by name.
    assert {room_of_module(item.module) for item in imports} >= FLOOR.keys() - {"cli"}
    assert breaches(imports) == []


@pytest.mark.parametrize(
    ("file", "source", "number"),
    [
        ("harness/data/a.py", "from harness.clip.load import load", 0),
        ("harness/data/a.py", "import harness.cli", 1),
        ("harness/data/a.py", "from harness import cli, machine", 1),
        ("harness/data/a.py", "def f():\n    from harness.training.run import Run", 1),
        ("harness/data/a.py", "if TYPE_CHECKING:\n    from methods.base import Method", 1),
        ("harness/data/a.py", "import_module('harness.training.run')", 1),
        ("harness/report/a.py", "from harness.tune.sweep import Sweep", 1),
        ("methods/a.py", "from harness.experiment.spec import RunSpec", 1),
    ],
)
def test_an_import_that_goes_up_is_noticed(file: str, source: str, number: int) -> None:
    assert len(breaches(imports_in(file, source))) == number


def test_a_method_imports_mathematics_and_its_interface_only() -> None:
    for file, text in sources("methods").items():
        if Path(file).stem not in ("base", "__init__"):
            for item in imports_in(file, text):
                assert any(f"{item.module}.".startswith(f"{name}.") for name in METHODS_IMPORT), item


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    endings = (".py", ".js", ".css", ".html")
    found = sources("harness", "methods", "experiments", "tests", endings=endings)
    assert {file for file, text in found.items() if len(text.splitlines()) > MOST_LINES} == LONG_FILES.keys()


def test_tests_are_found_by_name() -> None:
    """A test file stands where the module of its name stands; one about anything else has a name of its own."""
    files = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    mirrored = {file for file in files if (ROOT / file.parent / file.name.removeprefix("test_")).is_file()}
    assert len(mirrored) > 50
    rooms = {file.parts[1].removeprefix("test_").removesuffix(".py") for file in mirrored if file.parts[0] == "harness"}
    assert rooms == FLOOR.keys() - {"methods"}
    names = Counter(file.name for file in files if file not in mirrored)
    assert [name for name, count in names.items() if count > 1] == []


def strings_in(source: str) -> set[str]:
    """The strings that a file's code holds; documentation is no code."""
    nodes = list(ast.walk(ast.parse(source)))
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    }


def naming(names: Iterable[str]) -> set[str]:
    """The files whose code holds one of some names as a string."""
    return {file for file, text in code_in_rooms().items() if strings_in(text).intersection(names)}


def test_a_protocol_is_named_where_it_is_defined() -> None:
    assert naming(PROTOCOLS) == {"harness/experiment/protocols.py", *PROTOCOL_NAMES}


def test_a_metric_is_named_where_it_is_defined() -> None:
    names = {name for metric in METRICS.values() for name in (metric.name, metric.title, metric.wandb)}
    assert naming(names) == {"harness/results/metrics.py", *METRIC_NAMES}
