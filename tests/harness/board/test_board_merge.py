"""Merging tidy files: the same numbers go together, and every reason against it is told."""

from pathlib import Path
from typing import Any

import pytest

from harness.board.merge import TidyFile, merge
from harness.board.suite import read_suite
from harness.board.tidy import TidyRow, in_order, read_tidy, to_csv
from harness.errors import UserError


def row(**changes: Any) -> TidyRow:
    known: dict[str, Any] = {
        "suite": "s", "protocol": "few_shot", "dataset": "emoji", "shots": 4, "seed": 1, "sample": "a",
        "method": "skip", "recipe": "official", "track": "validation-free", "heading": "validation-free",
        "backbone": "b", "weights": "w", "precision": "fp32", "evaluation": "all", "evaluated": "emoji",
        "pictures": "p", "template": "a {}.", "metric": "accuracy", "value": 50.0, "unit": "%", "run": "1",
        "version": "0.2.0",
    }  # fmt: skip
    return TidyRow(**{**known, **changes})


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


def test_suites_are_read() -> None:
    assert read_suite("embedded", methods="skip").experiments[0].protocol == "base_to_new"
    assert len(read_suite("field", quick=True).experiments) == 2
    with pytest.raises(UserError, match="embedded"):
        read_suite("embeded")
