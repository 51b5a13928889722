"""What the documents name exists: files, headings, make targets, commands, options, settings and extras.

Everything is read from the code, so that a renamed option fails here and not in a reader's terminal. What a document
says about an old version is exempt: see `HISTORY`.
"""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from pydantic import BaseModel

from harness.cli import cli
from harness.experiment.files import shipped_experiments
from harness.experiment.registry import method_class, method_names
from harness.experiment.spec import RunSpec, ScheduleSpec
from tests.commands import ROOT

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "*.md",
        "docs/**/*.md",
        ".github/**/*.md",
        "harness/**/*.md",
        "experiments/**/*.md",
        "examples/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
PYPROJECT = (ROOT / "pyproject.toml").read_text()
# These name commands and options that an earlier version had.
HISTORY = ("CHANGELOG.md", "docs/releases/")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", flags=re.MULTILINE)
WORD = re.compile(r"[\w.*<>{}/-]+")
FOLDERS = ("harness/", "methods/", "tests/", "experiments/", "docs/", "examples/", "results/embedded/", ".github/")
SUFFIXES = ("py", "yaml", "yml", "json", "jsonl", "csv", "md", "txt", "safetensors")
# Variables of the environment that the commands read.
ENVIRONMENT = {"DATA"}


class Code(NamedTuple):
    """What a document says about the code.

    Attributes:
        prose: the text without fenced blocks.
        spans: inline code, one line each.
        lines: lines of shell and of output in fenced blocks, without comments.
        comments: their comments.
    """

    prose: str
    spans: list[str]
    lines: list[str]
    comments: list[str]


def code_in(text: str) -> Code:
    """The code in a document. Python is left out: tests/test_readme.py runs it."""
    blocks = [block for _, language, block in FENCE.findall(text) if language != "python"]
    prose = FENCE.sub("", text)
    spans = [" ".join(span.split()) for span in SPAN.findall(prose)]
    lines = [re.split(r"(?:^|\s)#", line, maxsplit=1) for block in blocks for line in block.splitlines()]
    return Code(prose, spans, [line[0] for line in lines], [line[1] for line in lines if line[1:]])


# Links


def anchors(text: str) -> set[str]:
    """The anchors that a forge makes of the headings of a document."""
    names = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(code_in(text).prose))
    return {name.strip().replace(" ", "-") for name in names}


def wrong_links(text: str, folder: Path) -> Iterator[str]:
    """Relative links of a document in a folder that lead to no file or to no heading."""
    for target in LINK.findall(code_in(text).prose):
        path, _, anchor = target.partition("#")
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        if not (folder / path).exists():
            yield f"link to '{target}': no such file"
        elif anchor and anchor not in anchors((folder / path).read_text() if path else text):
            yield f"link to '{target}': no such heading"


# Files


def wrong_files(text: str, folder: Path) -> Iterator[str]:
    """Files that the code in a document names and that do not exist; <name> and * stand for any word."""
    code = code_in(text)
    for word in (word for line in (*code.spans, *code.lines) for word in WORD.findall(line)):
        pattern = re.sub(r"<[^>]*>|\*+", "*", word).rstrip(".")
        if pattern.startswith(FOLDERS):
            if not any(ROOT.glob(pattern)):
                yield f"'{word}': no such file"
        elif pattern.startswith("paper/"):
            if pattern not in shipped_experiments():
                yield f"'{word}': no such experiment"
        elif re.fullmatch(r"\w+\.py", pattern) and not (folder / pattern).exists():
            yield f"'{word}' is not beside this document: name its folder, too"


# Commands


@cache
def make_variables() -> set[str]:
    """Variables that can be set on the command line of make."""
    return set(re.findall(r"^([A-Z]+) \?=", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@cache
def make_targets() -> dict[str, str]:
    """Target -> the command of ours that it calls, or ''."""
    rules = re.findall(r"^([a-z][a-z-]*):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    called = ((target, re.search(r"\$\(SKIPBENCH\) ([a-z-]+)", recipe)) for target, recipe in rules)
    return {target: found[1] if found else "" for target, found in called}


@cache
def options_of(command: str) -> set[str] | None:
    """Options of one of our commands; None if there is no such command."""
    found = cli.get_command(click.Context(cli), command)
    return found and {name for item in found.params for name in (*item.opts, *item.secondary_opts)} | {"--help", "-h"}


@cache
def all_options() -> set[str]:
    """Options of all our commands, and of the scripts of the embedded benchmark."""
    names = cli.list_commands(click.Context(cli))
    scripts = [path.read_text() for path in ROOT.glob("experiments/embedded/*.py")]
    return {
        *(name for item in cli.params for name in item.opts),
        *(option for name in names for option in options_of(name) or ()),
        *(option for script in scripts for option in re.findall(r"\"(--[a-z-]+)\"", script)),
    }


def words_of(line: str) -> list[str]:
    """The words of a line as a shell takes them."""
    try:
        return shlex.split(re.sub(r"<[^>]*>", "X", line))
    except ValueError:
        return line.split()


def until_separator(words: list[str]) -> Iterator[str]:
    """Words up to the end of a command."""
    for word in words:
        if word in (";", "&&", "|", ">"):
            return
        yield word.rstrip(";")
        if word.endswith(";"):
            return


def wrong_options(command: str, words: list[str]) -> Iterator[str]:
    """Options among some words that a command of ours does not have."""
    known = options_of(command)
    if known is None:
        yield f"'skipbench {command}': no such command"
        return
    yield from (f"'skipbench {command}' has no option {word}" for word in words
                if word.startswith("--") and word.partition("=")[0] not in known)  # fmt: skip


def wrong_make(words: list[str]) -> Iterator[str]:
    """Targets and variables that the Makefile does not know, and options in ARGS that the target's command lacks."""
    targets = [word for word in words if "=" not in word and not word.startswith("-")]
    yield from (f"'make {target}': no such target" for target in targets[:1] if target not in make_targets())
    command = make_targets().get(targets[0], "") if targets else ""
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.isupper() and name not in make_variables() | ENVIRONMENT:
            yield f"'make {name}=': no such variable"
        if name == "ARGS" and command:
            yield from wrong_options(command, value.split())


def wrong_commands(text: str) -> Iterator[str]:
    """Commands, targets, variables and options in a document that do not exist."""
    code = code_in(text)
    for line in (*code.spans, *code.lines):
        words = words_of(line.removeprefix("$ "))
        for place, word in enumerate(words):
            rest = list(until_separator(words[place + 1 :]))
            if word == "make":
                yield from wrong_make(rest)
            if Path(word).name == "skipbench" and "://" not in word and rest and not rest[0].startswith("-"):
                yield from wrong_options(rest[0], rest[1:])
    alone = [words_of(span)[0] for span in code.spans if span.startswith("--")]
    for option in (*alone, *re.findall(r"--[a-z-]+", "\n".join(code.comments))):
        if option.partition("=")[0] not in all_options():
            yield f"'{option}': no command has this option"
    for target in re.findall(r"\bmake ([a-z-]+)", "\n".join(code.comments)):
        yield from wrong_make([target])


# Settings


def fields_of(model: type[BaseModel]) -> set[str]:
    """Keys of a section as users write them."""
    return {info.alias or name for name, info in model.model_fields.items()}


@cache
def sections() -> dict[str, set[str]]:
    """Section of the settings -> its keys."""
    of_runs = {name: info.annotation for name, info in RunSpec.model_fields.items()}
    own = {name: cls for name, cls in of_runs.items() if name in ("data", "train", "wandb", "tracking", "runtime")}
    models = {**own, "schedule": ScheduleSpec, **{name: method_class(name).Config for name in method_names()}}
    return {name: fields_of(model) for name, model in models.items()}  # type: ignore[arg-type]


def wrong_settings(text: str) -> Iterator[str]:
    """Settings such as train.epochs that no run has."""
    code = code_in(text)
    names = "|".join(sections())
    for line in (*code.spans, *code.lines):
        for section, key in re.findall(rf"(?<![\w./-])({names})\.([a-z]\w*)", line):
            if key not in SUFFIXES and key not in sections()[section]:
                yield f"'{section}.{key}': no such setting"


def wrong_extras(text: str) -> Iterator[str]:
    """Extras of the package that are not there."""
    (section,) = re.findall(
        r"^\[project\.optional-dependencies\]\n(.*?)^\[project", PYPROJECT, re.DOTALL | re.MULTILINE
    )
    known = re.findall(r"^(\w+) = \[", section, re.MULTILINE)
    found = re.findall(r"skipbench\[(\w+)\]", text)
    yield from (f"'skipbench[{extra}]': no such extra" for extra in found if extra not in known)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name: str) -> None:
    text, folder = (ROOT / name).read_text(), (ROOT / name).parent
    wrong = [*wrong_links(text, folder), *wrong_files(text, folder), *wrong_extras(text)]
    if not name.startswith(HISTORY):
        wrong += [*wrong_commands(text), *wrong_settings(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [path.name for path in sorted(ROOT.glob("docs/*.md"))])
def test_the_index_has_every_document(name: str) -> None:
    assert name == "README.md" or f"({name})" in (ROOT / "docs/README.md").read_text()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](docs/none.md)", "no such file"),
        ("[a](README.md#none)", "no such heading"),
        ("`harness/none.py`", "no such file"),
        ("`experiments/sweeps/none_*.yaml`", "no such file"),
        ("```sh\nskipbench plan experiments/none.yaml\n```", "no such file"),
        ("`paper/none`", "no such experiment"),
        ("`none.py`", "name its folder"),
        ("`make none`", "no such target"),
        ("```sh\nDATA=/data make bench METHODS=coop\n```", "no such variable"),
        ('`make bench METHOD=coop ARGS="--none"`', "no option --none"),
        ("`skipbench none`", "no such command"),
        ("```\n$ skipbench bench coop --trials 3\n```", "no option --trials"),
        ("`.venv/bin/skipbench\nbench --none`", "no option --none"),
        ("`--none 3`", "no command has this option"),
        ("```sh\nskipbench runs  # also --none\n```", "no command has this option"),
        ("```sh\nmake table  # and make none\n```", "no such target"),
        ("`train.lrate=1`", "no such setting"),
        ("`skipbench run FILE schedule.none=1`", "no such setting"),
        ("pip install 'skipbench[none]'", "no such extra"),
    ],
)
def test_what_does_not_exist_is_found(text: str, wrong: str) -> None:
    found = [*wrong_links(text, ROOT), *wrong_files(text, ROOT), *wrong_commands(text), *wrong_settings(text)]
    (line,) = [*found, *wrong_extras(text)]
    assert wrong in line


def test_what_exists_is_left_alone() -> None:
    text = """# A heading, with 2 words

[a](README.md#run-it) [b](#a-heading-with-2-words) [c](https://none.org) `experiments/recipes/<method>.yaml`
`make bench METHOD=all RESULTS=<copy of results/embedded>` `skip.yaml` `skip.lambda=0.3` `schedule.slurm.partition=gpu`

```sh
SKIPBENCH_METHODS=my make sweep METHOD=skip ARGS="--trials 3 train.epochs=2" && skipbench runs --failed; skipbench list
skipbench sweep skip --storage postgresql+psycopg://user@host/skipbench
```
"""
    found = [*wrong_links(text, ROOT), *wrong_files(text, ROOT), *wrong_commands(text), *wrong_settings(text)]
    assert found == []
