"""Grids on the command line: the same from words, options and files, and the ablation that a benchmark ends with."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import COMMANDS, cli
from harness.experiment.spec import RunSpec
from tests.commands import error_line, run_process, skipbench
from tests.evaluations import FEW_OF_BOTH

SMALL = ["--shots", "2", "--recipe", "official", "train.epochs=1", FEW_OF_BOTH]
Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def planned(*words: str, **environment: str) -> str:
    done = skipbench("plan", *words, RESULTS="nowhere", **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_words_options_and_files_plan_the_same_runs(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(
        "methods: skip,coop\nbackbone: clip-emoji, ViT-B-16:random\nshots: 1..2\nseeds: [1, 2]\n"
        "recipe: official\nsettings:\n  skip.depth: 2..6..4\n  train: {lr: [1e-3, 2e-3]}\n"
    )
    words = ["methods=skip,coop", "backbone=clip-emoji,ViT-B-16:random", "shots=1,2", "seeds=1..2", "recipe=official"]
    options = ["--backbone", "clip-emoji,ViT-B-16:random", "--shots", "1..2", "--seeds", "1,2", "--recipe", "official"]
    settings = ["skip.depth=2,6", "train.lr=1e-3,0.002"]
    asked = planned(*words, *settings)
    assert asked == planned(*options, "methods=[skip, coop]", *settings)
    assert asked == planned(str(path))
    assert "2 backbones x 2 shots x 2 methods x 2 values of skip.depth x 2 values of train.lr x 2 seeds" in asked
    assert "skip-emoji-1shot-seed1 clip-emoji skip.depth=2 train.lr=0.001" in asked
    assert "coop-emoji-1shot-seed1 clip-emoji train.lr=0.001" in asked


def test_bench_of_a_grid_ends_with_an_ablation(tmp_path: Path) -> None:
    words = ["bench", "skip", "skip.depth=3,5", "--seeds", "1", "--results", str(tmp_path), *SMALL]
    done = skipbench(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 values of skip.depth = 2 runs\n")
    title = "skip.depth, base_to_new, emoji, 2 shots"
    _, header, first, second, *_ = done.stdout[done.stdout.index(title) :].splitlines()
    assert header.split()[:5] == ["method", "skip.depth", "base", "new", "H"]
    assert (first.split()[:2], second.split()[0]) == (["skip", "3"], "5")
    spec = next(tmp_path.glob("runs/*/spec.yaml"))
    again = skipbench("run", str(spec), "skip.depth=3,5", "--results", str(tmp_path))
    assert "2 of 2 runs are complete already." in again.stdout
    assert again.stdout[again.stdout.index(title) :].splitlines()[1:4] == [header, first, second]


def test_tables_over_an_axis_name_the_others(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    axes = ["skip.depth=2,4", "train.lr=1e-3,2e-3"]
    fill(tmp_path, plan_runs("base_to_new", *axes, methods=["skip"]))
    done = skipbench("table", "--over", "skip.depth", *axes, RESULTS=str(tmp_path))
    rows = [line for line in done.stdout.splitlines() if "0.00" in line]
    assert [row.removeprefix(" skip").split()[:2] for row in rows] == [
        ["2,", "0.001"],
        ["2,", "0.002"],
        ["4,", "0.001"],
        ["4,", "0.002"],
    ]
    refused = error_line("figures", "--over", "skip.depth", *axes, RESULTS=str(tmp_path))
    assert refused == "error: a figure shows one axis, and the experiment varies train.lr too: give it one value"
    compared = error_line("compare", "bench", *axes, RESULTS=str(tmp_path))
    assert compared.startswith("error: compare takes means over seeds, and this experiment varies skip.depth too")
    nothing = error_line("table", "--over", "skip.dept", RESULTS=str(tmp_path))
    assert "skipbench bench METHODS skip.dept=A,B" in nothing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "skip", "skip.depth=3..1"], "skip.depth=3..1: the range is empty"),
        (["bench", "skip", "method=skip,coop"], "'method' is an axis of the experiment: set it with METHOD="),
        (["plan", "train.precision=fp32,bf17"], "train.precision='bf17': input should be 'fp32', 'tf32', 'bf16'"),
        (["plan", "shots=1..3..x"], "shots=1..3..x: a range is FIRST..LAST or FIRST..LAST..STEP"),
        (["run"], "name a FILE"),
        (["plan", "--seeds", ""], "--seeds is empty: give a value, or leave the option out"),
        (["bench", "skip", "coop"], "several methods are separated by commas: skip,coop"),
        (["bench", ""], "the first word is empty: name a method or a file"),
        (["plan", "--seeds", "010"], "seeds: 010 may be read in several ways: write the number without leading zeros"),
        (["plan", "--seeds", "true"], "seeds=true: a number is needed"),
        (["plan", "seeds=[on]"], "seeds=[on]: on may be read in several ways"),
        (["plan", "--seeds", "-1"], "seeds.0=-1: input should be greater than or equal to 0"),
        (["plan", "--seeds", "18446744073709551616"], "seeds: 18446744073709551616 is too large: whole numbers go up"),
        (["plan", "--shots", "0"], "data.shots=0: input should be greater than or equal to 1"),
        (["plan", "train.epochs=true"], "train.epochs=true: a number is needed"),
        (["plan", "train.epochs=2.0"], "train.epochs=2.0: a whole number is needed, write 2"),
        (["plan", "train.epochs="], "train.epochs=: give a value, or train.epochs=null for none"),
        (["plan", "train.lr=null"], "train.lr=null: a number is needed"),
        (["plan", "train.lr=1..1e400"], "train.lr=1..1e400: a range is FIRST..LAST"),
        (["plan", "data.flip=1"], "data.flip=1: write true or false"),
        (["plan", "wandb.project=5"], "wandb.project=5: a text is needed, put it in quotes"),
        (["plan", "schedule.time_limit=true"], "schedule.time_limit=true: use seconds"),
        (["plan", "runtime.threads=1000000"], "runtime.threads=1000000: input should be less than or equal to 4096"),
        (["speed", "coop", "coop.n_ctx=4..2"], "coop.n_ctx=4..2: the range is empty"),
        (["speed", "coop", "precision=fp32,fp8"], "precision='fp8': input should be"),
        (["estimate", "skip", "classes=3..1"], "classes=3..1: the range is empty"),
        (["sweep", "skip", "skip.depth=3..1"], "skip.depth=3..1: the range is empty"),
    ],
)
def test_mistakes_in_axes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    line = error_line(*words, RESULTS=str(tmp_path))
    # A sweep's space is that of its file with the words on top, so the file is named first.
    start = r"error: (sweep '\S+skip\.yaml': )?" if words[0] == "sweep" else "error: "
    assert re.match(start + re.escape(message), line), line


# The table of commands.


def test_every_command_of_the_table_is_there_under_its_name() -> None:
    for name in COMMANDS:
        done = CliRunner().invoke(cli, [name, "--help"])
        assert done.exit_code == 0, done.output
        assert done.output.startswith(f"Usage: cli {name} ")


def test_help_lists_all_commands_and_imports_none() -> None:
    done = run_process("--help", options=("-X", "importtime"))
    listed = done.stdout[done.stdout.index("Commands:") :]
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(COMMANDS)
    for module in ("harness.cli.run", "pydantic", "torch", "pandas"):
        assert f" {module}\n" not in done.stderr
    unknown = skipbench("bnech")
    assert unknown.returncode == 2
    assert unknown.stderr == "error: unknown command 'bnech'. Did you mean 'bench'? `skipbench --help` lists all\n"
