"""Whether an order of methods hangs on single data sets."""

import numpy as np
import pytest

from harness.errors import UserError
from harness.statistics.ranks import mean_ranks
from harness.statistics.stability import leave_one_out, rank_stability
from tests.harness.statistics.examples import published, scores_of, turned


def test_one_data_set_may_decide_the_order() -> None:
    # a is first on two data sets of three: without one of them, a and b share the first place.
    scores = scores_of((3.0, 3.0, 1.0), (2.0, 2.0, 3.0), (1.0, 1.0, 2.0))
    found = {item.unit: item for item in leave_one_out(scores)}
    assert found["u3"].mean_ranks == (1.0, 2.0, 3.0)
    assert (found["u3"].places, found["u3"].moved) == ((1, 2, 3), ("b",))
    # Over all data sets the mean ranks of a and b are 5/3 and 5/3.
    assert mean_ranks(scores)[:2].tolist() == pytest.approx([5 / 3, 5 / 3])
    assert (found["u1"].places, found["u1"].moved) == ((2, 1, 3), ("a",))


def test_an_order_without_exception_is_kept_in_every_draw() -> None:
    found = rank_stability(scores_of((3.0, 5.0), (2.0, 4.0), (1.0, 3.0)), draws=50)
    assert found.places == (1, 2, 3)
    assert found.kept.tolist() == [1.0, 1.0, 1.0]
    assert found.shares.tolist() == np.eye(3).tolist()


def test_shares_are_those_of_all_draws() -> None:
    # Of the four draws of two data sets, one has u1 twice (a first), one u2 twice (b first), two have both (equal).
    found = rank_stability(scores_of((2.0, 1.0), (1.0, 2.0)), draws=20_000)
    assert found.places == (1, 1)
    assert found.kept == pytest.approx([0.75, 0.75], abs=0.02)
    assert found.shares == pytest.approx(np.array([[0.75, 0.25], [0.75, 0.25]]), abs=0.02)


def test_the_order_of_methods_and_data_sets_does_not_matter() -> None:
    before, after = (rank_stability(scores, draws=300) for scores in (published(), turned(published(), 2)))
    assert dict(zip(before.methods, before.kept, strict=True)) == dict(zip(after.methods, after.kept, strict=True))
    assert before.shares.sum(axis=1) == pytest.approx(np.ones(11))
    moved = [
        {item.unit: set(item.moved) for item in leave_one_out(one)} for one in (published(), turned(published(), 2))
    ]
    assert moved[0] == moved[1]


def test_one_data_set_has_no_stability() -> None:
    for test in (leave_one_out, rank_stability):
        with pytest.raises(UserError, match="at least 2 data sets"):
            test(scores_of((1.0,), (2.0,)))
