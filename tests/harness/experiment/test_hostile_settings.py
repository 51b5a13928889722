"""Whatever stands in a file or in a word: runs are planned, or one UserError names the file or the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.one_run import vary
from harness.experiment.recipes import EXPERIMENTS, read_recipe_file
from harness.experiment.settings import parse_overrides, read_yaml, validate
from harness.experiment.spec import RunSpec
from harness.experiment.yaml_values import dump_yaml
from harness.tune.sweep_file import load_sweep
from tests.commands import error_line

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEEDS = "methods: [skip]\nseeds: [1]\nshots: [2]\nsettings: {train: {epochs: 1, lr: 2e-3}, skip.depth: 3}\n"
SWEEP = "method: skip\nspace:\n  skip.depth: {int: [0, 3]}\n  train.lr: {float: [1e-4, 1e-2], log: true}\ntrials: 2\n"
RECIPE = "train: {epochs: 2, lr: 1e-3}\nskip: {depth: 2, lambda: 0.5}\ndata.templates: zeroshot\n"
SPEC = "method: skip\nskip: {depth: 2}\nseed: 1\nevaluate: [{name: new, dataset: emoji, classes: new}]\n"


def plan_recipe(path: Path) -> None:
    read_recipe_file.cache_clear()
    expand(load_experiment(EXPERIMENTS / "bench.yaml", {"recipe": str(path), "seeds": [1]}))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "experiment": (SEEDS, lambda path: expand(load_experiment(path))),
    "sweep": (SWEEP, lambda path: load_sweep(str(path), {}).specs({})),
    "recipe": (RECIPE, plan_recipe),
    "spec": (SPEC, lambda path: vary(read_yaml(path), {}, str(path))),
}

NUMBERS = [
    "010",
    "0x1",
    "1_0",
    "1:30",
    "2e-3",
    ".5",
    "1.",
    ".inf",
    "nan",
    "-1",
    "0",
    "1e400",
    "2.0",
    "0..3",
    "0..",
    "0..blocks",
    "1,2",
    "18446744073709551616",
]
WORDS = ["~", "true", "yes", "x", "*a", "!!x", "[", "]", "{", "}", "[[1]]", "{}", "[]", "'", "|", ">", "%", "@", "null"]
OTHERS = ["", "&a 1", "{a: 1}", "a: b", "\t1", "\x00", "\u2028", "é", "- 1", "9" * 30, "[" * 50 + "]" * 50]
SCALARS = st.sampled_from([*NUMBERS, *WORDS, *OTHERS])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**62) | FLOATS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def hostile_texts(draw: st.DrawFn, text: str) -> bytes:
    """A good file that was cut, changed in one line or one value, doubled or replaced."""
    lines = text.splitlines(keepends=True)
    number = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(["cut", "scalar", "value", "twice", "binary", "insert"]))
    if kind == "cut":
        return text.encode()[: draw(st.integers(0, len(text)))]
    if kind == "twice":
        return "".join([*lines, lines[number]]).encode()
    if kind == "binary":
        return draw(st.binary(max_size=60))
    key, _, _ = lines[number].partition(":")
    if kind == "insert":
        place = draw(st.integers(0, len(text)))
        return (text[:place] + draw(SCALARS) + text[place:]).encode()
    written = draw(SCALARS) if kind == "scalar" else dump_yaml(draw(VALUES), default_flow_style=True, width=10**6)
    lines[number] = f"{key}: {written}\n"
    return "".join(lines).encode()


def survive(action: Callable[[], object]) -> None:
    """Run something that may end in a UserError of one line, and in nothing else."""
    refused = ""
    try:
        action()
    except UserError as error:
        refused = str(error)
    assert len(refused.splitlines()) <= 1


@pytest.mark.parametrize("kind", READERS)
@QUICK
@given(data=st.data())
def test_a_damaged_file_plans_runs_or_is_refused_in_one_line(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    text, read = READERS[kind]
    path = tmp_path / "file.yaml"
    path.write_bytes(data.draw(hostile_texts(text)))
    survive(lambda: read(path))


KEYS = [
    "train.lr",
    "train.epochs",
    "skip.depth",
    "seeds",
    "shots",
    "methods",
    "datasets",
    "evaluate",
    "data",
    "train",
    "wandb.tags",
    "schedule.slurm",
    "lr",
    "a.b",
    ".",
    "é",
    "data.crop_scale",
    "runtime.threads",
    "recipe",
    "protocol",
    "backbone",
    "targets",
    "tuned",
    "train.",
    "skip",
    "coop.n_ctx",
    "schedule",
    "name",
]
PAIRS = st.tuples(st.sampled_from(KEYS) | st.text(max_size=4), SCALARS | st.text(max_size=6))


@QUICK
@given(st.lists(PAIRS, min_size=1, max_size=2))
def test_words_plan_runs_or_are_refused_in_one_line(pairs: list[tuple[str, str]]) -> None:
    from harness.cli.grid import GridOptions, read_experiment

    words = tuple(f"{key}={value}" for key, value in pairs)
    survive(lambda: expand(read_experiment("skip", words, GridOptions())))


@pytest.mark.parametrize("kind", READERS)
def test_the_files_themselves_are_good(kind: str, tmp_path: Path) -> None:
    text, read = READERS[kind]
    (tmp_path / "file.yaml").write_text(text)
    read(tmp_path / "file.yaml")


CONTENTS: dict[str, Any] = {
    "empty": b"",
    "binary": b"\x80\x00\xff",
    "list": b"- 1\n",
    "deep": b"a: " + b"[" * 5000,
    "twice": b"seeds: [1]\nseeds: [2]\n",
    "bomb": b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "utf-16": "seeds: [1]\n".encode("utf-16"),
    "octal": b"seeds: [010]\n",
}


COMMANDS = ["bench --experiment", "run", "plan", "sweep", "bench skip --recipe", "table", "compare"]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_such_files_with_one_line_that_names_them(command: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_bytes(CONTENTS[content])
    assert "hostile.yaml'" in error_line(*command.split(), str(path), "--results", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_the_word_is_named() -> None:
    assert parse_overrides(["train.lr=2e-3"]) == {"train": {"lr": 0.002}}
    assert error_line("plan", "train.epochs=[[1").startswith("error: train.epochs=[[1: not valid YAML")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"select": {"shots": "al"}}, "select.shots='al': use a whole number, or 'shots' or 'all'"),
        ({"select": {"shots": 0}}, "select.shots=0: input should be greater than or equal to 1"),
        ({"train": {"keep_remainder": "two"}}, "train.keep_remainder='two': use true or false, or 'alone'"),
        ({"train": {"betas": 0.9}}, "train.betas=0.9: a list is needed, in brackets"),
        ({"evaluate": [{"name": "a", "dataset": "b", "splits": ["tset"]}]}, "evaluate.0.splits.0='tset': input should"),
    ],
)
def test_a_setting_of_several_types_is_named_as_it_is_written(settings: dict[str, Any], message: str) -> None:
    evaluate = [{"name": "base", "dataset": "emoji"}]
    with pytest.raises(UserError) as caught:
        validate(RunSpec, {"method": "skip", "evaluate": evaluate, **settings}, "")
    assert str(caught.value).startswith(message)
