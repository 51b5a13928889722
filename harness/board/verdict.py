"""What the scores of one table allow one to say: tests over data sets, sentences, and what cannot be said."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.board.scores import ScoreTable
from harness.report.comparison_figures import (
    DIAGRAM_DATASETS,
    DIAGRAM_METHODS,
    CellMap,
    RankDiagram,
    few,
    pair_matrix,
    rank_diagram,
)
from harness.report.paper_tables import file_name
from harness.report.table import Cell, Table
from harness.statistics.bayesian import ROPE, posterior
from harness.statistics.friedman import friedman
from harness.statistics.matrix import ComparisonMatrix, comparison_matrix
from harness.statistics.nemenyi import Nemenyi, nemenyi
from harness.statistics.scores import Scores
from harness.statistics.sentences import p_text, sentences
from harness.statistics.wilcoxon import against_others, smallest_p
from harness.text import counted

ALPHA = 0.05
MATRIX_METHODS = 12
"""The most methods whose matrix of all pairs can be read as a figure; its table has any number."""
AGAINST = ("difference", "wins", "ties", "losses", "p (Holm)", "P better", "P equal", "P worse")


@dataclass(frozen=True)
class Verdict:
    """What one may say about the methods of one table of scores.

    Attributes:
        name: for files.
        title: for readers.
        summary: of all methods together, and what cannot be said; one sentence each.
        sentences: method -> what one may write about it, best mean rank first.
        tables: the best against all others, and all pairs; empty if nothing can be tested.
        figures: the critical-difference diagram, and the matrix of all pairs where it fits; empty if nothing, or too
            little, can be tested.
        scores: that were tested; None if there are none.
    """

    name: str
    title: str
    summary: tuple[str, ...]
    sentences: dict[str, tuple[str, ...]]
    tables: tuple[Table, ...]
    figures: tuple[RankDiagram | CellMap, ...]
    scores: Scores | None


def verdict_of(table: ScoreTable) -> Verdict:
    """The verdict on a score table."""
    name = file_name(["tests", table.protocol.name, table.name, table.heading])
    title = f"Tests: {table.title}"
    if not table.is_ranked:
        return nothing(name, title, "Not tested: these were not chosen on the same pictures.")
    whole = table.complete()
    if whole is None:
        return nothing(name, title, "Not tested: there are no scores.")
    return verdict(name, title, *whole)


def nothing(name: str, title: str, *why: str, scores: Scores | None = None) -> Verdict:
    """The verdict where nothing can be tested."""
    return Verdict(name, title, tuple(why), {}, (), (), scores)


def verdict(name: str, title: str, scores: Scores, left_out: Sequence[str] = ()) -> Verdict:
    """The verdict on some scores.

    Args:
        name: for files.
        title: for readers.
        scores: of at least one method on at least one data set.
        left_out: what is not among them, one sentence each.
    """
    units = counted(len(scores.units), "data set")
    if len(scores.methods) < 2:
        return nothing(name, title, "One method: there is nothing to compare.", *left_out, scores=scores)
    if len(scores.units) < 2:
        why = f"{units} ({scores.units[0]}): no test over data sets; whether an order holds on others cannot be said."
        return nothing(name, title, why, *left_out, scores=scores)
    ranks = nemenyi(scores, ALPHA)
    found = {method: tuple(sentences(scores, method, ALPHA)) for method in ranks.methods}
    tables = (best_table(name, title, scores, ranks.methods[0]), matrix_table(name, title, comparison_matrix(scores)))
    return Verdict(name, title, (*summary(scores, ranks), *left_out), found, tables, figures_of(name, scores), scores)


def figures_of(name: str, scores: Scores) -> tuple[RankDiagram | CellMap, ...]:
    """The figures of some scores that can be tested; the title of the verdict stands above them."""
    found: list[RankDiagram | CellMap] = []
    if not few(scores, DIAGRAM_METHODS, DIAGRAM_DATASETS):
        found.append(rank_diagram(scores, f"{name}-ranks", "Mean ranks", ALPHA))
    if len(scores.methods) <= MATRIX_METHODS:
        found.append(pair_matrix(scores, f"{name}-pairs", "All pairs of methods", ALPHA))
    return tuple(found)


def summary(scores: Scores, ranks: Nemenyi) -> list[str]:
    """Friedman's test, the critical difference and its groups, and whether few data sets forbid more."""
    methods, units = len(scores.methods), len(scores.units)
    test = friedman(scores)
    differ = "differ" if test.f_p < ALPHA else "cannot be told apart"
    found = [
        f"{counted(methods, 'method')} on {counted(units, 'data set')}: by mean rank the methods {differ} "
        f"(Friedman's test with Iman and Davenport's correction, {p_text(test.f_p, ALPHA)}).",
        f"Nemenyi's critical difference is {ranks.critical_difference:.2f} ranks (p < {ALPHA}): methods that are "
        "closer are not separable by mean rank.",
    ]
    groups = [", ".join(names) for names in ranks.cliques]
    found += [f"Not separable from each other: {'; '.join(groups)}."] if groups else []
    if ranks.critical_difference >= methods - 1:
        found.append(f"With {counted(units, 'data set')} no two of these methods can be separable by mean rank.")
    if smallest_p(units) > ALPHA:
        found.append(
            f"With {counted(units, 'data set')} no signed-rank test can reach p < {ALPHA} "
            f"(the smallest is {smallest_p(units):.3g}): no pair can be called different."
        )
    return found


def best_table(name: str, title: str, scores: Scores, best: str) -> Table:
    """The method with the best mean rank against every other one."""
    block = f"{best} against"
    cells: list[Cell] = []
    for pair in against_others(scores, best).pairs:
        draw = posterior(scores, best, pair.other)
        of_pair = (pair.mean_difference, pair.wins, pair.ties, pair.losses, pair.holm_p)
        numbers = (*of_pair, draw.better, draw.equivalent, draw.worse)
        for column, value in zip(AGAINST, numbers, strict=True):
            digits = 0 if column in ("wins", "ties", "losses") else 4 if column == "p (Holm)" else 2
            cells.append(Cell(block, pair.other, column, float(value), digits=digits))
    notes = (
        f"{best} has the best mean rank. Difference in points, mean over {counted(len(scores.units), 'data set')}; "
        "wins, ties and losses count data sets; p: Wilcoxon's signed ranks, two-sided, exact, Holm's correction over "
        f"these pairs; P: posterior probability of being better, within {ROPE} points, or worse by more than {ROPE} "
        "points (Bayesian signed-rank test).",
    )
    file = file_name(["best", name])
    return Table(file, f"{title}: the best against the others", ("", "method"), tuple(cells), pd.DataFrame(), {},
                 notes=notes)  # fmt: skip


def matrix_table(name: str, title: str, matrix: ComparisonMatrix) -> Table:
    """All pairs: the mean difference of the row's method minus the column's."""
    cells = [
        Cell("", one, other, pair.mean_difference if pair else None, rank=int(bool(pair and pair.holm_p < ALPHA)))
        for one, row in zip(matrix.methods, matrix.rows, strict=True)
        for other, pair in zip(matrix.methods, row, strict=True)
    ]
    notes = (
        "Method of the row minus method of the column, in points, mean over data sets; bold: "
        f"p < {ALPHA} (Wilcoxon's signed ranks, Holm's correction over all pairs).",
    )
    file = file_name(["pairs", name])
    return Table(file, f"{title}: all pairs", ("", "method"), tuple(cells), pd.DataFrame(), {}, notes=notes)
