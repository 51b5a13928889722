"""The sentences that one may write about a method, and those that one may not."""

import math
from collections.abc import Sequence

from harness.statistics.bayesian import ROPE, posterior
from harness.statistics.friedman import friedman
from harness.statistics.nemenyi import nemenyi
from harness.statistics.ranks import best_first, mean_ranks, places
from harness.statistics.scores import DECIMALS, METHOD, Scores
from harness.statistics.stability import leave_one_out, rank_stability
from harness.statistics.wilcoxon import Family, Pair, against_others, smallest_p
from harness.text import counted

UNITS = "data set"
PROBABLE = 0.95
"""Probability from which a Bayesian answer is written down, as Benavoli et al. (2017) suggest."""
FEWEST_SEEDS = 3
FEWEST_METHODS = 3
"""From which mean ranks say more than the one test of two methods."""
MOST_DIGITS = 12


def sentences(scores: Scores, method: str, alpha: float = 0.05, rope: float = ROPE) -> list[str]:
    """What the scores allow one to write about a method, in plain English, most important first.

    Args:
        scores: of the method and of those that it is compared with, in percent.
        method: whose sentences.
        alpha: level of significance.
        rope: half the width of the region of practical equivalence, in points.

    Returns:
        One clause for each other method, highest mean first; then about the mean rank, about how much hangs on single
        data sets, and about what cannot be said.

    Raises:
        UserError: there is no such method, or no other.
    """
    family = against_others(scores, method)
    units = len(scores.units)
    testable = smallest_holm_p(family) < alpha
    means = dict(zip(scores.methods, scores.values.mean(axis=1).round(DECIMALS), strict=True))
    pairs = sorted(family.pairs, key=lambda pair: (-means[pair.other], pair.other))
    several = f"Wilcoxon with Holm over {counted(len(pairs), 'comparison')}" if len(pairs) > 1 else "Wilcoxon"
    found = [pair_sentence(scores, pair, several, alpha, rope, testable) for pair in pairs]
    if units > 1 and len(scores.methods) >= FEWEST_METHODS:
        found.append(rank_sentence(scores, method, alpha))
    if units > 1:
        found.append(stability_sentence(scores, method))
    return found + limits(scores, family, alpha)


def smallest_holm_p(family: Family) -> float:
    """The smallest corrected p that any of a family's tests can reach with so many data sets."""
    return min(1.0, len(family.pairs) * smallest_p(family.units))


def pair_sentence(scores: Scores, pair: Pair, test: str, alpha: float, rope: float, testable: bool) -> str:
    """One method beside another: better, worse, not separable, equal; or, if no test can tell, only what was seen.

    Args:
        scores: that the pair is of.
        pair: seen from the method that the sentence is about.
        test: what gave the p-value, in words.
        alpha: level of significance.
        rope: half the width of the region of practical equivalence, in points.
        testable: whether so many data sets can give a p-value below alpha at all.
    """
    units = pair.wins + pair.ties + pair.losses
    if pair.ties == units:
        return f"equal to {pair.other} on {all_of(units)}"
    mean = f"mean {pair.mean_difference:+.1f} points"
    if not testable:
        return f"{seen(pair)} ({mean}; too few data sets to test)"
    proof = f"({mean}; {test} {p_text(pair.holm_p, alpha)})"
    is_better = pair.test.statistic > pair.test.pairs * (pair.test.pairs + 1) / 4
    if pair.holm_p >= alpha:
        text = f"not separable from {pair.other}: {seen(pair, named=False)} {proof}"
    else:
        count = pair.wins if is_better else pair.losses
        text = f"{'better' if is_better else 'worse'} than {pair.other} on {count} of {counted(units, UNITS)}"
        text += f"{equal_on(pair)} {proof}"
        if (pair.mean_difference > 0) != is_better:
            text += ", although the mean, which a few data sets decide, says otherwise"
    return text + practical(scores, pair, rope)


def practical(scores: Scores, pair: Pair, rope: float) -> str:
    """What the Bayesian test adds: nothing, unless one of its answers is probable enough to be written down."""
    found = posterior(scores, pair.one, pair.other, rope)
    points = f"{rope:g} points"
    if found.equivalent >= PROBABLE:
        return f"; practically equal (within {points}) with probability {share_text(found.equivalent)}"
    for probability, word in ((found.better, "better"), (found.worse, "worse")):
        if probability >= PROBABLE:
            return f"; more than {points} {word} with probability {share_text(probability)}"
    return ""


def seen(pair: Pair, named: bool = True) -> str:
    """On how many data sets a method is above or below another, without saying that this means anything."""
    units = pair.wins + pair.ties + pair.losses
    count, word = (pair.wins, "above") if pair.wins >= pair.losses else (pair.losses, "below")
    return f"{word}{f' {pair.other}' if named else ''} on {count} of {counted(units, UNITS)}{equal_on(pair)}"


def equal_on(pair: Pair) -> str:
    """On how many data sets two methods are equal, if on any."""
    return f", equal on {pair.ties}" if pair.ties else ""


def rank_sentence(scores: Scores, method: str, alpha: float) -> str:
    """The mean rank, and from which methods Nemenyi's test separates it."""
    mean = mean_ranks(scores)
    at = scores.methods.index(method)
    place, same = int(places(mean)[at]), int((mean == mean[at]).sum()) - 1
    shared = f" (shared with {counted(same, 'other')})" if same else ""
    text = f"mean rank {mean[at]:.2f}, place {place} of {len(scores.methods)}{shared}"
    whole = friedman(scores)
    if whole.f_p >= alpha:
        return f"{text}; mean ranks separate no two methods (Friedman, Iman-Davenport {p_text(whole.f_p, alpha)})"
    test = nemenyi(scores, alpha)
    order = [scores.methods[place] for place in best_first(scores)]
    close = [other for other in order if other != method and not test.separable(method, other)]
    critical = f"(Nemenyi, critical difference {test.critical_difference:.2f})"
    if not close:
        return f"{text}, separable from every other method {critical}"
    return f"{text}; by mean ranks not separable from {listed(close)} {critical}"


def stability_sentence(scores: Scores, method: str) -> str:
    """Whether the place of a method hangs on single data sets."""
    moving = [item.unit for item in leave_one_out(scores) if method in item.moved]
    # Rounded down: all draws are all of them.
    kept = math.floor(100 * rank_stability(scores).kept[scores.methods.index(method)])
    changes = f"changes without {listed(moving)}" if moving else "is the same without any one data set"
    return f"its place by mean rank {changes}, and is kept in {kept} % of bootstrap draws of the data sets"


def limits(scores: Scores, family: Family, alpha: float) -> list[str]:
    """What cannot be said with so few data sets or seeds."""
    found = []
    units, smallest = len(scores.units), smallest_p(len(scores.units))
    if units == 1:
        found.append("cannot be said: that anything carries over to other data sets, of a single one")
    elif smallest_holm_p(family) >= alpha:
        corrected = f", {smallest_holm_p(family):.2g} with Holm" if len(family.pairs) > 1 else ""
        others = counted(len(family.pairs), f"other {METHOD}")
        found.append(
            f"cannot be said: that it is better or worse than another method; with {counted(units, UNITS)} and "
            f"{others} the smallest possible Wilcoxon p is {smallest:.2g}{corrected}, not below {alpha:g}"
        )
    if scores.seeds is not None and scores.seeds < FEWEST_SEEDS:
        found.append(
            f"cannot be said: that a difference on a single data set is more than chance; "
            f"scores are of {counted(scores.seeds, 'seed')}"
        )
    return found


def all_of(units: int) -> str:
    """All data sets in words."""
    return "the only data set" if units == 1 else f"all {units} data sets"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def p_text(p: float, alpha: float) -> str:
    """A p-value with as few digits, at least two, as leave it on its side of the level of significance."""
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.2g}"
    for digits in range(3, MOST_DIGITS):
        if (float(text) < alpha) == (p < alpha):
            break
        text = f"{p:.{digits}g}"
    return f"p = {text}"


def share_text(share: float) -> str:
    """A probability in two digits, of which 1.00 would say too much."""
    return "above 0.99" if share > 0.99 else f"{share:.2f}"
