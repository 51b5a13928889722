"""Hints for mistyped names."""

from harness.errors import nearest


def test_the_nearest_name_and_all_of_a_short_list() -> None:
    assert nearest("skipp", ["zeroshot", "skip"]) == " Did you mean 'skip'? Known: skip, zeroshot."


def test_no_guess_where_nothing_is_near() -> None:
    assert nearest("qqq", ["zeroshot", "skip"]) == " Known: skip, zeroshot."


def test_long_lists_are_not_shown() -> None:
    names = [f"model-{number}" for number in range(50)]
    assert nearest("model-7x", names) == " Did you mean 'model-7'?"
