"""The tables of a board: those of a paper for every track, and one that sums up how its methods stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from harness.board.scores import ScoreTable
from harness.experiment.protocols import find_protocol
from harness.report.cells import MethodRuns, cost_cell, ranked
from harness.report.figures import pareto_front
from harness.report.method_table import Column, shown_values
from harness.report.paper_tables import file_name, parts_of, where, whole_table
from harness.report.runs import groups, in_order
from harness.report.statistics import units_of
from harness.report.table import INCOMPLETE, Cell, Table
from harness.report.tracks import Track
from harness.results.folder import DONE
from harness.results.metrics import RunMetric, run_metrics
from harness.statistics.bootstrap import LEVEL, over_units
from harness.statistics.ranks import mean_ranks
from harness.text import counted

FRONT_MARK = "◆"
RANK, PERCENT_LEVEL = "mean rank", f"{LEVEL:.0%}".replace("%", " %")
OVER_DATASETS, OVER_SEEDS = f"{PERCENT_LEVEL} over data sets", f"{PERCENT_LEVEL} over seeds"
LOW, HIGH = "from", "to"
PLACES = {track.value: place for place, track in enumerate(Track)}
KNOWING = "with "
"""How the words of a heading begin that name further knowledge."""
REFERENCE_NOTE = (
    "For reference: methods of cleaner tracks, for which less was allowed; they are neither ranked nor tested here."
)


@dataclass(frozen=True)
class TrackTables:
    """The tables of one protocol in one track.

    Attributes:
        protocol: its name.
        heading: of the track.
        track: its name; empty for runs that are not complete in any track.
        papers: those of a paper.
        standings: one for each of the score tables.
    """

    protocol: str
    heading: str
    track: str
    papers: tuple[Table, ...]
    standings: tuple[Table, ...]


def track_tables(runs: pd.DataFrame, scores: Sequence[ScoreTable]) -> list[TrackTables]:
    """All tables of some runs, for every protocol and track.

    Args:
        runs: as `runs_frame` gives them.
        scores: as `score_tables` gives them of these runs.
    """
    found = []
    for (protocol, heading), group in groups(runs, "protocol", "track"):
        if not heading:
            continue
        done = group[group["state"] == DONE]
        track = str(done["track_name"].iloc[0]) if len(done) else ""
        papers = []
        for words, part in parts_of(find_protocol(str(protocol)).layout, group):
            if (part["state"] == DONE).any():
                table = whole_table(part)
                title = [str(protocol), where(find_protocol(str(protocol)).layout, part), str(heading)]
                name = file_name([str(protocol), *words, str(heading)])
                papers.append(replace(table, name=name, title=", ".join(filter(None, title)), track=str(heading)))
        own = [one for one in scores if (one.protocol.name, one.heading) == (protocol, heading)]
        standings = tuple(standing(one, cleaner_than(one, scores)) for one in own if one.values)
        found.append(TrackTables(str(protocol), str(heading), track, tuple(papers), standings))
    return found


def standing(scores: ScoreTable, cleaner: Sequence[ScoreTable] = ()) -> Table:
    """How the methods of one track stand: score, intervals, mean rank, costs, and who is on the Pareto fronts.

    Args:
        scores: of the track.
        cleaner: of tracks in which less was allowed: their methods follow for reference, neither ranked nor tested.
    """
    several = len(scores.units) > 1
    where_from = f", mean of {counted(len(scores.units), 'data set')}" if several else f" on {scores.units[0]}"
    block = f"{scores.score}{where_from}"
    means = scores.means()
    complete, labels = list(means), [*means, *(label for label in scores.methods if label not in means)]
    score_cells = [score_cell(scores, block, label, means) for label in labels]
    cells = list(ranked(score_cells)) if scores.is_ranked else score_cells
    cells += interval_cells(scores, labels, complete)
    cells += rank_cells(scores, labels)
    for metric in cost_metrics():
        cells += cost_row(scores, metric, labels, means)
    cells += [cell for other in cleaner for cell in reference_cells(other, scores, block)]
    return Table(
        name=file_name(["standing", scores.protocol.name, scores.name, scores.heading]),
        title=f"Standing: {scores.title}",
        headers=("", ""),
        cells=tuple(cells),
        runs=scores.runs,
        tests={},
        track=scores.heading,
        notes=(*standing_notes(scores, cells), *absent_note(scores), *([REFERENCE_NOTE] if cleaner else [])),
    )


def absent_note(scores: ScoreTable) -> list[str]:
    """Methods of the track that have no row, since they have no score."""
    absent = [label for label in in_order(scores.runs["label"]) if label not in scores.values]
    return [f"Without a row, since they cannot be evaluated on all of it: {', '.join(absent)}."] if absent else []


def cleaner_than(scores: ScoreTable, others: Sequence[ScoreTable]) -> list[ScoreTable]:
    """The score tables of the same experiment in tracks that allow less, the cleanest first."""
    found = [
        other
        for other in others
        if (other.protocol, other.where) == (scores.protocol, scores.where)
        if other.values and is_cleaner(other, scores)
    ]
    return sorted(found, key=lambda other: (PLACES[other.track], other.heading))


def is_cleaner(one: ScoreTable, other: ScoreTable) -> bool:
    """Whether a track allows less than another: what is chosen and known in it is allowed in the other, not both ways.

    Budgets of different sizes are not compared.
    """
    (place, first, knows), (other_place, other_first, other_knows) = map(allowed, (one, other))
    is_less = place < other_place or (first == other_first and knows != other_knows)
    return knows <= other_knows and is_less


def allowed(scores: ScoreTable) -> tuple[int, tuple[str, ...], frozenset[str]]:
    """Place of a track among all, the words of its heading that name track and budget, and those of knowledge."""
    words = scores.heading.split(", ")
    knowledge = frozenset(word for word in words if word.startswith(KNOWING))
    return PLACES[scores.track], tuple(word for word in words if word not in knowledge), knowledge


def reference_cells(cleaner: ScoreTable, scores: ScoreTable, block: str) -> list[Cell]:
    """The cells of methods of a cleaner track: score and costs, without ranks and marks of fronts.

    Args:
        cleaner: of that track.
        scores: of the track that they stand below: methods that lack one of its data sets are left out.
        block: of the row of scores.
    """
    labels = [label for label, cells in cleaner.values.items() if set(scores.units) <= cells.keys()]
    runs = cleaner.runs[cleaner.runs["label"].isin(labels) & cleaner.runs["dataset"].isin(scores.runs["dataset"])]
    own = replace(cleaner, units=scores.units, runs=runs, is_ranked=False)
    means = {label: sum(own.values[label][unit] for unit in own.units) / len(own.units) for label in labels}
    cells = [score_cell(own, block, label, means) for label in labels]
    for metric in cost_metrics():
        cells += cost_row(own, metric, labels, means)
    return [replace(cell, column=f"{cell.column} (for reference: {cleaner.heading})") for cell in cells]


def score_cell(scores: ScoreTable, block: str, label: str, means: dict[str, float]) -> Cell:
    """The mean over data sets, with its standard deviation over seeds."""
    seeds = pd.Series(scores.seeds_of(label), dtype=float)
    planned = units_of(scores.runs[scores.runs["label"] == label]).nunique()
    if label not in means:
        return Cell(block, "", label, None, planned=planned, state=INCOMPLETE)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return Cell(block, "", label, means[label], spread, len(seeds) or planned, planned)


def interval_cells(scores: ScoreTable, labels: Sequence[str], complete: Sequence[str]) -> list[Cell]:
    """Intervals over data sets (bootstrap) and over seeds (Student's t), as far as there are several."""
    over: dict[str, dict[str, tuple[float, float]]] = {OVER_DATASETS: {}, OVER_SEEDS: {}}
    for label in complete:
        values = np.array(list(scores.values[label].values()), dtype=np.float64)
        if len(values) > 1:
            found = over_units(values)
            over[OVER_DATASETS][label] = (found.low, found.high)
        if interval := over_seeds(scores.seeds_of(label)):
            over[OVER_SEEDS][label] = interval
    return [
        Cell(block, row, label, ends[label][place] if label in ends else None)
        for block, ends in over.items()
        if ends
        for place, row in enumerate((LOW, HIGH))
        for label in labels
    ]


def over_seeds(values: Sequence[float]) -> tuple[float, float] | None:
    """Interval of a mean over seeds by Student's t; None for fewer than two seeds."""
    if len(values) < 2:
        return None
    series = pd.Series(values, dtype=float)
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * float(series.std(ddof=1)) / math.sqrt(len(values))
    return float(series.mean()) - half, float(series.mean()) + half


def rank_cells(scores: ScoreTable, labels: Sequence[str]) -> list[Cell]:
    """Mean ranks of the methods that have all data sets; none for tracks that are not ranked."""
    whole = scores.complete() if scores.is_ranked else None
    if whole is None or len(whole[0].methods) < 2 or len(whole[0].units) < 2:
        return []
    found = dict(zip(whole[0].methods, map(float, mean_ranks(whole[0])), strict=True))
    return [Cell(RANK, "", label, found.get(label)) for label in labels]


def cost_metrics() -> list[RunMetric]:
    """The costs that accuracy is set against: peak memory while adapting, and the time to adapt."""
    return [metric for metric in run_metrics() if metric.axis]


def cost_row(scores: ScoreTable, metric: RunMetric, labels: Sequence[str], means: dict[str, float]) -> list[Cell]:
    """A cost of all methods; those on the Pareto front of score against it are marked, if all used the same device."""
    runs = scores.runs
    column = Column(metric.title, lambda own: shown_values(metric, own), metric.digits, phases=metric.phases)
    datasets = in_order(runs["dataset"])
    cells = {label: cost_cell(MethodRuns.of(runs, label), column, datasets, "") for label in labels}
    points = {label: (cost, means[label]) for label in means if (cost := cells[label].mean) is not None}
    front = set(pareto_front(points.values())) if scores.is_ranked and is_one_device(runs) else set()
    on_front = {label for label, point in points.items() if point in front}
    marks = {label: " ".join([cells[label].mark, FRONT_MARK]).strip() for label in on_front}
    return [replace(cell, mark=marks.get(label, cell.mark)) for label, cell in cells.items()]


def is_one_device(runs: pd.DataFrame) -> bool:
    """Whether costs of some runs can be compared: all on one kind of device, with one number of threads."""
    return runs["device"].nunique() == 1 and runs["threads"].nunique(dropna=False) == 1


def standing_notes(scores: ScoreTable, cells: Sequence[Cell]) -> list[str]:
    """What the rows of a standing mean."""
    several = len(scores.units) > 1
    notes = []
    if several:
        notes.append(
            f"Score: mean over data sets of {scores.score}, taken of the mean accuracies over seeds; "
            f"{OVER_DATASETS}: bootstrap over the {len(scores.units)} data sets."
        )
    else:
        notes.append(f"One data set ({scores.units[0]}): nothing can be said of others.")
    if any(cell.block == OVER_SEEDS for cell in cells):
        notes.append(f"{OVER_SEEDS}: Student's t; other seeds, the same data.")
    else:
        notes.append("One seed: nothing can be said of others.")
    if any(cell.block == RANK for cell in cells):
        notes.append("Mean rank: over data sets, 1 is best, among the methods that have all of them.")
    if any(FRONT_MARK in cell.mark for cell in cells):
        notes.append(
            f"{FRONT_MARK}: no method of this track is at least as accurate at less of this cost (Pareto front)."
        )
    elif scores.is_ranked and not is_one_device(scores.runs):
        notes.append("No Pareto fronts: costs were measured on different devices or numbers of threads.")
    return notes


def all_tables(tracks: Sequence[TrackTables]) -> list[Table]:
    """The tables of all tracks, those of a paper after the one that sums them up."""
    return [table for track in tracks for table in (*track.standings, *track.papers)]
