"""What may be written about a method, word for word."""

import pytest

from harness.errors import UserError
from harness.statistics.sentences import p_text, sentences
from tests.harness.statistics.examples import published, scores_of, turned

UP = tuple(float(value) for value in range(1, 12))


def test_published_numbers_in_words() -> None:
    found = sentences(published(), "skip")
    assert found[0] == (
        "better than promptsrc on 9 of 11 data sets (mean +1.2 points; Wilcoxon with Holm over 10 comparisons "
        "p = 0.0098)"
    )
    assert found[-2:] == [
        "mean rank 1.45, place 1 of 11; by mean ranks not separable from promptsrc, tcp, dept, maple and coprompt "
        "(Nemenyi, critical difference 4.55)",
        "its place by mean rank is the same without any one data set, and is kept in 99 % of bootstrap draws of the "
        "data sets",
    ]
    assert len(found) == 12
    assert all("Holm" in line for line in found[:10])
    other = sentences(published(), "tcp")
    assert other[0].startswith("worse than skip on 11 of 11 data sets (mean -1.7 points; ")
    assert other[1].startswith("not separable from promptsrc: below on 7 of 11 data sets")
    assert sentences(turned(published(), 6), "tcp") == other


def test_two_methods_need_no_correction_and_no_mean_rank() -> None:
    found = sentences(scores_of(UP, (0.0,) * 11), "a")
    assert found == [
        "better than b on 11 of 11 data sets (mean +6.0 points; Wilcoxon p < 0.001); "
        "Bayesian: more than 0.5 points better with probability above 0.99",
        "its place by mean rank is the same without any one data set, and is kept in 100 % of bootstrap draws of the "
        "data sets",
    ]


def test_a_difference_too_small_to_matter_is_called_so() -> None:
    found = sentences(scores_of(tuple(0.01 * value for value in UP), (0.0,) * 11), "a")
    assert found[0] == (
        "better than b on 11 of 11 data sets (mean +0.1 points; Wilcoxon p < 0.001); "
        "Bayesian: practically equal (within 0.5 points) with probability above 0.99"
    )


def test_a_mean_that_a_single_data_set_decides_is_called_so() -> None:
    found = sentences(scores_of((*UP, -120.0), (0.0,) * 12), "a")
    assert found[0].startswith("better than b on 11 of 12 data sets (mean -4.5 points; Wilcoxon p = 0.034)")
    assert "although the mean, which a few data sets decide, says otherwise" in found[0]


def test_ties_and_equal_methods() -> None:
    found = sentences(scores_of((*UP[:8], 0.0, 0.0), (0.0,) * 10, (*UP[:8], 0.0, 0.0)), "a")
    assert found[0] == "equal to c on all 10 data sets"
    assert found[1].startswith("better than b on 8 of 10 data sets, equal on 2 (mean +3.6 points; ")
    assert "place 1 of 3 (shared with 1 other)" in found[2]


def test_five_data_sets_or_many_comparisons_allow_no_claim() -> None:
    found = sentences(scores_of(UP[:5], (0.0,) * 5, seeds=1), "a")
    assert found[0] == "above b on 5 of 5 data sets (mean +3.0 points; too few data sets to test)"
    assert found[-2:] == [
        "cannot be said: that it is better or worse than another method; with 5 data sets and 1 other method the "
        "smallest possible Wilcoxon p is 0.062, not below 0.05",
        "cannot be said: that a difference on a single data set is more than chance; scores are of 1 seed",
    ]
    # Six data sets are enough for one comparison, and not for two.
    assert sentences(scores_of(UP[:6], (0.0,) * 6), "a")[0].startswith("better than b")
    found = sentences(scores_of(UP[:6], (0.0,) * 6, (-1.0,) * 6), "a")
    assert (
        "with 6 data sets and 2 other methods the smallest possible Wilcoxon p is 0.031, 0.062 with Holm" in found[-1]
    )
    assert not any(line.startswith(("better", "worse")) for line in found)


def test_one_data_set_says_nothing_about_others() -> None:
    assert sentences(scores_of((2.0,), (1.0,), (2.0,)), "a") == [
        "equal to c on the only data set",
        "above b on 1 of 1 data set (mean +1.0 points; too few data sets to test)",
        "cannot be said: that anything carries over to other data sets, of a single one",
    ]


def test_where_friedman_finds_nothing_mean_ranks_separate_none() -> None:
    found = sentences(scores_of((1.0, 2.0, 3.0), (2.0, 3.0, 1.0), (3.0, 1.0, 2.0)), "a")
    assert (
        "mean rank 2.00, place 1 of 3 (shared with 2 others); mean ranks separate no two methods (Friedman" in found[2]
    )


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0004, "p < 0.001"), (0.0098, "p = 0.0098"), (0.04996, "p = 0.04996"), (0.05, "p = 0.05"), (1.0, "p = 1")],
)
def test_rounding_never_moves_a_p_value_across_the_level(p: float, text: str) -> None:
    assert p_text(p, 0.05) == text


def test_a_method_alone_or_unknown_is_refused() -> None:
    with pytest.raises(UserError, match="only one method, a"):
        sentences(scores_of((1.0, 2.0)), "a")
    with pytest.raises(UserError, match="no scores of method 'z'"):
        sentences(scores_of((1.0, 2.0), (2.0, 3.0)), "z")
