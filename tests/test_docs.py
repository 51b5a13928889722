"""Documents name files, make targets and commands that exist."""

import re
from pathlib import Path

import pytest

from harness.cli import cli
from tests.commands import ROOT

DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("harness/**/README.md"),
        *ROOT.glob("experiments/**/*.md"),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?:harness|methods|tests|experiments|docs|examples)/[\w./-]+\.(?:py|yaml|md|csv|ipynb|json)")
MAKE = re.compile(r"(?:^|\s|`)make ([a-z][a-z-]*)")
COMMAND = re.compile(r"skipbench ([a-z][a-z-]*)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name: str) -> None:
    for target, _ in LINK.findall(text_of(name)):
        if not target.startswith(("http", "mailto:")):
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    for code in CODE.findall(text_of(name)):
        for file in FILE.findall(code):
            assert (ROOT / file).exists(), f"{name} names {file}"


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_and_commands_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = text_of(name)
    code = "\n".join([*CODE.findall(text), *re.findall(r"```.*?```", text, flags=re.DOTALL)])
    assert set(MAKE.findall(code)) <= targets
    assert set(COMMAND.findall(code)) <= set(cli.commands), f"{name} names a command that is not there"


def test_the_search_finds_something() -> None:
    assert len(DOCUMENTS) > 12
    assert Path("README.md").name in NAMES
    assert MAKE.findall("`make bench METHOD=skip`") == ["bench"]
    assert COMMAND.findall("skipbench wandb-sync --results r") == ["wandb-sync"]
    assert FILE.findall("see harness/clip/towers.py") == ["harness/clip/towers.py"]
