"""The self-check stores each section, computes what is missing or was wrong, and lets no error end it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from harness.errors import UserError
from harness.reference.selfcheck import run
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.run import SelfCheck

CPU = torch.device("cpu")
Check = Callable[[Asked, Say], list[Finding]]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the sections that were computed; there are three, of which the second finds a wrong number."""
    names: list[str] = []

    def section(name: str, ok: bool) -> Check:
        def check(asked: Asked, say: Say) -> list[Finding]:
            names.append(name)
            return [Finding(name, "method", "quantity", 1.5, "bytes", 1, ok)]

        return check

    monkeypatch.setattr(run, "SECTIONS", {name: section(name, name != "two") for name in ("one", "two", "three")})
    return names


def sections_of(results: Path, *parts: str, anew: bool = False) -> list[run.Section]:
    return list(SelfCheck(CPU, results).run(parts, anew, lambda words: None))


def test_only_what_is_missing_or_was_wrong_is_computed(computed: list[str], tmp_path: Path) -> None:
    sections_of(tmp_path, "one")
    assert computed == ["one"]
    first = sections_of(tmp_path)
    assert computed == ["one", "two", "three"]
    assert [item.stored for item in first] == [True, False, False]
    again = sections_of(tmp_path)
    assert computed == ["one", "two", "three", "two"]
    assert [item.findings for item in again] == [item.findings for item in first]
    sections_of(tmp_path, anew=True)
    assert computed[4:] == ["one", "two", "three"]


def test_other_code_and_other_questions_are_checked_by_themselves(
    computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections_of(tmp_path, "one")
    list(SelfCheck(CPU, tmp_path, quick=True).run(("one",), False, lambda words: None))
    monkeypatch.setattr(run, "code_digest", lambda: "other code")
    sections_of(tmp_path, "one")
    assert computed == ["one"] * 3
    assert len(list(tmp_path.glob("selfcheck/cpu-*/selfcheck.json"))) == 3


def test_a_damaged_file_is_computed_again(computed: list[str], tmp_path: Path) -> None:
    sections_of(tmp_path, "one")
    path = SelfCheck(CPU, tmp_path).path
    for damage in ("", "{}", "[]", path.read_text().replace('"seconds"', '"hours"')):
        path.write_text(damage)
        sections_of(tmp_path, "one")
        assert json.loads(path.read_text())["sections"]["one"]["findings"][0]["value"] == 1.5
    assert len(computed) == 5


def test_a_section_that_fails_is_wrong_and_the_others_are_computed(
    computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(asked: Asked, say: Say) -> list[Finding]:
        raise UserError("no such kernel")

    monkeypatch.setitem(run.SECTIONS, "one", fails)
    first, *_ = sections_of(tmp_path)
    assert [(item.subject, item.quantity, item.value) for item in first.wrong] == [
        ("section", "ended early", "no such kernel")
    ]
    assert computed == ["two", "three"]


def test_the_digest_of_the_code_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.code_digest()
    assert run.code_digest() == before
    (tmp_path / "mine.py").write_text("")
    monkeypatch.setattr("methods.__path__", [str(tmp_path)])
    assert run.code_digest() != before


def test_a_section_that_is_killed_goes_on_behind_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def check(asked: Asked, say: Say) -> list[Finding]:
        def find(name: str) -> list[Finding]:
            if name == "third" and looked.count("third") == 0:
                looked.append(name)
                raise KeyboardInterrupt
            looked.append(name)
            return [Finding("long", name, "quantity", 1.0, ok=name != "first" or looked.count("first") > 1)]

        names = ("first", "second", "third")
        return [one for name in names for one in asked.items.look("long", name, partial(find, name))]

    monkeypatch.setattr(run, "SECTIONS", {"long": check})
    with pytest.raises(KeyboardInterrupt):
        sections_of(tmp_path)
    path = SelfCheck(CPU, tmp_path).path
    assert json.loads(path.read_text())["parts"]["long"].keys() == {"first", "second"}
    (section,) = sections_of(tmp_path)
    # What was wrong is looked at again, what was right is not.
    assert looked == ["first", "second", "third", "first", "third"]
    assert [item.subject for item in section.findings] == ["first", "second", "third"]
    assert json.loads(path.read_text())["parts"] == {}
    assert sections_of(tmp_path)[0].stored
    sections_of(tmp_path, anew=True)
    assert looked[5:] == ["first", "second", "third"]
