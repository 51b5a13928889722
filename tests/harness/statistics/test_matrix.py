"""The matrix of all pairs of methods."""

import pytest

from harness.errors import UserError
from harness.statistics.matrix import comparison_matrix
from harness.statistics.wilcoxon import holm, signed_rank
from tests.harness.statistics.examples import published, scores_of, turned


def test_a_matrix_by_hand() -> None:
    found = comparison_matrix(scores_of((1.0, 2.0, 3.0), (4.0, 2.0, 6.0), (1.0, 2.0, 3.0)))
    assert found.methods == ("b", "a", "c")
    assert found.means == (4.0, 2.0, 2.0)
    assert found.mean_ranks == pytest.approx((4 / 3, 7 / 3, 7 / 3), abs=1e-8)
    assert found.smallest_p == 0.25
    pair = found.rows[0][1]
    assert pair is not None
    assert (pair.one, pair.other, pair.mean_difference) == ("b", "a", 2.0)
    assert (pair.wins, pair.ties, pair.losses) == (2, 1, 0)
    assert (pair.test.p, pair.test.zeros) == (0.5, 1)
    assert pair.holm_p == 1.0
    same = found.rows[1][2]
    assert same is not None
    assert (same.ties, same.test.p) == (3, 1.0)


def test_it_is_symmetric_and_corrected_over_all_pairs() -> None:
    scores = published()
    found = comparison_matrix(scores)
    pairs = [pair for row in found.rows for pair in row if pair is not None]
    assert len(pairs) == 110
    for pair in pairs:
        back = found.rows[found.methods.index(pair.other)][found.methods.index(pair.one)]
        assert back == pair.turned()
        assert pair.test == signed_rank(scores.differences(pair.one, pair.other))
    half = [pair for at, row in enumerate(found.rows) for pair in row[at + 1 :] if pair is not None]
    assert [pair.holm_p for pair in half] == pytest.approx(holm([pair.test.p for pair in half]))
    assert [row[at] for at, row in enumerate(found.rows)] == [None] * 11


def test_neither_order_nor_further_methods_matter() -> None:
    scores = published()
    assert comparison_matrix(turned(scores, 4)).rows == comparison_matrix(scores).rows
    few = comparison_matrix(scores.select(["maple", "skip"])).rows[0][1]
    many = comparison_matrix(scores)
    among = many.rows[many.methods.index("skip")][many.methods.index("maple")]
    assert few is not None
    assert among is not None
    assert (few.test, few.wins, few.mean_difference) == (among.test, among.wins, among.mean_difference)
    with pytest.raises(UserError, match="only one method"):
        comparison_matrix(scores.select(["skip"]))
