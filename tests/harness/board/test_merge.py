"""Merging tidy files: the same numbers go together, and every reason against it is told."""

from pathlib import Path
from typing import Any

import pytest

from harness.board.merge import TidyFile, merge
from harness.board.tidy import in_order, read_tidy, to_csv
from harness.errors import UserError
from tests.harness.board.rows import row


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [row(value=100 / 3), row(run="2", seed=2, metric="refused", value=None)]
    (tmp_path / "results.csv").write_text(to_csv(rows))
    assert read_tidy(tmp_path) == in_order(rows)


def test_other_runs_are_added_and_the_order_does_not_matter() -> None:
    one, other = TidyFile("A", (row(),)), TidyFile("B", (row(run="2", method="coop"),))
    assert merge([one, other]).rows == merge([other, one]).rows
    assert len(merge([one, other]).rows) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"suite": "t"}, "the suite"),
        ({"version": "0.3.0"}, "version of SkipBench"),
        ({"backbone": "c"}, "the backbone"),
        ({"weights": "x"}, "the weights of"),
        ({"pictures": "q"}, "the pictures of"),
        ({"template": "b {}."}, "prompt templates"),
        ({"sample": "z"}, "training pictures"),
        ({"value": 51.0}, "has other numbers"),
        ({"run": "2"}, "stands for two settings"),
    ],
)
def test_what_is_not_comparable_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        merge([TidyFile("A", (row(),)), TidyFile("B", (row(**changes),))])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric": "acuracy"}, "unknown metric 'acuracy'"),
        ({"track": "validation-fee", "heading": "x"}, "unknown track 'validation-fee'.*validation-free"),
        ({"value": 101.0}, "101 % is no accuracy"),
        ({"value": None}, "has no value"),
        ({"schema_version": 2}, "later version"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    (tmp_path / "results.csv").write_text(to_csv([row(**changes)]))
    with pytest.raises(UserError, match=reason):
        read_tidy(tmp_path)
