"""The container file, as far as it can be tested without a container engine."""

import re
import shlex
from pathlib import Path

import pytest

from harness.cli.make_variables import targets
from tests.commands import ROOT

TEXT = (ROOT / "Containerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(instruction, words), lines that are continued as one."""
    lines = [line for line in TEXT.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def words_of(name: str) -> list[str]:
    return [words for instruction, words in instructions() if instruction == name]


def test_the_base_image_is_a_plain_name_with_a_tag() -> None:
    (image,) = words_of("FROM")
    assert re.fullmatch(r"[a-z]+:3\.\d+(-[a-z]+)+", image), image
    assert not re.search(r"https?://|\b\w+\.(org|com|io)\b", TEXT)


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for words in words_of("COPY"):
        *sources, _ = shlex.split(words)
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source not in ignored


@pytest.mark.parametrize("name", ["harness", "methods", "experiments"])
def test_the_packages_that_are_installed_are_copied(name: str) -> None:
    assert f"{name} ./{name}" in words_of("COPY")
    assert f'"{name}*"' in (ROOT / "pyproject.toml").read_text()


def test_it_installs_with_the_target_of_the_makefile_and_runs_make() -> None:
    (install,) = [words for words in words_of("RUN") if "make setup" in words]
    assert install.endswith("make setup")
    assert "setup" in targets((ROOT / "Makefile").read_text())
    assert "make setup" in (ROOT / "CONTRIBUTING.md").read_text()
    assert words_of("ENTRYPOINT") == ['["make"]']
    for argument in words_of("ARG"):
        assert f"${argument.partition('=')[0]}" in install


def test_the_commands_in_its_comments_mount_the_folder_of_results() -> None:
    (folder,) = words_of("WORKDIR")
    assert f"results:{folder}/results" in TEXT
    assert not (Path(folder) / "results").is_relative_to("/root")
