"""The list of methods in docs/methods.md is as cards and classes have it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.cards import card_of
from harness.experiment.registry import method_names
from harness.report.methods_page import BEGIN, END, linked_place, with_methods
from tests.commands import ROOT

PAGE = ROOT / "docs" / "methods.md"


def test_the_page_is_fresh() -> None:
    page = PAGE.read_text()
    assert with_methods(page) == page, "docs/methods.md is stale: run `make docs`"


def test_what_stands_around_the_list_is_kept() -> None:
    page = with_methods(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    assert page.startswith(f"# Before\n{BEGIN}\n\n| method |")
    assert page.endswith(f"\n\n{END}\nafter\n")
    assert "old" not in page
    for name in method_names():
        card = card_of(name)
        assert card is not None
        assert page.count(f"\n### {card.title}\n\n`{name}`, recipes ") == 1
    assert "| `skip.lambda` | `0.3` |" in page


def test_a_changed_card_changes_the_page_and_a_method_outside_the_project_does_not(
    add_method: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = with_methods(f"{BEGIN}{END}")
    add_method("mine_", '"""Mine."""\n\nfrom methods.base import Method\n\n\nclass Mine(Method):\n    """Mine."""\n')
    assert with_methods(page) == page
    card = card_of("skip")
    assert card is not None
    changed = card.model_copy(update={"title": "Another title"})
    monkeypatch.setattr(
        "harness.report.methods_page.card_of", lambda name: changed if name == "skip" else card_of(name)
    )
    assert with_methods(page) != page


@pytest.mark.parametrize("page", ["# Methods", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_the_lines_is_refused(page: str) -> None:
    with pytest.raises(UserError, match="the list of methods is written between them"):
        with_methods(page)


def test_places_link_to_their_lines() -> None:
    card = card_of("tip_adapter_f")
    assert card is not None
    base = "https://github.com/gaopengcuhk/Tip-Adapter/blob/d0e2d6f"
    assert linked_place(card, "main.py:121-141") == f"[main.py:121-141]({base}/main.py#L121-L141)"
    other = linked_place(card, "one/two@abc1234:a/b.py:3")
    assert other == "[one/two: a/b.py:3](https://github.com/one/two/blob/abc1234/a/b.py#L3)"
