"""Every command on narrow terminals: the same numbers as on a wide one, none of them broken."""

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.cli.console import print_frame
from harness.experiment.registry import method_class, method_names
from harness.experiment.spec import RunSpec
from tests.commands import ROOT, skipbench
from tests.terminal import command_on_terminal, numbers_in, on_terminal

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
EMBEDDED = ("--results", str(ROOT / "results" / "embedded"))
# Those with embedded results, so that nothing is computed.
METHODS = "zeroshot,clip_adapter,coop,cocoop,maple,finetune,skip"


# What commands compute before they print, by module.
COMPUTED = {
    "harness.report.runs": ("experiment_runs", "folder_runs"),
    "harness.report.paper_tables": ("paper_tables",),
    "harness.report.published": ("with_published",),
    "harness.report.compare": ("number_differences",),
}


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a command, and let forks of this process that run it again find what it computed, call by call."""
    recorded: dict[str, list[Any]] = {}
    recording = True

    def kept(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def find(*given: Any, **options: Any) -> Any:
            if not recording:
                return recorded[name].pop(0)
            found = function(*given, **options)
            recorded.setdefault(name, []).append(found)
            return found

        return find

    for module, names in COMPUTED.items():
        for name in names:
            monkeypatch.setattr(f"{module}.{name}", kept(name, getattr(importlib.import_module(module), name)))

    def run(*words: str) -> None:
        nonlocal recording
        recording = True
        recorded.clear()
        assert skipbench(*words).returncode == 0
        recording = False

    return run


def check(narrow: str, wide: str, width: int) -> None:
    """The numbers of a print on a narrow terminal are those of a wide one; names of rows may be there again."""
    assert numbers_in(wide), wide
    assert set(numbers_in(narrow)) == set(numbers_in(wide)), narrow
    assert not Counter(numbers_in(wide)) - Counter(numbers_in(narrow))
    assert "…" not in narrow
    # Only a path is longer than a line.
    assert all(len(line.rstrip()) <= width or " " not in line.strip() for line in narrow.splitlines()), narrow


@pytest.mark.parametrize(
    ("words", "widths"),
    [
        (("table",), (60, 80, 120)),
        (("table", "--transpose"), (60,)),
        (("bench", METHODS), (60, 80, 120)),
        (("compare", "0b2e991d", "074d6c"), (60, 80)),
        (("runs",), (60, 80)),
        (("show", "0b2e991d"), (60,)),
        (("plan",), (60,)),
        (("list",), (60,)),
        (("data",), (60,)),
        (("keys", "skip"), (60, 80, 120)),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_commands_print_the_same_numbers_at_every_width(
    words: tuple[str, ...], widths: tuple[int, ...], compute: Callable[..., None]
) -> None:
    given = words if words[0] in ("list", "data", "keys") else (*words, *EMBEDDED)
    if words[0] in ("table", "compare"):
        compute(*given)
    wide = command_on_terminal(240, *given)
    for width in widths:
        check(command_on_terminal(width, *given), wide, width)


def test_all_methods_at_several_shots(
    tmp_path: Path, plan_runs: Plan, fill: Fill, compute: Callable[..., None]
) -> None:
    methods = [name for name in method_names() if method_class(name).trains]
    fill(tmp_path, plan_runs("few_shot", methods=methods, shots=[1, 4], seeds=[1]))
    words = ("table", "--results", str(tmp_path))
    compute(*words)
    wide = command_on_terminal(1000, *words)
    assert wide.splitlines()[1].split()[:3] == ["data", "set", "shots"]
    for width in (60, 120):
        narrow = command_on_terminal(width, *words)
        check(narrow, wide, width)
        # Methods are rows, each once a block, and the accuracies stand in the first block.
        head = narrow.splitlines()[1]
        assert head.split()[:3] == ["method", "emoji", "1"], head
        assert "emoji 4" in head
        rows = narrow.split("(continued)")[0].splitlines()[2:]
        assert len(rows) >= len(methods)
    kept = command_on_terminal(80, *words, "--no-transpose")
    assert kept.splitlines()[1].split()[:3] == ["data", "set", "shots"]


def test_an_ablation_over_two_settings(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    axes = ("skip.depth=0,3", "train.lr=0.0123456,0.1")
    fill(tmp_path, plan_runs("base_to_new", *axes, methods=["skip"], seeds=[1, 2]))
    words = ("bench", "skip", *axes, "--seeds", "1,2", "--results", str(tmp_path))
    check(command_on_terminal(60, *words), command_on_terminal(240, *words), 60)


FRAMES = {
    "speed": pd.DataFrame(
        [{"method": "clip_adapter depth=12", "setting": "on", "step ms": "1234.5 (5217.25x)", "cache ms": "0.5 (7.1x)"}]
    ),
    "sweep": pd.DataFrame([{"trial": "3", "skip.depth": "2", "lr": "0.0035", "H": "59.2 ± 0.4", "run MiB": "30.6"}]),
    "estimate": pd.DataFrame([{"method": "skip", "dataset": "emoji", "batch": "4", "train MiB": "≤ 12,345.6"}]),
}


@pytest.mark.parametrize("width", [20, 60, 80])
@pytest.mark.parametrize("name", FRAMES)
def test_tables_of_commands_that_measure(name: str, width: int) -> None:
    labels = 3 if name == "estimate" else None
    wide, narrow = (
        on_terminal(size, lambda: print_frame(FRAMES[name], "a title", labels=labels)) for size in (240, width)
    )
    assert set(numbers_in(narrow)) == set(numbers_in(wide))
    assert width == 20 or all(len(line.rstrip()) <= width for line in narrow.splitlines())


def test_a_pipe_gets_the_whole_width() -> None:
    piped = skipbench("bench", METHODS, *EMBEDDED, COLUMNS="40").stdout.splitlines()
    (head,) = (line for line in piped if line.split()[:1] == ["method"])
    assert head.split()[2:6] == ["seeds", "base", "new", "H"]
    assert head.rstrip().endswith("run MiB")
