"""Cards of methods: every method of the project has one, and a card with a mistake is refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from harness.errors import UserError
from harness.experiment.cards import (
    CHECKED,
    KNOWLEDGE,
    NO_LICENCE,
    SELECTION,
    Checked,
    Knowledge,
    SelectionKind,
    card_of,
    card_path,
    title_of,
)
from harness.experiment.recipes import recipe_variants
from harness.experiment.registry import method_names
from tests.commands import ROOT

Add = Callable[[str, str], None]
CODE = '"""A method."""\n\nfrom methods.base import Method\n\n\nclass Mine(Method):\n    """Nothing."""\n'
CARD = """
title: Mine
paper: A paper of mine
year: 2026
venue: arXiv
arxiv: "2601.00001"
repository: me/mine
commit: abc1234
licence: none
trains: Nothing.
extra_knowledge: []
official_selection: {kind: nothing, what: Nothing is chosen., where: ["main.py:12-14"]}
per_dataset_settings:
  - {setting: epochs, range: 5 on one of them, where: ["other/repository@abc1234:config.yaml:3"]}
ours: The same.
checked: code
"""


@pytest.mark.parametrize("name", method_names())
def test_every_method_of_the_project_has_a_card(name: str) -> None:
    card = card_of(name)
    assert card is not None
    assert card_path(name) == ROOT / "methods" / f"{name}.yaml"
    assert (card.repository is None) <= (card.licence == NO_LICENCE)
    # What a card says of our recipes names recipes that there are.
    named = card.ours.split("`")[1::2]
    assert set(named) <= set(recipe_variants(name)), named


def test_display_names_are_those_of_the_papers_and_each_is_of_one_method() -> None:
    titles = [title_of(name) for name in method_names()]
    assert {"Skip Tuning", "CLIP-Adapter", "Tip-Adapter-F", "CoOp"} <= set(titles)
    assert len(set(titles)) == len(titles)


def test_no_card_lies_beside_no_method() -> None:
    assert {path.stem for path in (ROOT / "methods").glob("*.yaml")} == set(method_names())


def test_every_word_that_a_card_may_use_is_explained() -> None:
    assert set(KNOWLEDGE) == set(get_args(Knowledge))
    assert set(SELECTION) == set(get_args(SelectionKind))
    assert set(CHECKED) == set(get_args(Checked))


def test_a_method_outside_the_project_needs_no_card_and_may_have_one(add_method: Add, tmp_path: Path) -> None:
    add_method("mine_", CODE)
    assert card_of("mine_") is None
    assert title_of("mine_") == "mine_"
    (tmp_path / "mine_.yaml").write_text(CARD)
    card = card_of("mine_")
    assert card is not None
    assert (card.title, card.official_selection.kind, card.per_dataset_settings[0].setting) == (
        "Mine",
        "nothing",
        "epochs",
    )
    assert title_of("mine_") == "Mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: Mine", "titel: Mine", r"unknown key 'titel'\. Did you mean 'title'\?"),
        ("title: Mine\n", "", "the key 'title' is missing"),
        ("kind: nothing", "kind: tests", r"'official_selection\.kind': input should be 'nothing', .* not 'tests'"),
        ("{kind:", "{kinds: x, kind:", r"unknown key 'official_selection\.kinds'\. Did you mean 'kind'\?"),
        ("{setting:", "{seting:", r"unknown key 'per_dataset_settings\.0\.seting'\. Did you mean 'setting'\?"),
        ("extra_knowledge: []", "extra_knowledge: [llm]", r"'extra_knowledge\.0': input should be 'llm_texts'"),
        ('"2601.00001"', "2601.00001", r"'arxiv': input should be a valid string, not 2601\.00001"),
        ('"2601.00001"', "arXiv:2601", r"'arxiv': 'arXiv:2601' is no number of arXiv"),
        ("year: 2026", "year: '2026'", r"'year': input should be a valid integer, not '2026'"),
        ("commit: abc1234", "commit: main", r"'commit': 'main' is no commit"),
        ("commit: abc1234", "commit: null", "repository and commit belong together"),
        ("main.py:12-14", "main.py", r"'official_selection\.where\.0': 'main\.py' is no place: write FILE:LINE"),
        ('["main.py:12-14"]', "[]", "checked: code needs a repository, and FILE:LINE"),
        ("checked: code", "checked: yes", r"line \d+: checked: yes may be read in several ways"),
        ("title: Mine", "title: ' '", "'title': ' ' is empty, or more than one line"),
        ("title: Mine", "title: Mine\ntitle: Mine", r"line 3: 'title' is given twice"),
    ],
)
def test_a_card_with_a_mistake_is_refused_in_one_line(
    add_method: Add, tmp_path: Path, old: str, new: str, message: str
) -> None:
    add_method("mine_", CODE)
    assert CARD.count(old) == 1
    (tmp_path / "mine_.yaml").write_text(CARD.replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        card_of("mine_")
    assert str(error.value).startswith(f"'{tmp_path / 'mine_.yaml'}'")
    assert "\n" not in str(error.value)


def test_no_card_is_asked_of_what_is_no_method() -> None:
    with pytest.raises(UserError, match=r"unknown method 'skipp'\. Did you mean 'skip'\?"):
        card_of("skipp")
