"""A table of a paper as data: its cells, their means, deviations and ranks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from harness.report.runs import FIXED
from harness.report.statistics import PairedTest
from harness.results.folder import DONE

AVERAGE, COSTS, SOURCE, TARGETS = "average", "costs", "source", "targets"


INCOMPLETE, REFUSED, UNMEASURED = "incomplete", "refused", "unmeasured"


DIGITS = 2


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        block: the group of its row: a data set, `average`, `source`, `targets` or `costs`.
        row: base, new, H, a number of shots, a target data set, or a cost with its unit.
        column: a method; in an ablation, a metric.
        mean: over seeds (percent, or the row's unit); None if there is no number.
        std: sample standard deviation over seeds; None for fewer than two.
        seeds: number of seeds with a value.
        planned: number of seeds that were planned.
        state: done, missing or failed; incomplete for an average that lacks a data set; refused if the method cannot
            take part in the evaluation; unmeasured for a spread that nobody measured.
        digits: after the decimal point.
        rank: 1 best, 2 second, 0 neither or not ranked.
        worse: significantly worse than the best of its row.
        published: whether it is a published number, not ours.
        below: below zero-shot CLIP in the same evaluation (`zero_shot.py`).
        mark: of a number that is not ranked since it chose on too much (`marks.py`); of a cost: seconds are shared.
        values: of the single seeds; empty if they are not known.
    """

    block: str
    row: str
    column: str
    mean: float | None
    std: float | None = None
    seeds: int = 0
    planned: int = 0
    state: str = DONE
    digits: int = DIGITS
    rank: int = 0
    worse: bool = False
    published: bool = False
    mark: str = ""
    below: bool = False
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table of a paper.

    Attributes:
        name: for its file, such as `base_to_new-16shot`.
        title: for readers.
        headers: of the two columns of row names.
        cells: row by row.
        runs: that it was made of, in the form of `experiment_runs`.
        tests: (block, row) -> paired tests of that row.
        sources: papers that published numbers come from.
        leaderboard: fixed or tuned.
        track: that its runs are of; empty where tracks are not apart.
        by_column: whether ranks are within columns (ablations) instead of rows.
        costs: columns of costs, in an ablation.
        row_names: row -> its short name, where it has one.
        notes: further sentences below it; a table without runs has only these.
    """

    name: str
    title: str
    headers: tuple[str, str]
    cells: tuple[Cell, ...]
    runs: pd.DataFrame
    tests: dict[tuple[str, str], list[PairedTest]]
    sources: tuple[str, ...] = ()
    leaderboard: str = FIXED
    track: str = ""
    by_column: bool = False
    costs: frozenset[str] = frozenset()
    row_names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(block, row) in order."""
        return list(dict.fromkeys((cell.block, cell.row) for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Names of columns in order, published ones last."""
        ours = dict.fromkeys(cell.column for cell in self.cells if not cell.published)
        return list(ours) + [name for name in dict.fromkeys(cell.column for cell in self.cells) if name not in ours]

    def frame(self) -> pd.DataFrame:
        """One line per cell, numbers and settings unrounded."""
        exact = dict(zip(self.runs["label"], self.runs["exact"], strict=True)) if "exact" in self.runs else {}
        about = {"table": self.name, "leaderboard": self.leaderboard, **({"track": self.track} if self.track else {})}
        lines = [{**about, **vars(cell), "settings": exact.get(cell.column, "")} for cell in self.cells]
        # Values of single seeds are the columns of `skipbench export`.
        return pd.DataFrame(lines).drop(columns="values", errors="ignore")
