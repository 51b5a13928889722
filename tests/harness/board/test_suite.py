"""Suites: files that list the experiments of a board."""

import pytest

from harness.board.suite import read_suite
from harness.errors import UserError


def test_suites_are_read() -> None:
    assert read_suite("embedded", methods="skip").experiments[0].protocol == "base_to_new"
    assert len(read_suite("field", quick=True).experiments) == 2
    with pytest.raises(UserError, match="embedded"):
        read_suite("embeded")


def test_a_method_takes_part_where_it_is_named_and_changes_reach_all_experiments() -> None:
    found = read_suite("embedded", methods="skip,zeroshot", changes={"seeds": [7]}, overrides={"train": {"epochs": 2}})
    assert {one.methods for one in found.experiments} == {("skip", "zeroshot")}
    assert {tuple(one.seeds) for one in found.experiments} == {(7,)}
    with pytest.raises(UserError, match="skip"):
        read_suite("embedded", methods="skp")
