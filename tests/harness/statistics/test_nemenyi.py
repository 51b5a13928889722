"""Nemenyi's test against Demšar's table and example, and against what is known of published numbers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.statistics.nemenyi import cliques, critical_difference, nemenyi
from tests.harness.statistics.examples import demsar, published, turned

# Demšar (2006), table 5a: number of methods -> q at 0.05 and 0.10.
Q = {2: (1.960, 1.645), 3: (2.343, 2.052), 4: (2.569, 2.291), 5: (2.728, 2.459), 10: (3.164, 2.920)}


@pytest.mark.parametrize("methods", Q)
def test_critical_values_are_those_of_the_table(methods: int) -> None:
    # With so many data sets the critical difference is q itself; the table cuts digits off.
    units = methods * (methods + 1) / 6
    for alpha, q in zip((0.05, 0.10), Q[methods], strict=True):
        assert critical_difference(methods, 1, alpha) / units**0.5 == pytest.approx(q, abs=1.1e-3)


def test_the_example_of_demsar() -> None:
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)
    found = nemenyi(demsar())
    assert found.methods == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    # At 0.05 even the best and the worst are 1.179 apart; at 0.10 they are separable.
    assert found.cliques == (found.methods,)
    found = nemenyi(demsar(), 0.10)
    assert found.separable("C4.5", "C4.5+m+cf")
    assert found.separable("C4.5", "C4.5+m")
    assert not found.separable("C4.5+cf", "C4.5+m")


def test_published_numbers_separate_the_best_from_few() -> None:
    found = nemenyi(published())
    assert found.critical_difference == pytest.approx(4.55, abs=5e-3)
    ranks = dict(zip(found.methods, found.mean_ranks, strict=True))
    known = {"skip": 1.45, "promptsrc": 3.18, "tcp": 4.27, "dept": 4.55, "maple": 4.64, "coprompt": 4.91}
    assert {name: ranks[name] for name in known} == pytest.approx(known, abs=5e-3)
    assert found.cliques[0] == tuple(known)
    assert {name for name in ranks if not found.separable("skip", name)} == set(known)


@given(st.lists(st.integers(0, 40).map(lambda value: value / 4), min_size=1, max_size=9), st.integers(1, 20))
def test_cliques_are_the_largest_groups_that_are_not_separable(ranks: list[float], quarters: int) -> None:
    critical = quarters / 4
    found = [set(group) for group in cliques(ranks, critical)]
    for one, other in itertools.combinations(range(len(ranks)), 2):
        together = any({one, other} <= group for group in found)
        assert together == (abs(ranks[one] - ranks[other]) < critical)
    assert not any(one < other for one in found for other in found)
    assert all(len(group) > 1 for group in found)


def test_the_order_of_methods_and_data_sets_does_not_matter() -> None:
    assert nemenyi(turned(published(), 5)) == nemenyi(published())


def test_what_has_no_critical_difference_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 methods"):
        critical_difference(1, 5)
    with pytest.raises(UserError, match="level of significance is 5"):
        critical_difference(3, 5, 5)
    with pytest.raises(UserError, match=r"no mean rank of method 'C4\.6'\. Did you mean"):
        nemenyi(demsar()).separable("C4.5", "C4.6")
