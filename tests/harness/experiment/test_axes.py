"""Settings that are tried at several values."""

import pytest

from harness.errors import UserError
from harness.experiment.axes import combinations, split_knobs


def test_ranges_and_lists_are_knobs_and_the_rest_is_not() -> None:
    words = [
        "skip.depth=0..3",
        "classes=10,100,1000",
        "train.lr=0.1",
        "data.crop_scale=[0.5,1]",
        'coop.ctx_init="a, b"',
    ]
    plain, knobs = split_knobs(words)
    assert plain == ["train.lr=0.1", "data.crop_scale=[0.5,1]", 'coop.ctx_init="a, b"']
    assert knobs == {"skip.depth": ("0", "1", "2", "3"), "classes": ("10", "100", "1000")}


def test_a_list_of_one_is_a_plain_setting() -> None:
    assert split_knobs(["classes=10,", "skip.depth=2..2", "nothing"]) == (["classes=10", "skip.depth=2", "nothing"], {})


def test_combinations_are_all_of_them() -> None:
    assert list(combinations({"a": ("1", "2"), "b": ("x", "y")})) == [
        {"a": "1", "b": "x"},
        {"a": "1", "b": "y"},
        {"a": "2", "b": "x"},
        {"a": "2", "b": "y"},
    ]
    assert list(combinations({})) == [{}]


def test_a_range_that_goes_down_is_refused() -> None:
    with pytest.raises(UserError, match=r"such as 0\.\.12"):
        split_knobs(["skip.depth=12..0"])
