"""Figures about whole comparisons, as data: critical differences, all pairs, gains against zero-shot CLIP, mean ranks.

`comparison_plots.py` draws the first three, `plots.py` the last one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import UserError
from harness.experiment.protocols import Layout
from harness.report.figures import LINES, UNTRAINED, Figure, Panel, Series, headline
from harness.report.footnotes import variant_key
from harness.report.marks import marked, marks_by_label
from harness.report.method_table import evaluations_in
from harness.report.run_notes import marks_note
from harness.report.runs import in_order, protocol_of
from harness.report.statistics import SIGNIFICANCE, signed
from harness.report.table import AVERAGE, COSTS, TARGETS, Cell, Table
from harness.results.folder import DONE
from harness.statistics.friedman import friedman
from harness.statistics.matrix import comparison_matrix
from harness.statistics.nemenyi import Nemenyi, nemenyi
from harness.statistics.ranks import mean_ranks
from harness.statistics.scores import Scores
from harness.statistics.sentences import p_text
from harness.statistics.wilcoxon import Pair
from harness.text import counted

FEWEST_METHODS, FEWEST_DATASETS = 2, 2
# Of a critical-difference diagram: fewer data sets separate next to nothing, and two methods need no ranks.
DIAGRAM_METHODS, DIAGRAM_DATASETS = 3, 5


@dataclass(frozen=True)
class RankDiagram:
    """A critical-difference diagram (Demšar, JMLR 7, 2006).

    Attributes:
        name: for its file.
        title: for people.
        test: mean ranks, best first, critical difference and cliques.
        note: what a reader must know to read it.
        key: what the numbers of variants stand for.
        marks: what the marks of names stand for.
    """

    name: str
    title: str
    test: Nemenyi
    note: str = ""
    key: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellMap:
    """Numbers in rows and columns, coloured by their size and sign.

    Attributes:
        name: for its file.
        title: for people.
        rows, columns: names.
        values: row by row, in points; None for an empty cell.
        texts: row by row, the lines of each cell.
        strong: row by row, whether a cell is printed bold.
        note, key, marks: as in `RankDiagram`.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[tuple[str, ...], ...], ...]
    strong: tuple[tuple[bool, ...], ...]
    note: str = ""
    key: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


Drawn = Figure | RankDiagram | CellMap


@dataclass
class Comparisons:
    """Figures about comparisons, and why others are left out.

    Attributes:
        figures: in the order of their tables.
        left_out: one sentence for each figure, method or data set that is left out.
    """

    figures: list[Drawn] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def comparison_figures(tables: Iterable[Table]) -> Comparisons:
    """All figures about comparisons that some tables allow.

    Marked numbers take part in gains only, as nothing is ranked or tested in them.

    Args:
        tables: as `paper_tables` gives them.
    """
    found = Comparisons()
    for table in tables:
        of_table = Comparisons()
        add_tests(table, of_table)
        add_gains(table, of_table)
        if protocol_of(table.runs).layout == Layout.SHOTS:
            add_ranks_over_shots(table, of_table)
        key = tuple(f"{label}: {settings}" for label, settings in variant_key(table.runs).items())
        marks = tuple(marks_note(table.runs[table.runs["state"] == DONE]))
        found.figures += [replace(figure, key=key, marks=marks) for figure in of_table.figures]
        found.left_out += [f"{table.name}: {line}" for line in dict.fromkeys(of_table.left_out)]
    return found


def add_tests(table: Table, found: Comparisons) -> None:
    """The matrix of all pairs and the critical-difference diagram of a table's most important row."""
    scores = scores_of(table, found, fair_only=True)
    if scores is None or few(scores, FEWEST_METHODS, FEWEST_DATASETS):
        found.left_out.append(too_few("a matrix of all pairs", scores, FEWEST_METHODS, FEWEST_DATASETS))
        return
    found.figures.append(pair_matrix(scores, f"{table.name}-pairs", f"All pairs of methods ({about(table)})"))
    if few(scores, DIAGRAM_METHODS, DIAGRAM_DATASETS):
        found.left_out.append(too_few("a critical-difference diagram", scores, DIAGRAM_METHODS, DIAGRAM_DATASETS))
    else:
        found.figures.append(rank_diagram(scores, f"{table.name}-ranks", f"Mean ranks ({about(table)})"))


def add_gains(table: Table, found: Comparisons) -> None:
    """Gains against zero-shot CLIP, if it is in the table, and more than one data set."""
    runs = table.runs[table.runs["method"] == UNTRAINED]
    scores = scores_of(table, Comparisons(), fair_only=False)
    if scores is None or few(scores, FEWEST_METHODS, FEWEST_DATASETS) or runs.empty:
        return
    before = in_order(runs["label"])[0]
    if before in scores.methods:
        marks = marks_by_label(table.runs)
        title = f"Gain against zero-shot CLIP ({about(table)})"
        found.figures.append(gains(scores, before, f"{table.name}-gains", title, marks))


def add_ranks_over_shots(table: Table, found: Comparisons) -> None:
    """Mean ranks over shots, of the methods and data sets that have all of them."""
    shots = [row for row in in_order(row for block, row in table.rows if block != COSTS) if row.isdigit()]
    several = {int(row): scores_of(table, found, fair_only=True, row=row) for row in shots}
    known = {number: scores for number, scores in several.items() if scores is not None}
    if len(known) < 2:
        return
    methods = [name for name in in_order(table.runs["label"]) if all(name in one.methods for one in known.values())]
    units = [name for name in in_order(table.runs["dataset"]) if all(name in one.units for one in known.values())]
    if len(methods) < FEWEST_METHODS or len(units) < FEWEST_DATASETS:
        found.left_out.append("left out: mean ranks over shots, which need 2 methods and 2 data sets at every shot")
        return
    same = {number: scores.select(methods, units) for number, scores in known.items()}
    found.figures.append(ranks_over_shots(same, f"{table.name}-rank-curves", f"Mean rank over shots ({table.title})"))


def few(scores: Scores, methods: int, units: int) -> bool:
    """Whether there are fewer methods or data sets than that."""
    return len(scores.methods) < methods or len(scores.units) < units


def too_few(what: str, scores: Scores | None, methods: int, units: int) -> str:
    """Why a figure is left out."""
    have = (0, 0) if scores is None else scores.values.shape
    return (
        f"left out: {what}, which needs {counted(methods, 'method')} and {counted(units, 'data set')} with values; "
        f"there are {have[0]} and {have[1]}"
    )


def about(table: Table) -> str:
    """The number that methods are compared by, and the table's title."""
    layout = protocol_of(table.runs).layout
    row = headline(table)[1]
    what = {Layout.PARTS: row, Layout.SHOTS: f"accuracy at {row} shots", Layout.TARGETS: "accuracy on targets"}[layout]
    return f"{what}, {table.title}"


def scores_of(table: Table, found: Comparisons, fair_only: bool, row: str | None = None) -> Scores | None:
    """Means over seeds of a table by method and data set; what lacks values is left out, which is noted.

    Args:
        table: of one protocol.
        found: takes the notes.
        fair_only: whether marked numbers are left out.
        row: within each data set, such as H or a number of shots; None: that of the headline.

    Returns:
        None if nothing is left.
    """
    cells = [cell for cell in cells_of_units(table, row) if not cell.published and not (fair_only and cell.mark)]
    is_target = protocol_of(table.runs).layout == Layout.TARGETS
    means: dict[str, dict[str, float | None]] = {}
    for cell in cells:
        means.setdefault(cell.column, {})[cell.row if is_target else cell.block] = cell.mean
    try:
        completed = Scores.complete(means)
    except UserError:
        return None
    found.left_out += completed.left_out
    return completed.scores


def cells_of_units(table: Table, row: str | None) -> list[Cell]:
    """The cells of single data sets in one row, or of all targets."""
    if protocol_of(table.runs).layout == Layout.TARGETS:
        names = set(evaluations_in(table.runs))
        return [cell for cell in table.cells if cell.block == TARGETS and cell.row in names]
    row = headline(table)[1] if row is None else row
    return [cell for cell in table.cells if cell.block not in (AVERAGE, COSTS) and cell.row == row]


def rank_diagram(scores: Scores, name: str, title: str, alpha: float = SIGNIFICANCE) -> RankDiagram:
    """A critical-difference diagram.

    Args:
        scores: of at least two methods on at least two data sets.
        name: for its file.
        title: for people.
        alpha: level of significance.

    Raises:
        UserError: fewer methods or data sets.
    """
    test, whole = nemenyi(scores, alpha), friedman(scores)
    note = (
        f"{counted(len(scores.units), 'data set')}. Bars join methods that Nemenyi's test does not separate at "
        f"{alpha:g}. Friedman (Iman-Davenport): {p_text(whole.f_p, alpha)}"
    )
    if whole.f_p >= alpha:
        # Without a difference among all, none between two is looked for.
        return RankDiagram(name, title, replace(test, cliques=(test.methods,)), f"{note}, so none are separated.")
    return RankDiagram(name, title, test, f"{note}.")


def pair_matrix(scores: Scores, name: str, title: str, alpha: float = SIGNIFICANCE) -> CellMap:
    """The multiple-comparison matrix: mean difference, wins/ties/losses and p of every pair.

    Args:
        scores: of at least two methods.
        name: for its file.
        title: for people.
        alpha: level of significance.

    Raises:
        UserError: fewer methods.
    """
    matrix = comparison_matrix(scores)
    number = len(matrix.methods) * (len(matrix.methods) - 1) // 2
    note = (
        f"In brackets: mean. Row minus column over {counted(matrix.units, 'data set')}: mean difference in points, "
        f"wins/ties/losses, p of Wilcoxon's test (smallest possible: {matrix.smallest_p:.2g}). "
        f"Bold: below {alpha:g} with Holm over {counted(number, 'pair')}."
    )
    note += "" if any(pair and pair.holm_p < alpha for row in matrix.rows for pair in row) else " No pair is."
    names = tuple(f"{method} ({mean:.1f})" for method, mean in zip(matrix.methods, matrix.means, strict=True))
    return CellMap(
        name,
        title,
        names,
        matrix.methods,
        tuple(tuple(None if pair is None else pair.mean_difference for pair in row) for row in matrix.rows),
        tuple(tuple(() if pair is None else pair_lines(pair, alpha) for pair in row) for row in matrix.rows),
        tuple(tuple(pair is not None and pair.holm_p < alpha for pair in row) for row in matrix.rows),
        note,
    )


def pair_lines(pair: Pair, alpha: float) -> tuple[str, ...]:
    """The lines of a cell of the matrix."""
    difference = signed(pair.mean_difference, 1)
    return (
        difference,
        f"{pair.wins}/{pair.ties}/{pair.losses}",
        p_text(pair.test.p, alpha).replace("p = ", "p ").replace("p < ", "p <"),
    )


def gains(scores: Scores, before: str, name: str, title: str, marks: Mapping[str, str] | None = None) -> CellMap:
    """The gain of every method against one of them on every data set, largest mean gain first.

    Args:
        scores: of at least two methods.
        before: the method that others are compared with.
        name: for its file.
        title: for people.
        marks: method -> its mark.

    Raises:
        UserError: `before` is not among the methods.
    """
    of_methods = {method: scores.differences(method, before) for method in scores.methods if method != before}
    order = sorted(of_methods, key=lambda method: -float(of_methods[method].mean()))
    rows = [[*map(float, of_methods[method]), float(of_methods[method].mean())] for method in order]
    return CellMap(
        name,
        title,
        tuple(marked(method, (marks or {}).get(method, "")) for method in order),
        (*scores.units, "mean"),
        tuple(tuple(row) for row in rows),
        tuple(tuple((signed(value, 1),) for value in row) for row in rows),
        tuple(tuple(at == len(row) - 1 for at in range(len(row))) for row in rows),
        "Points of accuracy, or of the mean of accuracies that the title names; means over seeds.",
    )


def ranks_over_shots(several: Mapping[int, Scores], name: str, title: str) -> Figure:
    """The mean rank of every method over the number of shots.

    Args:
        several: shots -> scores, of the same methods on the same data sets.
        name: for its file.
        title: for people.
    """
    shots: Sequence[int] = sorted(several)
    ranks = {number: mean_ranks(several[number]) for number in shots}
    first = several[shots[0]]
    series = tuple(
        Series(
            method,
            tuple(map(float, shots)),
            tuple(float(ranks[number][several[number].methods.index(method)]) for number in shots),
            words=tuple(f"{counted(number, 'shot')}, {counted(len(first.units), 'data set')}" for number in shots),
        )
        for method in first.methods
    )
    return Figure(
        name,
        title,
        LINES,
        "shots (images per class)",
        "mean rank (1 is best)",
        (Panel("", series),),
        log_x=True,
        y_down=True,
        note=f"Over {counted(len(first.units), 'data set')}.",
    )
