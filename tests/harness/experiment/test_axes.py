"""The grammar of axes: what a written value stands for, by the type of its setting."""

from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from harness.errors import UserError
from harness.experiment.axes import Kind, Range, Word, kind_at, kind_of, points, text_of, values_of
from harness.experiment.grid import Experiment, axes_of, load_experiment, setting_kind
from harness.experiment.settings import parse_overrides


class Inner(BaseModel):
    number: int = 1


class Outer(BaseModel):
    name: Word = "x"
    about: str | None = None
    inner: Inner | None = None
    items: tuple[Inner, ...] = ()


class Colour(Enum):
    RED = "red"


# Kinds.


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, Kind.NUMBER),
        (float | None, Kind.NUMBER),
        (int | Literal["auto"], Kind.NUMBER),
        (Literal["a", "b"], Kind.WORD),
        (bool, Kind.WORD),
        (Word, Kind.WORD),
        (Word | None, Kind.WORD),
        (str, Kind.TEXT),
        (str | None, Kind.TEXT),
        (int | str, Kind.TEXT),
        (tuple[float, float], Kind.LIST),
        (list[str] | None, Kind.LIST),
        (str | tuple[str, ...], Kind.TEXTS),
        (dict[str, int], Kind.WHOLE),
        (Inner, Kind.WHOLE),
        (Any, Kind.WHOLE),
        (Colour, Kind.WHOLE),
    ],
)
def test_the_type_of_a_setting_decides_its_kind(annotation: Any, kind: Kind) -> None:
    assert kind_of(annotation) is kind


def test_a_setting_is_found_by_its_path() -> None:
    assert kind_at(Outer, ["name"]) is Kind.WORD
    assert kind_at(Outer, ["about"]) is Kind.TEXT
    assert kind_at(Outer, ["inner", "number"]) is Kind.NUMBER
    assert kind_at(Outer, ["items"]) is Kind.LIST
    assert kind_at(Outer, ["nothing"]) is None
    assert kind_at(Outer, ["inner", "nothing"]) is None
    assert kind_at(Outer, ["name", "deeper"]) is None


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("skip.lambda", Kind.NUMBER),
        ("train.lr_image", Kind.NUMBER),
        ("train.precision", Kind.WORD),
        ("data.classes", Kind.WORD),
        ("data.held_out", Kind.WORD),
        ("data.flip", Kind.WORD),
        ("data.templates", Kind.TEXTS),
        ("data.index", Kind.TEXT),
        ("wandb.group", Kind.TEXT),
        ("wandb.tags", Kind.LIST),
        ("data.crop_scale", Kind.LIST),
        ("evaluate", Kind.LIST),
        ("coop.n_ctx", None),
        ("skip", None),
    ],
)
def test_kinds_of_the_settings_of_a_run(key: str, kind: Kind | None) -> None:
    assert setting_kind("skip", key) is kind
    assert setting_kind("coop", "coop.ctx_init") is Kind.TEXT


# Values.


@pytest.mark.parametrize(
    ("written", "kind", "values"),
    [
        ("0..3", Kind.NUMBER, (0, 1, 2, 3)),
        ("0..12..4", Kind.NUMBER, (0, 4, 8, 12)),
        ("0..11..4", Kind.NUMBER, (0, 4, 8)),
        ("-2..0", Kind.NUMBER, (-2, -1, 0)),
        ("0..0.3..0.1", Kind.NUMBER, (0.0, 0.1, 0.2, 0.3)),
        ("1e-3..3e-3..1e-3", Kind.NUMBER, (0.001, 0.002, 0.003)),
        ("2..blocks..2", Kind.NUMBER, (2, 4, 6)),
        ("5..5", Kind.NUMBER, (5,)),
        ("2,4,6", Kind.NUMBER, (2, 4, 6)),
        ("0..2, 6,8..9", Kind.NUMBER, (0, 1, 2, 6, 8, 9)),
        ("1e-3,0.002", Kind.NUMBER, (0.001, 0.002)),
        ("null,1", Kind.NUMBER, (None, 1)),
        ("4,4,2", Kind.NUMBER, (4, 2)),
        ("4,", Kind.NUMBER, (4,)),
        ("1e-5", Kind.NUMBER, (1e-5,)),
        (3, Kind.NUMBER, (3,)),
        ([2, "4..6", "1e-1"], Kind.NUMBER, (2, 4, 5, 6, 0.1)),
        (None, Kind.NUMBER, (None,)),
        ("fp32,bf16", Kind.WORD, ("fp32", "bf16")),
        ("true, false", Kind.WORD, (True, False)),
        ("../a.pt", Kind.WORD, ("../a.pt",)),
        ("NAME:/a/b.pt, NAME:random", Kind.WORD, ("NAME:/a/b.pt", "NAME:random")),
        ("'a,b', c", Kind.WORD, ("a,b", "c")),
        ("1/4,2/4", Kind.WORD, ("1/4", "2/4")),
        ("a photo, of {}", Kind.TEXT, ("a photo, of {}",)),
        ("0..3", Kind.TEXT, ("0..3",)),
        (["a photo, of {}", "{}"], Kind.TEXT, ("a photo, of {}", "{}")),
        ("a photo, of {}", Kind.TEXTS, ("a photo, of {}",)),
        (["{}", "a {}"], Kind.TEXTS, (["{}", "a {}"],)),
        (["zeroshot", ["{}", "a {}"]], Kind.TEXTS, ("zeroshot", ["{}", "a {}"])),
        ([["zeroshot"], ["finetune"]], Kind.TEXTS, (["zeroshot"], ["finetune"])),
        ([0.5, 1], Kind.LIST, ([0.5, 1],)),
        ([[0.5, 1], [0.1, 1]], Kind.LIST, ([0.5, 1], [0.1, 1])),
        ([], Kind.LIST, ([],)),
        ({"a": "1,2"}, Kind.WHOLE, ({"a": "1,2"},)),
        ("1,2", Kind.WHOLE, ("1,2",)),
    ],
)
def test_what_a_written_value_stands_for(written: Any, kind: Kind, values: tuple[Any, ...]) -> None:
    found = values_of("k", written, kind, lambda: 6)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize(
    ("written", "kind", "message"),
    [
        ("3..1", Kind.NUMBER, "k=3..1: the range is empty: write the smaller number first, such as 1..3"),
        ("1..", Kind.NUMBER, "k=1..: a range is FIRST..LAST or FIRST..LAST..STEP, such as 0..12 or 0..1..0.25"),
        ("a..b", Kind.NUMBER, "k=a..b: a range is FIRST..LAST"),
        ("0..1..2..3", Kind.NUMBER, "k=0..1..2..3: a range is FIRST..LAST"),
        ("0..4..0", Kind.NUMBER, "k=0..4..0: the step of a range must be above 0"),
        ("0..4..-1", Kind.NUMBER, "k=0..4..-1: the step of a range must be above 0"),
        ("0.1..0.5", Kind.NUMBER, "k=0.1..0.5: a range of fractions needs a step, such as 0.1..0.5..0.1"),
        ("0..1000000000", Kind.NUMBER, "k=0..1000000000: the range has 1,000,000,001 values: use a larger step"),
        ("0..blocks", Kind.NUMBER, "k=0..blocks: how many blocks this backbone has is not known: write the number"),
        ("2,,4", Kind.NUMBER, "k=2,,4: this is no list of values, such as k=A,B"),
        ([], Kind.NUMBER, "k=[]: give at least one value"),
        ("0.5,1", Kind.LIST, "'k' is a list: write it in brackets, k=[0.5,1]"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(written: Any, kind: Kind, message: str) -> None:
    with pytest.raises(UserError) as caught:
        values_of("k", written, kind)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@given(st.integers(-1000, 1000), st.integers(0, 300), st.integers(1, 40))
def test_a_range_of_whole_numbers_is_that_of_python(first: int, width: int, step: int) -> None:
    written = f"{first}..{first + width}..{step}"
    assert values_of("k", written, Kind.NUMBER) == tuple(range(first, first + width + 1, step))


@given(st.integers(0, 500), st.integers(0, 300), st.integers(1, 99))
def test_a_range_of_fractions_is_exact_and_holds_its_end(first: int, steps: int, hundredths: int) -> None:
    start, step = Decimal(first) / 100, Decimal(hundredths) / 100
    exact = [start + step * index for index in range(steps + 1)]
    found = values_of("k", f"{exact[0]}..{exact[-1]}..{step}", Kind.NUMBER)
    assert list(found) == [float(value) for value in exact]


def test_combinations_are_all_of_them_and_the_last_axis_changes_fastest() -> None:
    assert list(points({"a": (1, 2), "b": ("x", "y")})) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert list(points({})) == [{}]


def test_values_as_text_can_be_read_again() -> None:
    for value in (1, 0.001, 1e-5, True, None, "fp32", [0.5, 1.0]):
        assert parse_overrides([f"k={text_of(value)}"])["k"] in (value, text_of(value))
    assert Range(0, 1, 0.25).values() == (0, 0.25, 0.5, 0.75, 1)


# The same from the command line and from YAML.

FEW = settings(max_examples=25, deadline=None)
NUMBERS = st.one_of(
    st.integers(0, 10**6),
    st.floats(1e-8, 1e8).map(lambda value: float(f"{value:.6g}")),
)
WORDS = st.sampled_from(["fp32", "bf16", "fp16", "half"])
# No control characters, and nothing that YAML strips or cannot write on one line.
TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30)


def read(folder: Path, *, words: list[str] | None = None, content: Any = None) -> Experiment:
    """An experiment whose settings come from the command line or from a file."""
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({"methods": ["coop"], "settings": content or {}}, allow_unicode=True))
    return load_experiment(path).with_settings(parse_overrides(words or []))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all examples of a property share."""
    return tmp_path_factory.mktemp("axes")


@FEW
@given(st.lists(NUMBERS, min_size=2, max_size=6, unique=True))
def test_a_list_of_numbers_is_what_is_run(folder: Path, numbers: list[float]) -> None:
    text = ",".join(map(repr, numbers))
    forms = [
        read(folder, words=[f"train.lr={text}"]),
        read(folder, words=[f"train.lr=[{text}]"]),
        read(folder, content={"train": {"lr": text}}),
        read(folder, content={"train.lr": text}),
        read(folder, content={"train": {"lr": numbers}}),
        read(folder, content={"train": {"lr": list(map(repr, numbers))}}),
    ]
    for experiment in forms:
        assert axes_of(experiment)["train.lr"] == tuple(numbers)


@FEW
@given(st.lists(WORDS, min_size=2, unique=True), st.lists(TEXTS, min_size=2, max_size=4, unique=True))
def test_words_and_texts_are_what_is_run(folder: Path, words: list[str], texts: list[str]) -> None:
    as_yaml = yaml.safe_dump(texts, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    forms = [
        read(folder, words=[f"train.precision={','.join(words)}", f"coop.ctx_init={as_yaml}"]),
        read(folder, content={"train": {"precision": ",".join(words)}, "coop": {"ctx_init": texts}}),
    ]
    for experiment in forms:
        axes = axes_of(experiment)
        assert axes["train.precision"] == tuple(words)
        assert axes["coop.ctx_init"] == tuple(texts)


@FEW
@given(TEXTS)
def test_a_text_is_one_value_whatever_is_in_it(folder: Path, text: str) -> None:
    quoted = yaml.safe_dump(text, default_style='"', width=10**6, allow_unicode=True).strip()
    for experiment in (
        read(folder, words=[f"coop.ctx_init={quoted}"]),
        read(folder, content={"coop": {"ctx_init": text}}),
    ):
        assert "coop.ctx_init" not in axes_of(experiment)
        assert experiment.settings["coop"]["ctx_init"] == text


@FEW
@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 4))
def test_a_range_is_the_same_everywhere(folder: Path, first: int, width: int, step: int) -> None:
    text = f"{first}..{first + width * step}..{step}"
    wanted = tuple(range(first, first + width * step + 1, step))
    forms = [read(folder, words=[f"coop.n_ctx={text}"]), read(folder, content={"coop": {"n_ctx": text}})]
    assert [axes_of(experiment)["coop.n_ctx"] for experiment in forms] == [wanted, wanted]
    seeds = load_experiment(folder / "experiment.yaml", {"seeds": text}).seeds
    assert seeds == wanted
