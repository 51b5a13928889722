"""Scores: what is refused, and what is left out of a table with gaps."""

import math

import numpy as np
import pytest

from harness.errors import UserError
from harness.statistics.scores import Scores
from tests.harness.statistics.examples import scores_of

NAN = math.nan


@pytest.mark.parametrize(
    ("methods", "units", "values", "says"),
    [
        ((), ("u",), np.zeros((0, 1)), "at least one method"),
        (("a", "a"), ("u",), np.zeros((2, 1)), "method 'a' occurs twice"),
        (("a",), ("u", "u"), np.zeros((1, 2)), "data set 'u' occurs twice"),
        (("a", "b"), ("u",), np.zeros((1, 2)), r"shape \(1, 2\)"),
        (("a", "b"), ("u",), np.array([[1.0], [NAN]]), "the score of b on u is nan"),
        (("a",), ("u",), np.array([[math.inf]]), "the score of a on u is inf"),
    ],
)
def test_what_is_no_table_is_refused(
    methods: tuple[str, ...], units: tuple[str, ...], values: np.ndarray, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        Scores(methods, units, values)


def test_scores_do_not_change_with_the_array_that_they_were_made_of() -> None:
    values = np.array([[1.0, 2.0]])
    scores = Scores(("a",), ("u", "v"), values)
    values[0, 0] = 9.0
    assert scores.of("a").tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        scores.values[0, 0] = 9.0


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    scores = scores_of((1.0,), (2.0,))
    with pytest.raises(UserError, match="no scores of method 'c'"):
        scores.of("c")
    with pytest.raises(UserError, match=r"no scores on data set 'u11'\. Did you mean 'u1'"):
        scores.select(units=["u11"])


def test_equal_differences_are_equal() -> None:
    # 70.49 - 70.00 and 70.56 - 70.07 differ in their last bits.
    scores = scores_of((70.49, 70.56), (70.00, 70.07))
    assert len(set(scores.differences("a", "b"))) == 1
    assert 70.49 - 70.00 != 70.56 - 70.07


def test_whatever_lacks_the_most_is_left_out() -> None:
    table = {
        "a": {"u": 1.0, "v": 2.0, "w": 3.0, "x": NAN},
        "b": {"u": 1.0, "v": 2.0, "w": 3.0},
        "c": {"u": 1.0, "v": 2.0, "w": 3.0, "x": 4.0},
        "d": {"u": None, "v": 5.0},
    }
    scores, left_out = Scores.complete(table)
    assert (scores.methods, scores.units) == (("a", "b", "c"), ("u", "v", "w"))
    assert left_out == (
        "left out: method d lacks 3 of 4 data sets (u, w, x)",
        "left out: data set x lacks 2 of 3 methods (a, b)",
    )
    scores, left_out = Scores.complete(table, keep="units", seeds=3)
    assert (scores.methods, scores.units, scores.seeds) == (("c",), ("u", "v", "w", "x"), 3)
    assert len(left_out) == 3
    scores, _ = Scores.complete(table, keep="methods")
    assert (scores.methods, scores.units) == (("a", "b", "c", "d"), ("v",))


def test_a_method_without_any_score_is_left_out_whatever_is_kept() -> None:
    scores, left_out = Scores.complete({"a": {"u": 1.0}, "b": {}}, keep="methods")
    assert scores.methods == ("a",)
    assert left_out == ("left out: method b has no score",)
    with pytest.raises(UserError, match="nothing is left to compare"):
        Scores.complete({"a": {"u": NAN}})
    with pytest.raises(UserError, match="nothing is left to compare"):
        Scores.complete({"a": {"u": 1.0}, "b": {"v": 1.0}}, keep="methods")
    with pytest.raises(UserError, match="is inf"):
        Scores.complete({"a": {"u": math.inf}})
