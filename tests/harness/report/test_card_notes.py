"""What cards say in words: below a table, beside a run, and fact by fact."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.cards import SELECTION, card_of
from harness.experiment.registry import method_names
from harness.report.card_notes import NO_CODE, card_facts, card_line, card_notes

CODE = '"""A method."""\n\nfrom methods.base import Method\n\n\nclass Mine(Method):\n    """Nothing."""\n'


def test_footnotes_name_what_official_code_selects_on_and_where() -> None:
    notes = card_notes(["skip", "tip_adapter_f", "gda", "lp_plus_plus", "vpt"])
    test, whole, few, apart = notes
    assert test.startswith(
        "Official code selects on test images: Tip-Adapter-F (gaopengcuhk/Tip-Adapter@d0e2d6f: main.py:"
    )
    assert "; GDA (" in test
    assert whole.startswith("Official code selects on all validation images: VPT (")
    assert few.startswith("Official code selects on as few validation images as there are shots: LP++ (")
    assert apart.startswith("Official code sets for single data sets: Skip Tuning: epochs; Tip-Adapter-F: range of")


def test_methods_that_choose_nothing_and_set_nothing_apart_need_no_footnote() -> None:
    assert card_notes(["maple", "clip_lora", "clap", "maple"]) == []


def test_footnotes_name_extra_knowledge_and_methods_without_a_card(add_method: Callable[[str, str], None]) -> None:
    add_method("mine_", CODE)
    notes = card_notes(["coprompt", "mine_", "of_another_machine"])
    assert notes[1:] == [
        "As published, with extra knowledge: CoPrompt: texts of a language model.",
        "No card: mine_, of_another_machine.",
    ]


def test_a_damaged_card_is_an_error(add_method: Callable[[str, str], None], tmp_path: Path) -> None:
    add_method("mine_", CODE)
    (tmp_path / "mine_.yaml").write_text("title: Mine")
    with pytest.raises(UserError, match="the key 'paper' is missing"):
        card_notes(["mine_"])


@pytest.mark.parametrize("name", method_names())
def test_facts_and_line_of_every_card(name: str) -> None:
    card = card_of(name)
    assert card is not None
    facts = card_facts(card)
    assert all(facts.values())
    line = card_line(name)
    assert line.startswith(f"{card.title} (")
    assert line.endswith(card.ours)
    assert "\n" not in line
    kind = SELECTION[card.official_selection.kind]
    assert (f"selects on {kind}" in line) == (card.repository is not None) == (NO_CODE not in line)
    for place in card.official_selection.where:
        assert place in facts["official code selects on"]


def test_a_run_of_a_method_that_is_not_here_says_so() -> None:
    assert card_line("of_another_machine") == "of_another_machine: no card."
